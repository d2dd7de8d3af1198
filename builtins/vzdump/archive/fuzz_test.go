package archive

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"
)

// Whatever the input: no panic, and one of the promised answers.

var fuzzNames = []string{"a.vma", "a.vma.zst", "a.vma.gz", "a.vma.lzo", "a.tar", "a.tar.zst", "a.tar.gz", "a.tar.lzo"}

func checkAnswer(t *testing.T, name string, b []byte) {
	report, err := verify(name, b)
	if err == nil {
		if report.Proof == "" || report.Config == "" || report.Bytes != int64(len(b)) || len(report.SHA256) != 64 {
			t.Errorf("accepted with %+v", report)
		}
		return
	}
	_, unsupported := errors.AsType[*UnsupportedError](err)
	if !unsupported && !isDamage(err) {
		t.Errorf("no verdict, though the input was all read: %v", err)
	}
	if report.Proof != "" {
		t.Error("a proof beside an error")
	}
}

// Seeds are small, for a fuzzer is slow on large ones.
func smallGuest() []byte {
	data := make([]byte, 3*65536)
	copy(data[70000:], "something")
	v := guest()
	v.disks = []testDisk{{id: 1, name: "drive-scsi0", data: data}}
	v.perExt = 2
	return v.bytes()
}

func smallTar(t testing.TB, args ...string) []byte {
	dir := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(dir, "etc/vzdump"), 0o755),
		os.WriteFile(filepath.Join(dir, tarConfigFile), []byte("arch: amd64\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "sparse"), []byte("x"), 0o600),
		os.Truncate(filepath.Join(dir, "sparse"), 1<<20),
	); err != nil {
		t.Fatal(err)
	}
	return tarOf(t, dir, append(args, "-b1")...)
}

const tarConfigFile = "etc/vzdump/pct.conf"

func FuzzVerify(f *testing.F) {
	vma, tarball := smallGuest(), smallTar(f)
	for i, name := range fuzzNames {
		b := vma
		if i >= 4 {
			b = tarball
		}
		f.Add(byte(i), packed(f, name, b))
	}
	f.Add(byte(1), zstdBomb(3))
	f.Fuzz(func(t *testing.T, which byte, b []byte) {
		checkAnswer(t, fuzzNames[int(which)%len(fuzzNames)], b)
	})
}

// The MD5s are made right again, or nothing behind them would ever be reached.
func FuzzVMA(f *testing.F) {
	f.Add(smallGuest())
	v := guest()
	v.disks = []testDisk{{id: 9, name: "vmstate", data: make([]byte, 200_000)}}
	f.Add(v.bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) < 12288 {
			return
		}
		at := int(binary.BigEndian.Uint32(b[56:]))
		if at < 12288 || at > len(b) {
			return
		}
		sign(b[:at], 32)
		for at+512 <= len(b) {
			sign(b[at:at+512], 24)
			at += 512 + 4096*int(binary.BigEndian.Uint16(b[at+6:]))
		}
		checkAnswer(t, "a.vma", b)
	})
}

func FuzzTar(f *testing.F) {
	f.Add(smallTar(f))
	f.Add(smallTar(f, "--format=posix"))
	f.Add(smallTar(f, "--format=posix", "--sparse-version=0.1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		// As with a VMA, checksums are made right again.
		b = bytes.Clone(b)
		for at := 0; at+512 <= len(b); at += 512 {
			if string(b[at+257:at+262]) == "ustar" {
				signTar(b[at : at+512])
			}
		}
		checkAnswer(t, "a.tar", b)
	})
}

func signTar(h []byte) {
	copy(h[148:156], "        ")
	sum := 0
	for _, b := range h {
		sum += int(b)
	}
	for i := range 6 {
		h[148+i] = byte('0' + sum>>(3*(5-i))&7)
	}
	h[154], h[155] = 0, ' '
}

func FuzzLzop(f *testing.F) {
	b := image(5, 3000)
	f.Add(run(f, b, "lzop", "-c"))
	f.Add(run(f, b, "lzop", "-9cF"))
	f.Add(run(f, b, "lzop", "-c", "-C", "--crc32"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := io.Copy(io.Discard, newLzopReader(bufio.NewReader(bytes.NewReader(b))))
		if n > 300*int64(len(b))+512 {
			t.Errorf("%d bytes from %d", n, len(b))
		}
		_, unsupported := errors.AsType[*UnsupportedError](err)
		if err != nil && !unsupported && !isDamage(err) {
			t.Error(err)
		}
	})
}

// The walker's finding must not depend on how the file is cut into chunks.
func FuzzZstdFrames(f *testing.F) {
	f.Add(run(f, image(6, 3000), "zstd", "-c"), uint16(7))
	f.Add(zstdBomb(2), uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, step uint16) {
		whole := newZstdFrames()
		good, wrong := whole.feed(b)
		pieces := newZstdFrames()
		n := 0
		for rest := b; len(rest) > 0; {
			piece := rest[:min(len(rest), int(step)+1)]
			rest = rest[len(piece):]
			g, err := pieces.feed(piece)
			n += g
			if err != nil {
				if wrong == nil || err.Error() != wrong.Error() {
					t.Fatalf("in pieces %v, whole %v", err, wrong)
				}
				break
			}
		}
		if wrong == nil && (n != good || (whole.finish() == nil) != (pieces.finish() == nil)) {
			t.Errorf("in pieces %d bytes are good, whole %d", n, good)
		}
	})
}

// A VMA is whole exactly when each cluster of each disk is there once: held
// against a plain count.
func TestVMAProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := guest()
		v.perExt = rapid.IntRange(1, 59).Draw(t, "extent")
		v.disks = nil
		whole := true
		orders := map[int][]int{}
		for i := range rapid.IntRange(0, 3).Draw(t, "disks") {
			clusters := rapid.IntRange(1, 30).Draw(t, "clusters")
			size := clusters*65536 - rapid.IntRange(0, 65535).Draw(t, "short by")
			v.disks = append(v.disks, testDisk{id: 10 * (i + 1), name: "disk", data: make([]byte, size)})
			order := rapid.Permutation(upTo(clusters)).Draw(t, "order")
			order = append(order, rapid.SliceOfN(rapid.IntRange(0, clusters+1), 0, 1).Draw(t, "more")...)
			order = order[min(len(order), rapid.IntRange(0, 1).Draw(t, "less")):]
			orders[i] = order
			count := map[int]int{}
			for _, c := range order {
				count[c]++
			}
			for c := range clusters {
				whole = whole && count[c] == 1
			}
			whole = whole && len(count) == clusters
		}
		v.order = func(disk, _ int) []int { return orders[disk] }
		if _, err := verify("a.vma", v.bytes()); (err == nil) != whole || err != nil && !isDamage(err) {
			t.Errorf("whole: %v, and Verify says %v", whole, err)
		}
	})
}
