package archive

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestVMAVariants(t *testing.T) {
	for name, change := range map[string]func(*testVMA){
		"small extents":       func(v *testVMA) { v.perExt = 3 },
		"backwards":           func(v *testVMA) { v.order = func(_, n int) []int { o := upTo(n); slices.Reverse(o); return o } },
		"one cluster ahead":   func(v *testVMA) { v.order = func(_, n int) []int { return append([]int{n - 1}, upTo(n-1)...) } },
		"no disks":            func(v *testVMA) { v.disks = nil },
		"one sector":          func(v *testVMA) { v.disks = []testDisk{{id: 255, name: "drive-virtio0", data: image(1, 512)}} },
		"an entry not in use": func(v *testVMA) { v.extent = func(_ int, h []byte) bool { h[511] = 9; return true }; v.perExt = 40 },
		// The header's size of the saved RAM is a guess, larger or smaller than what came.
		"saved RAM, less": func(v *testVMA) {
			v.disks = append(v.disks, testDisk{id: 3, name: "vmstate", data: image(3, 3*65536), size: 1 << 30})
		},
		"saved RAM, more": func(v *testVMA) {
			v.disks = append(v.disks, testDisk{id: 3, name: "vmstate", data: image(3, 3*65536), size: 1})
		},
		"255 disks of 256 TiB in the header, none written": nil,
	} {
		t.Run(name, func(t *testing.T) {
			v := guest()
			if change == nil {
				v.disks = nil
				for id := 1; id < 256; id++ {
					v.disks = append(v.disks, testDisk{id: id, name: fmt.Sprint("drive-scsi", id), size: 1 << 48})
				}
				if _, err := verify("a.vma", v.bytes()); err == nil || !strings.Contains(err.Error(), "missing") {
					t.Error(err)
				}
				return
			}
			change(&v)
			if _, err := verify("a.vma", v.bytes()); err != nil {
				t.Error(err)
			}
		})
	}
}

func upTo(n int) []int {
	o := make([]int, n)
	for i := range o {
		o[i] = i
	}
	return o
}

// put32 changes a header at an offset, and leaves the MD5 to be made anew.
func put32(at int, n uint32) func([]byte) bool {
	return func(h []byte) bool { binary.BigEndian.PutUint32(h[at:], n); return true }
}

