package retention

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// A large estate: 100,000 snapshots, one each 15 minutes, of 1,000 datasets, as ZFS lists them, and the worst case of all in one
// group; and the same in no order at all.
func BenchmarkDecide100000(b *testing.B) {
	rules := Rules{Last: 4, Hourly: 24, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 5, Location: zone("Europe/Berlin")}
	for _, groups := range []int{1, 1000, 20000} {
		items := make([]Item, 100_000)
		for i := range items {
			dataset, n := i*groups/len(items), i%(len(items)/groups)
			items[i] = Item{
				ID:       fmt.Sprintf("rpool/data/vm-%d-disk-0@nixmox-%d", dataset, n),
				Group:    fmt.Sprintf("rpool/data/vm-%d-disk-0", dataset),
				Time:     theFirst.Add(time.Duration(n) * 15 * time.Minute),
				Order:    uint64(1000 + n),
				Ours:     n%10 != 0,
				Verified: n%50 == 0,
			}
		}
		now := theFirst.AddDate(10, 0, 0)
		for _, order := range []string{"listed", "shuffled"} {
			b.Run(fmt.Sprintf("groups=%d/%s", groups, order), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if _, err := Decide(items, rules, now); err != nil {
						b.Fatal(err)
					}
				}
			})
			rand.New(rand.NewPCG(1, 2)).Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		}
	}
}
