package archive

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The programs that vzdump runs make the archives of these tests, and their
// verdict on altered ones is the measure.

// run gives what a program writes for what it is fed.
func run(t testing.TB, in []byte, program string, args ...string) []byte {
	t.Helper()
	out, err := try(t, in, program, args...)
	if err != nil {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	return out
}

func try(t testing.TB, in []byte, program string, args ...string) ([]byte, error) {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("the program %s is missing: install it to run this test", program)
	}
	cmd := exec.Command(program, args...)
	cmd.Stdin = bytes.NewReader(in)
	return cmd.Output()
}

var programs = map[string]string{".zst": "zstd", ".gz": "gzip", ".tgz": "gzip", ".lzo": "lzop"}

// packed compresses b as the name says.
func packed(t testing.TB, name string, b []byte) []byte {
	t.Helper()
	if program := programs[filepath.Ext(name)]; program != "" {
		return run(t, b, program, "-c")
	}
	return b
}

// container is the tree of a container, as vzdump hands it to tar.
func container(t testing.TB, logSize int) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, data []byte) {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/vzdump/pct.conf", []byte("arch: amd64\nhostname: web\n"))
	put("var/log/syslog", image(21, logSize))
	put("bin/tool", image(22, 1000))
	put("empty", nil)
	put("zeros", make([]byte, 5000))
	put(strings.Repeat("a long name/", 15)+"file", []byte("x"))
	put("sparse", []byte("the start"))
	if err := errors.Join(
		os.Symlink("tool", filepath.Join(dir, "bin/link")),
		os.Link(filepath.Join(dir, "bin/tool"), filepath.Join(dir, "bin/hard")),
		os.Truncate(filepath.Join(dir, "sparse"), 1<<40),
	); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "sparse"), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("the middle"), 1<<39)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func tarOf(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	return run(t, nil, "tar", append([]string{"-C", dir, "-cpf", "-", "--sparse", "--one-file-system"}, append(args, ".")...)...)
}

