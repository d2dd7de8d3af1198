package archive_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab/archive"
	"nixmox/builtins/lab/archive/archivetest"
)

var when = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func vma(sizes ...int64) archive.VMA {
	v := archive.VMA{Config: "name: x\n", Time: when, Seed: 7}
	for i, s := range sizes {
		v.Devices = append(v.Devices, archive.Device{Name: "drive-scsi" + string(rune('0'+i)), Size: s})
	}
	return v
}

func write(t *testing.T, c *archive.Compressor, compress string, body io.WriterTo) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.Write(&b, compress, func(w io.Writer) error { _, err := body.WriteTo(w); return err }); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestArchives(t *testing.T) {
	var c archive.Compressor
	for name, x := range map[string]struct {
		body io.WriterTo
		kind string
	}{
		"vma":           {vma(4 << 20), "vma"},
		"odd size":      {vma(65536*60 + 5000), "vma"},
		"two devices":   {vma(1<<20, 100), "vma"},
		"no device":     {vma(), "vma"},
		"tar":           {archive.Tar{Config: "hostname: x\n", Time: when, Bytes: 100 << 10, Seed: 7}, "tar"},
		"tar of little": {archive.Tar{Config: "hostname: x\n", Time: when}, "tar"},
	} {
		for _, compress := range []string{"0", "gzip", "zstd"} {
			t.Run(name+compress, func(t *testing.T) {
				b := write(t, &c, compress, x.body)
				format := x.kind + archive.Suffix(compress)
				if err := archivetest.Prove(bytes.NewReader(b), format); err != nil {
					t.Error(err)
				}
				if !bytes.Equal(b, write(t, &c, compress, x.body)) {
					t.Error("the same seed makes something else")
				}
				config, err := archive.ReadConfig(bytes.NewReader(b), format)
				if err != nil || !strings.HasSuffix(config, "name: x\n") {
					t.Errorf("config %q, %v", config, err)
				}
				if name == "vma" || name == "tar" {
					damage(t, b, format)
				}
			})
		}
	}
}

// damage shows that what is cut is noticed, and a flipped bit where the
// compressor has a checksum.
func damage(t *testing.T, b []byte, format string) {
	t.Helper()
	if archivetest.Prove(bytes.NewReader(b[:len(b)*3/5]), format) == nil {
		t.Error("a part passes for the whole")
	}
	if !strings.Contains(format, ".") {
		return
	}
	flipped := bytes.Clone(b)
	flipped[len(b)/2] ^= 0x10
	if archivetest.Prove(bytes.NewReader(flipped), format) == nil {
		t.Error("a flipped bit is not noticed")
	}
}

func TestRefusals(t *testing.T) {
	var c archive.Compressor
	nothing := func(io.Writer) error { return nil }
	if err := c.Write(io.Discard, "lzo", nothing); !errors.Is(err, archive.ErrLZO) {
		t.Errorf("lzo: %v", err)
	}
	if err := c.Write(io.Discard, "rar", nothing); err == nil {
		t.Error("rar is a compression")
	}
	broken := errors.New("broken")
	for _, compress := range []string{"0", "gzip", "zstd"} {
		if err := c.Write(io.Discard, compress, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
			t.Errorf("%s: %v", compress, err)
		}
	}
	if _, err := (archive.VMA{Config: strings.Repeat("x", 1<<16)}).WriteTo(io.Discard); err == nil {
		t.Error("a config too large")
	}
	if _, err := vma(make([]int64, 256)...).WriteTo(io.Discard); err == nil {
		t.Error("256 devices")
	}
}

func FuzzReadConfig(f *testing.F) {
	var c archive.Compressor
	for format, compress := range map[string]string{"vma": "0", "vma.zst": "zstd", "vma.gz": "gzip"} {
		var b bytes.Buffer
		c.Write(&b, compress, func(w io.Writer) error { _, err := vma(1 << 16).WriteTo(w); return err })
		f.Add(b.Bytes(), format)
	}
	f.Fuzz(func(t *testing.T, b []byte, format string) {
		archive.ReadConfig(bytes.NewReader(b), format) // must not panic
	})
}
