package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func verify(name string, b []byte) (Report, error) {
	return Verify(context.Background(), name, bytes.NewReader(b), nil)
}

func TestWholeVMA(t *testing.T) {
	b := guest().bytes()
	got, err := verify("vzdump-qemu-100-2026_11_23-10_00_00.vma", b)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	want := Report{
		Format: "vma", Compression: "none", Bytes: int64(len(b)), Unpacked: int64(len(b)),
		SHA256: hex.EncodeToString(sum[:]), Proof: ProofStructure, Config: "qemu-server.conf",
		Devices: []Device{
			{ID: 1, Name: "drive-scsi0", Size: 70 * 65536, Clusters: 70},
			{ID: 2, Name: "drive-scsi1", Size: 9*65536 + 512, Clusters: 10},
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"a.vma": "vma none", "a.vma.zst": "vma zstd", "a.vma.gz": "vma gzip", "a.vma.lzo": "vma lzo",
		"a.tar": "tar none", "a.tar.zst": "tar zstd", "a.tar.gz": "tar gzip", "a.tgz": "tar gzip", "a.tar.lzo": "tar lzo",
		"a.tar.bz2": " ", "a.log": " ", "a.vma.zst.notes": " ", "": " ", "vma": " ",
	} {
		format, compression, err := formatOf(name)
		if got := format + " " + compression; got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
		if _, ok := errors.AsType[*UnsupportedError](err); ok != (want == " ") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSmallAndFinalReads(t *testing.T) {
	b := guest().bytes()
	for name, r := range map[string]io.Reader{
		"one byte at a time": iotest.OneByteReader(bytes.NewReader(b[:len(b):len(b)])),
		"data with EOF":      iotest.DataErrReader(bytes.NewReader(b)),
	} {
		if _, err := Verify(context.Background(), "a.vma", r, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// An error of the reader is no damage, whatever it is and whatever reads it.
func TestReadErrors(t *testing.T) {
	b := guest().bytes()
	for _, name := range []string{"a.vma", "a.vma.gz", "a.vma.lzo", "a.vma.zst", "a.tar", "a.tar.zst"} {
		stored := packed(t, name, b)
		for _, fault := range []error{errors.New("disk on fire"), io.ErrUnexpectedEOF, fmt.Errorf("the server went away: %w", io.EOF)} {
			for _, at := range []int{0, 3, 12000, 20000} {
				at = min(at, len(stored)-1)
				r := io.MultiReader(bytes.NewReader(stored[:at]), iotest.ErrReader(fault))
				report, err := Verify(context.Background(), name, r, nil)
				if strings.HasPrefix(name, "a.tar") && at > 0 {
					continue // the content is no tar, which may be found first
				}
				if !errors.Is(err, fault) {
					t.Errorf("%s at %d: %v", name, at, err)
				}
				if _, ok := errors.AsType[*DamageError](err); ok || report.Proof != "" {
					t.Errorf("%s at %d: taken for damage: %v", name, at, err)
				}
			}
		}
	}
	idle := readFunc(func([]byte) (int, error) { return 0, nil })
	if _, err := Verify(context.Background(), "a.vma", idle, nil); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that gives nothing: %v", err)
	}
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func TestProgress(t *testing.T) {
	b := guest().bytes()
	var seen []int64
	_, err := Verify(context.Background(), "a.vma", bytes.NewReader(b), func(n int64) { seen = append(seen, n) })
	if err != nil || len(seen) < 3 || seen[len(seen)-1] != int64(len(b)) {
		t.Fatal(err, seen)
	}
	for i := 1; i < len(seen); i++ {
		if seen[i] < seen[i-1] {
			t.Error("progress goes back:", seen)
		}
	}
}

// promptly is far more than stopping takes even on a machine that does much
// else, and far less than what would be left to do.
const promptly = 30 * time.Second

func TestCancel(t *testing.T) {
	t.Run("before", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		for _, name := range []string{"a.vma", "a.vma.zst", "a.vma.gz", "a.vma.lzo", "a.tar"} {
			if _, err := Verify(ctx, name, bytes.NewReader(guest().bytes()), nil); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("while reading", func(t *testing.T) {
		for _, name := range []string{"a.vma", "a.vma.zst", "a.vma.gz", "a.vma.lzo"} {
			ctx, cancel := context.WithCancel(context.Background())
			stored := packed(t, name, guest().bytes())
			// The file never ends, and after its first half comes nothing but delay.
			r := io.MultiReader(bytes.NewReader(stored[:len(stored)/2]), readFunc(func(p []byte) (int, error) {
				time.Sleep(time.Millisecond)
				return copy(p, stored[len(stored)/2:][:1]), nil
			}))
			time.AfterFunc(20*time.Millisecond, cancel)
			start := time.Now()
			_, err := Verify(ctx, name, r, nil)
			if _, damaged := errors.AsType[*DamageError](err); !errors.Is(err, context.Canceled) && !damaged {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(start); took > promptly {
				t.Errorf("%s: took %v", name, took)
			}
		}
	})
	t.Run("while unpacking a bomb", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		_, err := Verify(ctx, "a.tar.zst", bytes.NewReader(zstdBomb(4<<20)), nil)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if took := time.Since(start); took > promptly {
			t.Error("took", took)
		}
	})
}

// zstdBomb is one zstd frame that unpacks to a tar of zero bytes, 128 KiB for
// each of the blocks, which have 4 bytes.
func zstdBomb(blocks int) []byte {
	b := []byte{0x28, 0xB5, 0x2F, 0xFD, 0, 0x38} // no checksum, a window of 128 KiB
	for range blocks {
		b = append(b, 0x02, 0x00, 0x10, 0)
	}
	return append(b, 0x01, 0, 0)
}

func TestErrorsSayWhatToDo(t *testing.T) {
	_, err := verify("a.vma", guest().bytes()[:300000])
	for _, want := range []string{"cut short", "byte 300000", "back the guest up again"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: no %q", err, want)
		}
	}
	_, err = verify("a.txt", nil)
	if err == nil || !strings.Contains(err.Error(), "a.txt") {
		t.Error(err)
	}
	_, err = verify("a.tar.zst", nil)
	if err == nil || !strings.Contains(err.Error(), "the file is empty") {
		t.Error(err)
	}
}
