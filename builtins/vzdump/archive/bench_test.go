package archive

import (
	"bufio"
	"context"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Side by side with the program's own test of the same file, which reads it as
// Verify does but neither hashes it nor looks into what it unpacks. In turn, and
// the best of each counts: what else the machine does then disturbs least.
func BenchmarkAgainst(b *testing.B) {
	plain := filepath.Join(b.TempDir(), "a.vma")
	f, err := os.Create(plain)
	if err != nil {
		b.Fatal(err)
	}
	w := bufio.NewWriterSize(f, 1<<20)
	if err := writeLong(w, 1<<30); err != nil {
		b.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}

	for _, c := range []struct {
		name, ext, test string
		pack            []string
	}{
		{"zstd", ".zst", "zstd", []string{"zstd", "--rsyncable", "--threads=1"}}, // as vzdump calls it
		{"zstd-T0", ".zst", "zstd", []string{"zstd", "-1", "--rsyncable", "-T0"}},
		{"pzstd", ".zst", "zstd", []string{"pzstd", "-q"}}, // in many frames
		{"gzip", ".gz", "gzip", []string{"gzip", "--rsyncable"}},
		{"lzop", ".lzo", "lzop", []string{"lzop"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			stored := filepath.Join(b.TempDir(), "a.vma"+c.ext)
			packTo(b, plain, stored, c.pack)
			ours, theirs := time.Duration(math.MaxInt64), time.Duration(math.MaxInt64)
			var report Report
			for b.Loop() {
				start := time.Now()
				f, err := os.Open(stored)
				if err != nil {
					b.Fatal(err)
				}
				if report, err = Verify(context.Background(), stored, f, nil); err != nil {
					b.Fatal(err)
				}
				f.Close()
				ours = min(ours, time.Since(start))

				start = time.Now()
				if err := exec.Command(c.test, "-tq", stored).Run(); err != nil {
					b.Fatal(err)
				}
				theirs = min(theirs, time.Since(start))
			}
			mb := float64(report.Unpacked) / 1e6
			b.ReportMetric(mb/ours.Seconds(), "MB/s")
			b.ReportMetric(mb/theirs.Seconds(), c.test+"-MB/s")
			b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%of-"+c.test)
			b.ReportMetric(float64(report.Unpacked)/float64(report.Bytes), "packed")
		})
	}
}

// packTo runs the packing program from file to file.
func packTo(b *testing.B, from, to string, pack []string) {
	b.Helper()
	if _, err := exec.LookPath(pack[0]); err != nil {
		b.Skipf("the program %s is missing: install it to run this", pack[0])
	}
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(pack[0], append(pack[1:], "-c")...)
	cmd.Stdin, cmd.Stdout = in, out
	if err := cmd.Run(); err != nil {
		b.Fatal(err)
	}
	if err := out.Close(); err != nil {
		b.Fatal(err)
	}
}
