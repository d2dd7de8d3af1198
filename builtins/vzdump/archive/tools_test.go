package archive

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
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
		bytes      []byte
		proof      Proof
	}{
		{"zstd", "a.vma.zst", zst(vma), ProofContent},
		{"zstd as vzdump calls it", "a.vma.zst", zst(vma, "--rsyncable", "--threads=1"), ProofContent},
		{"zstd -T2", "a.vma.zst", zst(vma, "-T2", "-B131072"), ProofContent},
		{"zstd -19", "a.vma.zst", zst(vma, "-19"), ProofContent},
		{"zstd --long=27", "a.vma.zst", zst(vma, "--long=27"), ProofContent},
		{"zstd frames", "a.vma.zst", append(zst(vma[:half]), zst(vma[half:])...), ProofContent},
		{"zstd skippable frames", "a.vma.zst", bytes.Join([][]byte{skippable, zst(vma[:half]), skippable, zst(vma[half:]), skippable}, nil), ProofContent},
		{"pzstd", "a.vma.zst", run(t, vma, "pzstd", "-q", "-c", "-p2"), ProofContent},
		{"zstd without checksum", "a.vma.zst", zst(vma, "--no-check"), ProofStructure},
		{"zstd, one frame without", "a.vma.zst", append(zst(vma[:half]), zst(vma[half:], "--no-check")...), ProofStructure},
		{"gzip", "a.vma.gz", gz(vma), ProofContent},
		{"gzip -1 --rsyncable", "a.vma.gz", gz(vma, "-1", "--rsyncable"), ProofContent},
		{"gzip members", "a.vma.gz", append(gz(vma[:half]), gz(vma[half:])...), ProofContent},
		{"lzop", "a.vma.lzo", lzop(vma), ProofContent},
		{"lzop -9", "a.vma.lzo", lzop(vma, "-9"), ProofContent},
		{"lzop -1", "a.vma.lzo", lzop(vma, "-1"), ProofContent},
		{"lzop --crc32", "a.vma.lzo", lzop(vma, "--crc32"), ProofContent},
		{"lzop -CC", "a.vma.lzo", lzop(vma, "-C", "-C"), ProofContent},
		{"lzop without checksum", "a.vma.lzo", lzop(vma, "-F"), ProofStructure},
		{"lzop parts", "a.vma.lzo", append(lzop(vma[:half]), lzop(vma[half:])...), ProofContent},
		{"tar", "a.tar", tarball, ProofStructure},
		{"tar zstd", "a.tar.zst", zst(tarball), ProofContent},
		{"tar gzip", "a.tar.gz", gz(tarball), ProofContent},
		{"tgz", "a.tgz", gz(tarball), ProofContent},
		{"tar lzop", "a.tar.lzo", lzop(tarball), ProofContent},
		{"tar posix", "a.tar", tarOf(t, dir, "--format=posix", "--xattrs", "--acls"), ProofStructure},
		{"tar sparse 0.0", "a.tar", tarOf(t, dir, "--format=posix", "--sparse-version=0.0"), ProofStructure},
		{"tar sparse 0.1", "a.tar", tarOf(t, dir, "--format=posix", "--sparse-version=0.1"), ProofStructure},
		{"tar gnu", "a.tar", tarOf(t, dir, "--format=gnu"), ProofStructure},
		{"tar, records of one block", "a.tar", tarOf(t, dir, "-b1"), ProofStructure},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			report, err := verify(c.file, c.bytes)
			if err != nil {
				t.Fatal(err)
			}
			if report.Proof != c.proof {
				t.Errorf("proved %s, want %s", report.Proof, c.proof)
			}
			if report.Format == "tar" && (report.Entries < 25 || report.Config != "etc/vzdump/pct.conf") {
				t.Errorf("report %+v", report)
			}
			if report.Bytes != int64(len(c.bytes)) {
				t.Errorf("%d bytes read of %d", report.Bytes, len(c.bytes))
			}
		})
	}
}