func TestToolsMakeWholeArchives(t *testing.T) {
	vma, dir := guest().bytes(), container(t, 300_000)
	tarball := tarOf(t, dir)
	half := len(vma) / 2
	skippable := []byte{0x5A, 0x2A, 0x4D, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5}
	zst := func(b []byte, args ...string) []byte { return run(t, b, "zstd", append([]string{"-c"}, args...)...) }
	gz := func(b []byte, args ...string) []byte { return run(t, b, "gzip", append([]string{"-c"}, args...)...) }
	lzop := func(b []byte, args ...string) []byte { return run(t, b, "lzop", append([]string{"-c"}, args...)...) }

	for _, c := range []struct {
		name, file string
		bytes      func() []byte
		proof      Proof
	}{
		{"zstd", "a.vma.zst", func() []byte { return zst(vma) }, ProofContent},
		{"zstd as vzdump calls it", "a.vma.zst", func() []byte { return zst(vma, "--rsyncable", "--threads=1") }, ProofContent},
		{"zstd -T2", "a.vma.zst", func() []byte { return zst(vma, "-T2", "-B131072") }, ProofContent},
		{"zstd -19", "a.vma.zst", func() []byte { return zst(vma, "-19") }, ProofContent},
		{"zstd --long=27", "a.vma.zst", func() []byte { return zst(vma, "--long=27") }, ProofContent},
		{"zstd frames", "a.vma.zst", func() []byte { return append(zst(vma[:half]), zst(vma[half:])...) }, ProofContent},
		{"zstd skippable frames", "a.vma.zst", func() []byte {
			return bytes.Join([][]byte{skippable, zst(vma[:half]), skippable, zst(vma[half:]), skippable}, nil)
		}, ProofContent},
		{"zstd without checksum", "a.vma.zst", func() []byte { return zst(vma, "--no-check") }, ProofStructure},
		{"zstd, one frame without", "a.vma.zst", func() []byte { return append(zst(vma[:half]), zst(vma[half:], "--no-check")...) }, ProofStructure},
		{"gzip", "a.vma.gz", func() []byte { return gz(vma) }, ProofContent},
		{"gzip -1 --rsyncable", "a.vma.gz", func() []byte { return gz(vma, "-1", "--rsyncable") }, ProofContent},
		{"gzip members", "a.vma.gz", func() []byte { return append(gz(vma[:half]), gz(vma[half:])...) }, ProofContent},
		{"lzop", "a.vma.lzo", func() []byte { return lzop(vma) }, ProofContent},
		{"lzop -9", "a.vma.lzo", func() []byte { return lzop(vma, "-9") }, ProofContent},
		{"lzop -1", "a.vma.lzo", func() []byte { return lzop(vma, "-1") }, ProofContent},
		{"lzop --crc32", "a.vma.lzo", func() []byte { return lzop(vma, "--crc32") }, ProofContent},
		{"lzop -CC", "a.vma.lzo", func() []byte { return lzop(vma, "-C", "-C") }, ProofContent},
		{"lzop without checksum", "a.vma.lzo", func() []byte { return lzop(vma, "-F") }, ProofStructure},
		{"lzop parts", "a.vma.lzo", func() []byte { return append(lzop(vma[:half]), lzop(vma[half:])...) }, ProofContent},
		{"tar", "a.tar", func() []byte { return tarball }, ProofStructure},
		{"tar zstd", "a.tar.zst", func() []byte { return zst(tarball) }, ProofContent},
		{"tar gzip", "a.tar.gz", func() []byte { return gz(tarball) }, ProofContent},
		{"tgz", "a.tgz", func() []byte { return gz(tarball) }, ProofContent},
		{"tar lzop", "a.tar.lzo", func() []byte { return lzop(tarball) }, ProofContent},
		{"tar posix", "a.tar", func() []byte { return tarOf(t, dir, "--format=posix", "--xattrs", "--acls") }, ProofStructure},
		{"tar sparse 0.0", "a.tar", func() []byte { return tarOf(t, dir, "--format=posix", "--sparse-version=0.0") }, ProofStructure},
		{"tar sparse 0.1", "a.tar", func() []byte { return tarOf(t, dir, "--format=posix", "--sparse-version=0.1") }, ProofStructure},
		{"tar gnu", "a.tar", func() []byte { return tarOf(t, dir, "--format=gnu") }, ProofStructure},
		{"tar, records of one block", "a.tar", func() []byte { return tarOf(t, dir, "-b1") }, ProofStructure},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := c.bytes()
			report, err := verify(c.file, b)
			if err != nil {
				t.Fatal(err)
			}
			if report.Proof != c.proof {
				t.Errorf("proved %s, want %s", report.Proof, c.proof)
			}
			if report.Format == "tar" && (report.Entries < 25 || report.Config != "etc/vzdump/pct.conf") {
				t.Errorf("report %+v", report)
			}
			if report.Bytes != int64(len(b)) {
				t.Errorf("%d bytes read of %d", report.Bytes, len(b))
			}
		})
	}
}

