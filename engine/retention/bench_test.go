package retention

import (
	"fmt"
	"testing"
	"time"
)

// A large estate: 100,000 snapshots, one each 15 minutes, of 500 datasets, and the worst case of all in one group.
func BenchmarkDecide100000(b *testing.B) {
	rules := Rules{Last: 4, Hourly: 24, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 5, Location: zone("Europe/Berlin")}
	for _, groups := range []int{1, 500, 20000} {
		items := make([]Item, 100_000)
		for i := range items {
			items[i] = Item{
				ID:       fmt.Sprintf("rpool/data/vm-%d-disk-0@nixmox-%d", i%groups, i),
				Group:    fmt.Sprintf("rpool/data/vm-%d-disk-0", i%groups),
				Time:     theFirst.Add(time.Duration(i*7919%len(items)/groups) * 15 * time.Minute),
				Ours:     i%10 != 0,
				Verified: i%50 == 0,
			}
		}
		now := theFirst.AddDate(10, 0, 0)
		b.Run(fmt.Sprintf("groups=%d", groups), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Decide(items, rules, now); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
