package archive

import (
	"context"
	"io"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// A long archive takes no more memory than a short one: 64 MiB, counted as what
// the process holds from the system, with all garbage.
func TestFlatMemory(t *testing.T) {
	const limit = 64 << 20
	size := 4 << 30 / 3 // of which three quarters are stored
	if testing.Short() || raceDetector {
		size = 2 * limit * 4 / 3
	}
	for name, program := range map[string][]string{
		"a.vma":     nil,
		"a.vma.zst": {"zstd", "-1", "-c"},
		"a.vma.gz":  {"gzip", "-1", "-c"},
		"a.vma.lzo": {"lzop", "-c"},
	} {
		t.Run(name, func(t *testing.T) {
			image(31, 16<<20) // it is kept
			r := long(t, size, program)
			debug.FreeOSMemory() // what others left would hide what this takes
			before, stop := held(), make(chan bool)
			peak := make(chan uint64)
			go func() {
				most := uint64(0)
				for {
					select {
					case <-stop:
						peak <- most
						return
					case <-time.After(5 * time.Millisecond):
						most = max(most, held())
					}
				}
			}()
			report, err := Verify(context.Background(), name, r, nil)
			close(stop)
			most := <-peak
			if err != nil || report.Unpacked < int64(size)*3/4 {
				t.Fatal(report, err)
			}
			t.Logf("%d MiB unpacked of %d MiB took %d MiB of memory", report.Unpacked>>20, report.Bytes>>20, (max(most, before)-before)>>20)
			if most > before+limit {
				t.Errorf("the process grew by %d bytes, at most %d were expected", most-before, limit)
			}
		})
	}
}

// long is the stream of a VMA of a disk of that size, which is written and
// packed while it is read.
func long(t *testing.T, size int, program []string) io.Reader {
	t.Helper()
	out, in := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writeLong(in, size)
		in.CloseWithError(err)
		written <- err
	}()
	t.Cleanup(func() {
		out.Close()
		if err := <-written; err != nil {
			t.Error(err)
		}
	})
	if program == nil {
		return out
	}
	if _, err := exec.LookPath(program[0]); err != nil {
		t.Skipf("the program %s is missing: install it to run this test", program[0])
	}
	cmd := exec.Command(program[0], program[1:]...)
	cmd.Stdin = out
	packed, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return packed
}

// held is the memory that the process has from the system, in bytes, without
// what it has given back.
func held() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64() - sample[1].Value.Uint64()
}