func TestDamageThatToolsMake(t *testing.T) {
	dir := container(t, 300_000)
	tarball := tarOf(t, dir)
	noConfig := run(t, nil, "tar", "-C", dir, "-cf", "-", "./a long name")
	vma := guest().bytes()
	for _, c := range []struct {
		name, file string
		bytes      []byte
		says       string
	}{
		{"tar without its end", "a.tar", bytes.TrimRight(tarball, "\x00"), "cut short"},
		{"tar without its end, at a member", "a.tar", withoutEnd(noConfig), "two zero blocks"},
		{"tar with one zero block", "a.tar", append(withoutEnd(noConfig), make([]byte, 512)...), "two zero blocks"},
		{"tar with data behind", "a.tar", append(bytes.Clone(tarball), 1), "data follows"},
		{"tar with half a block behind", "a.tar", append(bytes.Clone(tarball), make([]byte, 100)...), "multiple of 512"},
		{"tar without a configuration", "a.tar", noConfig, "configuration is missing"},
		{"tar that is none", "a.tar", vma, "header"},
		{"vma in a tar's name", "a.tar.zst", run(t, vma, "zstd", "-c"), "header"},
		{"gzip in a zstd's name", "a.vma.zst", run(t, vma, "gzip", "-c"), "not zstd"},
		{"zstd in a gzip's name", "a.vma.gz", run(t, vma, "zstd", "-c"), "gzip header"},
		{"zstd in an lzop's name", "a.vma.lzo", run(t, vma, "zstd", "-c"), "not lzop"},
		{"zstd garbage behind", "a.vma.zst", append(run(t, vma, "zstd", "-c"), "garbage"...), "start no other frame"},
		{"zstd two bytes behind", "a.vma.zst", append(run(t, vma, "zstd", "-c"), 0x28, 0xB5), "middle of a zstd frame"},
		{"gzip garbage behind", "a.vma.gz", append(run(t, vma, "gzip", "-c"), "garbage that is long"...), "follows the gzip data"},
		{"gzip a byte behind", "a.vma.gz", append(run(t, vma, "gzip", "-c"), 0), "cut short"},
		{"lzop garbage behind", "a.vma.lzo", append(run(t, vma, "lzop", "-c"), "garbage that is long"...), "follows the lzop data"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := verify(c.file, c.bytes)
			if _, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want damage that says %q", err, c.says)
			}
		})
	}
}

// What is unpacked, however large, takes the memory of the zstd window.
func TestZstdMemory(t *testing.T) {
	for flag, limit := range map[string]uint64{"-3": 12 << 20, "--long=27": 12<<20 + 2*maxWindow} {
		if limit > maxWindow && testing.Short() {
			continue
		}
		stored := run(t, make([]byte, limit+limit/8), "zstd", "-c", flag) // more than it may take
		peak := peakHeap(t, func() {
			if _, err := verify("a.tar.zst", stored); !isDamage(err) {
				t.Error(err)
			}
		})
		t.Logf("zstd %s: peak %d KiB", flag, peak>>10)
		if peak > limit {
			t.Errorf("zstd %s: the heap grew by %d bytes, at most %d were expected", flag, peak, limit)
		}
	}
}

func TestZstdWindow(t *testing.T) {
	big := run(t, image(7, 1<<20), "zstd", "-c", "--long=28")
	_, err := verify("a.vma.zst", big)
	if _, ok := errors.AsType[*UnsupportedError](err); !ok || !strings.Contains(err.Error(), "128 MiB") {
		t.Error(err)
	}
}

// withoutEnd takes the zero blocks from the end of a tar.
func withoutEnd(b []byte) []byte {
	n := len(b)
	for bytes.Equal(b[n-512:n], make([]byte, 512)) {
		n -= 512
	}
	return bytes.Clone(b[:n])
}

// few is how many of a long row of tries there are with -short: every tenth.
func few(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// Every truncation, and every flipped bit that matters: that changes what is
// unpacked, or that the packing program itself objects to.
func TestTruncationsAndFlips(t *testing.T) {
	small := guest()
	small.disks = []testDisk{{id: 1, name: "drive-scsi0", data: image(3, 6*65536)}}
	small.perExt = 4
	content := map[string][]byte{".vma": small.bytes(), ".tar": tarOf(t, container(t, 150_000))}
	for i, name := range []string{"a.vma.zst", "a.vma.gz", "a.vma.lzo", "a.tar.zst", "a.tar.gz", "a.tar.lzo"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(2026, uint64(i)))
			plain := content[filepath.Ext(strings.TrimSuffix(name, filepath.Ext(name)))]
			whole := packed(t, name, plain)
			if _, err := verify(name, whole); err != nil {
				t.Fatal(err)
			}
			for range few(200) {
				at := rnd.IntN(len(whole))
				if _, err := verify(name, whole[:at]); !isDamage(err) {
					t.Errorf("cut after %d of %d bytes: %v", at, len(whole), err)
				}
			}
			var bits []int
			for n := range few(200) {
				bit := rnd.IntN(8 * len(whole))
				if n < few(60) { // headers are few: a third of the flips for them
					bit = rnd.IntN(8 * 200)
				}
				bits = append(bits, bit)
			}
			harmless := 0
			for some := range slices.Chunk(bits, 50) { // of which the disk is soon free again
				harmless += checkFlips(t, name, plain, whole, some)
			}
			t.Logf("%d flips did not matter", harmless)
		})
	}
}