func TestDamageThatToolsMake(t *testing.T) {
	dir := container(t, 300_000)
	tarball := tarOf(t, dir)
	noConfig := run(t, nil, "tar", "-C", dir, "-cf", "-", "./a long name")
	vma := guest().bytes()
	half := len(vma) / 2
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
		{"zstd cut between frames", "a.vma.zst", run(t, vma[:half], "zstd", "-c"), "cut short"},
		{"gzip cut between members", "a.vma.gz", run(t, vma[:half], "gzip", "-c"), "cut short"},
		{"lzop cut between parts", "a.vma.lzo", run(t, vma[:half], "lzop", "-c"), "cut short"},
		{"tar cut between frames", "a.tar.zst", run(t, tarball[:len(tarball)/2], "zstd", "-c"), "cut short"},
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

// A window larger than the zstd program takes by itself is refused before the
// memory for it is: up to the largest there is, 3.75 TiB, in a header made by hand.
func TestZstdWindow(t *testing.T) {
	for name, b := range map[string][]byte{
		"256 MiB":     run(t, image(7, 1<<20), "zstd", "-c", "--long=28"),
		"2048 MiB":    {0x28, 0xB5, 0x2F, 0xFD, 4, 21 << 3, 1, 0, 0, 0x99, 0xE9, 0xD8, 0x51},
		"3932160 MiB": {0x28, 0xB5, 0x2F, 0xFD, 4, 0xFF, 1, 0, 0, 0x99, 0xE9, 0xD8, 0x51},
	} {
		peak := peakHeap(t, func() {
			_, err := verify("a.vma.zst", b)
			if _, ok := errors.AsType[*UnsupportedError](err); !ok || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "zstd -t --long=31") {
				t.Error(err)
			}
		})
		if peak > 12<<20 {
			t.Errorf("%s: the heap grew by %d bytes", name, peak)
		}
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
// unpacked, or that the packing program itself objects to. The seed is the
// place in the table.
func TestTruncationsAndFlips(t *testing.T) {
	small := guest()
	small.disks = []testDisk{{id: 1, name: "drive-scsi0", data: image(3, 6*65536)}}
	small.perExt = 4
	vma, tarball := small.bytes(), tarOf(t, container(t, 150_000))
	for i, c := range []struct {
		name, file string
		plain      []byte
		program    []string
	}{
		{"vma zstd", "a.vma.zst", vma, []string{"zstd", "-c"}},
		{"vma gzip", "a.vma.gz", vma, []string{"gzip", "-c"}},
		{"vma lzop", "a.vma.lzo", vma, []string{"lzop", "-c"}},
		{"tar zstd", "a.tar.zst", tarball, []string{"zstd", "-c"}},
		{"tar gzip", "a.tar.gz", tarball, []string{"gzip", "-c"}},
		{"tar lzop", "a.tar.lzo", tarball, []string{"lzop", "-c"}},
		{"vma zstd as vzdump calls it", "a.vma.zst", vma, []string{"zstd", "--rsyncable", "--threads=1", "-c"}},
		{"vma gzip as vzdump calls it", "a.vma.gz", vma, []string{"gzip", "--rsyncable", "-c"}},
		{"tar pzstd", "a.tar.zst", tarball, []string{"pzstd", "-q", "-p2", "-c"}},
	} {
		whole := run(t, c.plain, c.program[0], c.program[1:]...)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(2026, uint64(i)))
			if _, err := verify(c.file, whole); err != nil {
				t.Fatal(err)
			}
			for _, at := range rnd.Perm(len(whole))[:few(200)] {
				if _, err := verify(c.file, whole[:at]); !isDamage(err) {
					t.Errorf("seed %d: cut after %d of %d bytes: %v", i, at, len(whole), err)
				}
			}
			flips, mattered := 0, 0
			for mattered < few(200) && flips < few(1000) {
				// Some at a time, of which the disk is soon free again.
				bits := make([]int, min(50, few(200)))
				for n := range bits {
					bits[n] = rnd.IntN(8 * len(whole))
					if n%3 == 0 { // headers are few: a third of the flips for them
						bits[n] = rnd.IntN(8 * 200)
					}
				}
				flips += len(bits)
				mattered += checkFlips(t, c.file, c.plain, whole, bits)
			}
			t.Logf("seed %d: of %d flips %d mattered", i, flips, mattered)
			if mattered < few(200) {
				t.Errorf("only %d of %d flips mattered", mattered, flips)
			}
		})
	}
}

// unpackEach unpacks file after file. To start it once costs less than to start
// the packing program from here for each.
const unpackEach = `for f; do "$PROGRAM" -dc <"$f" >"$f.out" && : >"$f.ok"; done`

