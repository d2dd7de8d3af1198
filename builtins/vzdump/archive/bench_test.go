package archive

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Side by side with the program's own test of the same file, which reads it as
// Verify does but neither hashes it nor looks into what it unpacks.
func BenchmarkAgainst(b *testing.B) {
	v := guest()
	v.disks = []testDisk{{id: 1, name: "drive-scsi0", data: image(11, 256<<20)}}
	plain := v.bytes()
	for _, name := range []string{"a.vma.zst", "a.vma.gz", "a.vma.lzo"} {
		program := programs[filepath.Ext(name)]
		b.Run(program, func(b *testing.B) {
			file := filepath.Join(b.TempDir(), name)
			stored := packed(b, name, plain)
			if err := os.WriteFile(file, stored, 0o600); err != nil {
				b.Fatal(err)
			}
			var ours, theirs time.Duration
			for b.Loop() {
				start := time.Now()
				f, err := os.Open(file)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := Verify(context.Background(), name, f, nil); err != nil {
					b.Fatal(err)
				}
				f.Close()
				ours += time.Since(start)

				start = time.Now()
				if err := exec.Command(program, "-tq", file).Run(); err != nil {
					b.Fatal(err)
				}
				theirs += time.Since(start)
			}
			mb := float64(b.N) * float64(len(plain)) / 1e6
			b.ReportMetric(mb/ours.Seconds(), "MB/s")
			b.ReportMetric(mb/theirs.Seconds(), program+"-MB/s")
			b.ReportMetric(100*theirs.Seconds()/ours.Seconds(), "%of-"+program)
			b.ReportMetric(float64(len(plain))/float64(len(stored)), "packed")
		})
	}
}