func TestVMADamage(t *testing.T) {
	order := func(disk int, f func(n int) []int) func(int, int) []int {
		return func(d, n int) []int {
			if d != disk {
				return upTo(n)
			}
			return f(n)
		}
	}
	extent := func(which int, f func(h []byte) bool) func(int, []byte) bool {
		return func(i int, h []byte) bool { return i != which || f(h) }
	}
	for _, c := range []struct {
		name   string
		change func(*testVMA)
		says   string
	}{
		{"not a VMA", func(v *testVMA) { v.cut = func(b []byte) []byte { return append([]byte("XXXX"), b[4:]...) } }, "not a VMA"},
		{"nothing", func(v *testVMA) { v.cut = func([]byte) []byte { return nil } }, "empty"},
		{"only the fixed header", func(v *testVMA) { v.cut = func(b []byte) []byte { return b[:12288] } }, "middle of the VMA header"},
		{"no extents", func(v *testVMA) { v.cut = func(b []byte) []byte { return b[:12800] } }, "70 of the 70 clusters of drive-scsi0 are missing"},
		{"header MD5", func(v *testVMA) { v.header = func(h []byte) bool { h[33] ^= 1; return false } }, "MD5"},
		{"header altered", func(v *testVMA) {
			v.cut = func(b []byte) []byte { b[100] ^= 1; return b }
		}, "MD5"},
		{"header size not of 512", func(v *testVMA) { v.header = put32(56, 12289) }, "claims to be 12289 bytes"},
		{"header size too small", func(v *testVMA) { v.header = put32(56, 512) }, "claims to be 512 bytes"},
		{"header size absurd", func(v *testVMA) { v.header = put32(56, 0xfffffe00) }, "claims to be 4294966784 bytes"},
		{"blob buffer in the header", func(v *testVMA) { v.header = put32(48, 0) }, "blob buffer"},
		{"blob buffer too long", func(v *testVMA) { v.header = put32(52, 0xffffffff) }, "blob buffer"},
		{"config name out of bounds", func(v *testVMA) { v.header = put32(2044, 511) }, "configuration 0 points outside"},
		{"config data out of bounds", func(v *testVMA) { v.header = put32(3068, 0xffffffff) }, "configuration 0 points outside"},
		{"blob longer than the buffer", func(v *testVMA) {
			v.header = func(h []byte) bool { h[12288+1], h[12288+2] = 0xff, 0xff; return true }
		}, "configuration 0 points outside"},
		{"config missing", func(v *testVMA) { delete(v.configs, "qemu-server.conf") }, "no qemu-server.conf"},
		{"config empty", func(v *testVMA) { v.configs["qemu-server.conf"] = "" }, "no qemu-server.conf"},
		{"device without a name", func(v *testVMA) { v.header = put32(4096+32, 0) }, "no name"},
		{"device of an absurd size", func(v *testVMA) { v.header = put32(4096+32+8, 0x7fffffff) }, "256 TiB"},
		{"device with clusters but no size", func(v *testVMA) {
			v.header = func(h []byte) bool { clear(h[4096+64 : 4096+96]); return true }
		}, "device 2, which the header does not list"},

		{"cluster missing", func(v *testVMA) {
			v.order = order(0, func(n int) []int { return slices.Delete(upTo(n), 5, 6) })
		}, "1 of the 70 clusters of drive-scsi0 are missing, the first is number 5"},
		{"last cluster missing", func(v *testVMA) {
			v.order = order(1, func(n int) []int { return upTo(n - 1) })
		}, "1 of the 10 clusters of drive-scsi1 are missing, the first is number 9"},
		{"disk missing", func(v *testVMA) { v.order = order(1, func(int) []int { return nil }) }, "10 of the 10 clusters of drive-scsi1"},
		{"cluster twice", func(v *testVMA) {
			v.order = order(0, func(n int) []int { return append(upTo(n), 3) })
		}, "cluster 3 of drive-scsi0 is there twice"},
		{"cluster ahead twice", func(v *testVMA) {
			v.order = order(0, func(n int) []int { return append([]int{9, 9}, upTo(n)...) })
		}, "cluster 9 of drive-scsi0 is there twice"},
		{"cluster for another", func(v *testVMA) {
			v.order = order(0, func(n int) []int { o := upTo(n); o[7] = 8; return o })
		}, "cluster 8 of drive-scsi0 is there twice"},
		{"cluster past the end", func(v *testVMA) {
			v.order = order(1, func(n int) []int { return append(upTo(n), n) })
		}, "cluster 10 of drive-scsi1, which has only 10"},
		{"saved RAM out of order", func(v *testVMA) {
			v.disks = append(v.disks, testDisk{id: 3, name: "vmstate", data: image(3, 3*65536)})
			v.order = order(2, func(n int) []int { return []int{0, 2, 1} })
		}, "cluster 2 of the saved RAM comes where 1 was expected"},

		{"extent magic", func(v *testVMA) { v.extent = extent(1, func(h []byte) bool { h[3] = 'X'; return true }) }, "VMAE"},
		{"extent uuid", func(v *testVMA) { v.extent = extent(1, func(h []byte) bool { h[8]++; return true }) }, "another archive"},
		{"extent MD5", func(v *testVMA) { v.extent = extent(1, func(h []byte) bool { h[24]++; return false }) }, "MD5"},
		{"extent altered", func(v *testVMA) { v.extent = extent(0, func(h []byte) bool { h[300]++; return false }) }, "MD5"},
		{"extent count", func(v *testVMA) { v.extent = extent(0, func(h []byte) bool { h[7]++; return true }) }, "blocks"},
		{"extent of an unknown device", func(v *testVMA) { v.extent = extent(0, func(h []byte) bool { h[43] = 77; return true }) }, "device 77"},
		{"an extent lost", func(v *testVMA) {
			v.perExt = 1
			v.cut = func(b []byte) []byte {
				first := bytes.Index(b, []byte("VMAE"))
				second := first + 4 + bytes.Index(b[first+4:], []byte("VMAE"))
				return slices.Delete(b, first, second)
			}
		}, "the first is number 0"},
		{"cut in an extent's header", func(v *testVMA) { v.cut = func(b []byte) []byte { return b[:12800+100] } }, "middle of an extent's header"},
		{"cut by a byte", func(v *testVMA) { v.cut = func(b []byte) []byte { return b[:len(b)-1] } }, "middle of an extent's data"},
		{"a byte too many", func(v *testVMA) { v.cut = func(b []byte) []byte { return append(b, 0) } }, "middle of an extent's header"},
		{"padding behind", func(v *testVMA) { v.cut = func(b []byte) []byte { return append(b, make([]byte, 512)...) } }, "VMAE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := guest()
			// One configuration, so that it is the first in the header.
			v.configs = map[string]string{"qemu-server.conf": "cores: 1\n"}
			c.change(&v)
			report, err := verify("a.vma", v.bytes())
			if _, ok := errors.AsType[*DamageError](err); !ok || !strings.Contains(err.Error(), c.says) {
				t.Errorf("got %v, want damage that says %q", err, c.says)
			}
			if report.Proof != "" {
				t.Error("a proof of a damaged archive:", report.Proof)
			}
		})
	}
}

