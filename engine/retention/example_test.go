package retention_test

import (
	"fmt"
	"time"

	"nixmox/engine/retention"
)

func ExampleDecide() {
	var archives []retention.Item
	for day := 16; day <= 20; day++ {
		archives = append(archives, retention.Item{
			ID:       fmt.Sprintf("nas:backup/vzdump-qemu-101-2026_11_%d-01_00_00.vma.zst", day),
			Group:    "qemu/101",
			Time:     time.Date(2026, time.November, day, 1, 0, 0, 0, time.UTC),
			Ours:     day != 17,
			Verified: day == 16,
		})
	}
	rules, err := retention.ParseRules("keep-last=1,keep-daily=1")
	if err != nil {
		fmt.Println(err)
		return
	}
	decision, err := retention.Decide(archives, rules, time.Date(2026, time.November, 20, 2, 0, 0, 0, time.UTC))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, verdict := range decision.Verdicts {
		fmt.Printf("%s keep=%-5v %s\n", verdict.Item.Time.Format(time.DateOnly), verdict.Keep, verdict.Reason)
	}
	// Output:
	// 2026-11-20 keep=true  last 1 of 1
	// 2026-11-19 keep=true  daily 1 of 1 (2026-11-19)
	// 2026-11-18 keep=false no rule keeps it: older than the rules reach
	// 2026-11-17 keep=true  not made by nixmox
	// 2026-11-16 keep=true  newest verified
}
