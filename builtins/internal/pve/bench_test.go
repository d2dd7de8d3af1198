package pve

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// manyGuests is what /cluster/resources answers for n guests, a third of them
// containers; the fields are those of Proxmox VE 9.2.
func manyGuests(n int) []byte {
	list := make([]map[string]any, n)
	for i := range list {
		kind := []string{"qemu", "qemu", "lxc"}[i%3]
		list[i] = map[string]any{
			"id": fmt.Sprintf("%s/%d", kind, 10000+i), "vmid": 10000 + i, "name": fmt.Sprintf("guest-%d", i), "node": fmt.Sprintf("pve%d", i%20),
			"type": kind, "status": "running", "tags": "db;prod", "pool": "tier-1", "template": 0, "uptime": 86400 + i,
			"cpu": 0.0123456789, "maxcpu": 4, "mem": 2147483648 + i, "maxmem": 4294967296, "memhost": 2200000000,
			"disk": 0, "maxdisk": 34359738368, "diskread": 123456789, "diskwrite": 987654321, "netin": 1234567890, "netout": 987654321,
		}
	}
	body, err := json.Marshal(map[string]any{"data": list})
	if err != nil {
		panic(err)
	}
	return body
}

// BenchmarkGuests lists 1,000 guests over TLS from a host that answers at
// once; the server's share of the allocations is some 50.
func BenchmarkGuests(b *testing.B) {
	body := manyGuests(1000)
	c, _ := host(b, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }))
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		list, err := c.Guests(context.Background())
		if err != nil || len(list) != 1000 {
			b.Fatal(len(list), err)
		}
	}
}

// BenchmarkDecodeGuests is the part of it that begins with the answer's bytes.
func BenchmarkDecodeGuests(b *testing.B) {
	body := manyGuests(1000)
	c := &Client{base: mustParse("https://pve.example:8006/api2/json")}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		data, ok := dataOf(body)
		var raw []rawGuest
		if err := c.decode(http.MethodGet, "/x", data, &raw); err != nil || !ok || len(raw) != 1000 {
			b.Fatal(len(raw), err)
		}
	}
}