func TestVMAVersion(t *testing.T) {
	v := guest()
	v.header = put32(4, 2)
	_, err := verify("a.vma", v.bytes())
	if _, ok := errors.AsType[*UnsupportedError](err); !ok {
		t.Error(err)
	}
}

// A disk of 1 TiB takes no more memory than a small one, in whatever order its
// clusters come: nearly none in order, 2 MiB per TiB at the worst.
func TestVMAMemory(t *testing.T) {
	clusters := 1 << 24
	switch {
	case testing.Short():
		clusters = 1 << 20 // of 64 GiB
	case raceDetector:
		clusters = 1 << 22
	}
	bitmaps := uint64(clusters / 8)
	for name, c := range map[string]struct {
		order func(int) int
		limit uint64
	}{
		"in order":      {nil, 5 << 20},
		"every 2nd":     {func(i int) int { return i*2%clusters + i*2/clusters }, 5<<20 + 3*bitmaps/2},
		"from the last": {func(i int) int { return clusters - 1 - i }, 5<<20 + 3*bitmaps/2},
	} {
		t.Run(name, func(t *testing.T) {
			peak := peakHeap(t, func() {
				report, err := Verify(context.Background(), "a.vma", bigVMA(clusters, c.order), nil)
				if err != nil || report.Devices[0].Clusters != int64(clusters) {
					t.Fatal(report, err)
				}
			})
			t.Logf("peak %d KiB", peak>>10)
			if peak > c.limit {
				t.Errorf("the heap grew by %d bytes, at most %d were expected", peak, c.limit)
			}
		})
	}
}

// A header that claims much, and clusters thrown about in it, are refused
// before they take much memory.
func TestVMATooScattered(t *testing.T) {
	peak := peakHeap(t, func() {
		_, err := Verify(context.Background(), "a.vma", bigVMA(1<<32, func(i int) int { return 1<<32 - 1 - i*4096 }), nil)
		if _, ok := errors.AsType[*UnsupportedError](err); !ok {
			t.Error(err)
		}
	})
	t.Logf("peak %d KiB", peak>>10)
	if peak > 100<<20 {
		t.Error("the heap grew by", peak)
	}
}

// peakHeap says by how much the live heap grew at most while f ran, in bytes.
func peakHeap(t *testing.T, f func()) uint64 {
	t.Helper()
	live := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, peak := live(), uint64(0)
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(20 * time.Millisecond):
				peak = max(peak, live())
			}
		}
	}()
	f()
	close(stop)
	<-done
	return max(peak, before) - before
}
