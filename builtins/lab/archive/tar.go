package archive

import (
	"archive/tar"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"strings"
	"time"
)

// A Tar is what goes into a container's archive.
type Tar struct {
	Config string // the guest's configuration, stored as ./etc/vzdump/pct.conf
	Time   time.Time
	Bytes  int // how much made-up content the files hold together
	Seed   uint64
}

// WriteTo writes the archive to w. vzdump puts the configuration first, so
// that a restore finds it without reading the rest.
func (t Tar) WriteTo(w io.Writer) (int64, error) {
	n := &counter{w: w}
	tw := tar.NewWriter(n)
	rng := rand.New(rand.NewPCG(t.Seed, 0x746172))
	files := []struct {
		name, body string
	}{
		{"./etc/vzdump/pct.conf", t.Config},
		{"./", ""},
		{"./etc/", ""},
		{"./etc/hostname", "lab\n"},
		{"./var/", ""},
		{"./var/lib/", ""},
		{"./var/lib/data", filler(rng, t.Bytes/2)},
		{"./var/log/", ""},
		{"./var/log/messages", strings.Repeat("a line of a log in the lab\n", t.Bytes/2/27)},
	}
	for _, f := range files {
		h := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.body)), ModTime: t.Time, Typeflag: tar.TypeReg}
		if strings.HasSuffix(f.name, "/") {
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		}
		if err := tw.WriteHeader(h); err != nil {
			return n.n, err
		}
		if _, err := io.WriteString(tw, f.body); err != nil {
			return n.n, err
		}
	}
	return n.n, tw.Close()
}

func filler(rng *rand.Rand, size int) string {
	b := make([]byte, 0, size+8)
	for len(b) < size {
		b = binary.LittleEndian.AppendUint64(b, rng.Uint64())
	}
	return string(b[:size])
}