// unpackEach unpacks file after file. To start it once costs less than to start
// the packing program from here for each.
const unpackEach = `for f; do "$PROGRAM" -dc <"$f" >"$f.out" && : >"$f.ok"; done`

// checkFlips holds Verify against the packing program's verdict on each of the
// altered files, and says how many alterations did not matter.
func checkFlips(t *testing.T, name string, plain, whole []byte, bits []int) (harmless int) {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }() // and so does the test at its end
	flipped := func(bit int) []byte {
		altered := bytes.Clone(whole)
		altered[bit/8] ^= 1 << (bit % 8)
		return altered
	}
	args := []string{"-c", unpackEach, "sh"}
	for i, bit := range bits {
		file := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(file, flipped(bit), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	cmd := exec.Command("sh", args...)
	cmd.Env = append(os.Environ(), "PROGRAM="+programs[filepath.Ext(name)])
	_ = cmd.Run() // its end is that of the last file; each has its own verdict
	for i, bit := range bits {
		file := filepath.Join(dir, strconv.Itoa(i))
		out, err := os.ReadFile(file + ".out")
		if err != nil {
			t.Fatal(err) // the program was not run
		}
		_, toolErr := os.Stat(file + ".ok")
		matters := toolErr != nil || !bytes.Equal(out, plain)
		if !matters {
			harmless++
		}
		_, err = verify(name, flipped(bit))
		if matters != (err != nil) {
			t.Errorf("bit %d of byte %d flipped: it matters: %v (%v); Verify: %v", bit%8, bit/8, matters, toolErr, err)
		}
		if _, unsupported := errors.AsType[*UnsupportedError](err); err != nil && !unsupported && !isDamage(err) {
			t.Errorf("bit %d of byte %d flipped: %v is no verdict", bit%8, bit/8, err)
		}
	}
	return harmless
}

// Without compression only the structure can be proved: every truncation, and
// every flip in a header.
func TestTruncationsAndFlipsUncompressed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2026, 99))
	small := guest()
	small.disks = []testDisk{{id: 1, name: "drive-scsi0", data: image(3, 9*65536)}, {id: 2, name: "drive-scsi1", data: image(4, 65536+512)}}
	small.perExt = 3
	vma, tarball := small.bytes(), tarOf(t, container(t, 150_000))
	headers := []int{0}
	for at := 12800; at < len(vma); at += 512 {
		if string(vma[at:at+4]) == "VMAE" {
			headers = append(headers, at)
		}
	}
	if len(headers) < 4 {
		t.Fatalf("only %d headers", len(headers))
	}
	lastNeeded := len(withoutEnd(tarball)) + 1024
	for range few(200) {
		at := rnd.IntN(len(vma))
		if _, err := verify("a.vma", vma[:at]); !isDamage(err) {
			t.Errorf("vma cut after %d of %d: %v", at, len(vma), err)
		}
		at = rnd.IntN(lastNeeded)
		if _, err := verify("a.tar", tarball[:at]); !isDamage(err) {
			t.Errorf("tar cut after %d of %d: %v", at, len(tarball), err)
		}
		at = headers[rnd.IntN(len(headers))] + rnd.IntN(512)
		altered := bytes.Clone(vma)
		altered[at] ^= 1 << rnd.IntN(8)
		if _, err := verify("a.vma", altered); !isDamage(err) {
			t.Errorf("vma altered at %d: %v", at, err)
		}
	}
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*DamageError](err)
	return ok
}

func ExampleDamageError() {
	fmt.Println(&DamageError{Offset: 4096, InUnpacked: true, What: "cluster 7 of drive-scsi0 is there twice"})
	// Output: the archive is damaged (noticed at byte 4096 of the unpacked stream): cluster 7 of drive-scsi0 is there twice; do not restore from it: use another archive, or back the guest up again
}