// checkFlips holds Verify against the packing program's verdict on each of the
// altered files, and says how many alterations mattered.
func checkFlips(t *testing.T, name string, plain, whole []byte, bits []int) (mattered int) {
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
		if !matters && filepath.Ext(name) == ".gz" {
			// gzip overlooks damage to a code that no byte uses; Go's standard
			// decoder, which is not the one that verifies, is another witness.
			r, err := stdgzip.NewReader(bytes.NewReader(flipped(bit)))
			if err == nil {
				_, err = io.Copy(io.Discard, r)
			}
			matters = err != nil
		}
		if matters {
			mattered++
		}
		_, err = verify(name, flipped(bit))
		if matters != (err != nil) {
			t.Errorf("bit %d of byte %d flipped: it matters: %v (%v); Verify: %v", bit%8, bit/8, matters, toolErr, err)
		}
		if _, unsupported := errors.AsType[*UnsupportedError](err); err != nil && !unsupported && !isDamage(err) {
			t.Errorf("bit %d of byte %d flipped: %v is no verdict", bit%8, bit/8, err)
		}
	}
	return mattered
}

// Without compression only the structure can be proved: every truncation, and
// every flip in a header.
func TestTruncationsAndFlipsUncompressed(t *testing.T) {
	small := guest()
	small.disks = []testDisk{{id: 1, name: "drive-scsi0", data: image(3, 9*65536)}, {id: 2, name: "drive-scsi1", data: image(4, 65536+512)}}
	small.perExt = 3
	vma, tarball := small.bytes(), tarOf(t, container(t, 150_000))
	headersOf := func(b []byte, from, at int, magic string) (headers []int) {
		for ; from+512 <= len(b); from += 512 {
			if strings.HasPrefix(string(b[from+at:from+512]), magic) {
				headers = append(headers, from)
			}
		}
		return headers
	}
	for i, c := range []struct {
		name    string
		whole   []byte
		needed  int   // bytes from the start; what follows is filling
		headers []int // offsets of blocks that are covered by a checksum
	}{
		{"a.vma", vma, len(vma), append([]int{0}, headersOf(vma, 12800, 0, "VMAE")...)},
		{"a.tar", tarball, len(withoutEnd(tarball)) + 1024, headersOf(tarball, 0, 257, "ustar")},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(2026, uint64(100+i)))
			if len(c.headers) < 4 {
				t.Fatalf("only %d headers", len(c.headers))
			}
			for _, at := range rnd.Perm(c.needed)[:few(200)] {
				if _, err := verify(c.name, c.whole[:at]); !isDamage(err) {
					t.Errorf("seed %d: cut after %d of %d: %v", 100+i, at, len(c.whole), err)
				}
			}
			found := 0
			for range few(200) {
				at, bit := c.headers[rnd.IntN(len(c.headers))]+rnd.IntN(512), rnd.IntN(8)
				altered := bytes.Clone(c.whole)
				altered[at] ^= 1 << bit
				_, err := verify(c.name, altered)
				if isDamage(err) {
					found++
				} else if err != nil || c.name == "a.vma" || !sameToTar(t, c.whole, altered) {
					t.Errorf("seed %d: bit %d of byte %d flipped: %v", 100+i, bit, at, err)
				}
			}
			t.Logf("seed %d: of %d flips %d were found", 100+i, few(200), found)
			if found < few(190) {
				t.Errorf("only %d of %d flips were found", found, few(200))
			}
		})
	}
}

// sameToTar says whether tar lists the same from both without complaint: a
// header's checksum is text, which can be written in more than one way.
func sameToTar(t *testing.T, whole, altered []byte) bool {
	t.Helper()
	was := run(t, whole, "tar", "-tvf", "-")
	is, err := try(t, altered, "tar", "-tvf", "-")
	return err == nil && bytes.Equal(was, is)
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*DamageError](err)
	return ok
}

func ExampleDamageError() {
	fmt.Println(&DamageError{Offset: 4096, InUnpacked: true, What: "cluster 7 of drive-scsi0 is there twice"})
	// Output: the archive is damaged (noticed at byte 4096 of the unpacked stream): cluster 7 of drive-scsi0 is there twice; do not restore from it: use another archive, or back the guest up again
}
