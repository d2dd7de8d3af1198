package policy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/policy"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func TestApprovalCovers(t *testing.T) {
	for _, tt := range []struct {
		approved, need string
		want           bool
	}{
		{"read", "read", true}, {"change", "read", true}, {"change", "move", true}, {"change", "look", true}, {"read", "look", true},
		{"change", "sell", false}, {"read", "move", false}, {"read", "change", false}, {"move", "change", false}, {"sell", "raze", false},
		{"sell", "sell:100", true}, {"sell:*", "sell", true}, {"sell:100", "sell", false}, {"sell:1*", "sell:100", true}, {"sell:1*", "sell:200", false},
		{"sell:1*", "sell:1*", true}, {"sell:1*", "sell:1?", false}, {"raze:$site", "raze:$site", true}, {"raze:$site", "raze:$other", false}, {"raze:$site", "raze:site", false},
		{"raze:n*", "raze:$site", false}, {"raze", "raze:$site", true}, {"raze:a/**", "raze:a/b", true}, {"raze:a/**", "raze:a/**", true}, {"change:1*", "look:100", true},
	} {
		a := policy.NewApproval("p", needs(tt.approved), noon, "")
		if got := a.Covers(needs(tt.need)[0], modules); got != tt.want {
			t.Errorf("%s approved, %s declared: %v", tt.approved, tt.need, got)
		}
	}
}

// TestApprovedIsEnough: whatever a playbook may do whose needs an approval
// covers, it could have done with the needs that were approved.
func TestApprovedIsEnough(t *testing.T) {
	need := rapid.Custom(func(t *rapid.T) policy.Need {
		return needs(rapid.SampledFrom([]string{"read", "change", "look", "move", "sell"}).Draw(t, "what") +
			rapid.SampledFrom([]string{"", ":*", ":100", ":1*", ":[12]00", ":$one"}).Draw(t, "glob"))[0]
	})
	params := map[string]any{"one": int64(100)}
	rapid.Check(t, func(t *rapid.T) {
		before := rapid.SliceOfN(need, 1, 3).Draw(t, "approved")
		n := need.Draw(t, "declared")
		a := policy.NewApproval("p", before, noon, "")
		if !a.Covers(n, modules) {
			return
		}
		c := call(rapid.SampledFrom([]string{"look", "move", "sell", "sweep"}).Draw(t, "function"), rapid.SliceOf(rapid.SampledFrom([]string{"100", "101", "200"})).Draw(t, "guests")...)
		if policy.New([]policy.Need{n}, params).Allow(c) == nil && policy.New(before, params).Allow(c) != nil {
			t.Fatalf("%s does more than %v", n, before)
		}
	})
}

func TestApprovalsAreKept(t *testing.T) {
	s := policy.Approvals{Dir: filepath.Join(t.TempDir(), "state")}
	if all, err := s.All(); err != nil || len(all) != 0 {
		t.Fatal(all, err)
	}
	var group sync.WaitGroup
	for i := range 20 { // two at once lose nothing
		group.Go(func() {
			if err := s.Approve(policy.NewApproval(fmt.Sprint("p", i), needs("read", "sell:1*", "read"), noon, "root")); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	all, err := s.All()
	if err != nil || len(all) != 20 {
		t.Fatalf("%d of 20: %v", len(all), err)
	}
	if a := all["p7"]; fmt.Sprint(a.Needs) != "[yard.read yard.sell:1*]" || !a.At.Equal(noon) || a.By != "root" || a.Playbook != "p7" {
		t.Errorf("%+v", a)
	}
	if ok, err := s.Revoke("p7"); !ok || err != nil {
		t.Error(ok, err)
	}
	if ok, err := s.Revoke("p7"); ok || err != nil {
		t.Error(ok, err)
	}
	entries, err := os.ReadDir(s.Dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("what is left over: %v, %v", entries, err)
	}
	info, err := os.Stat(filepath.Join(s.Dir, "approvals.json"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
}

// TestApprovalsThatCannotBeWritten leave the old ones as they were.
func TestApprovalsThatCannotBeWritten(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root can write everywhere")
	}
	s := policy.Approvals{Dir: t.TempDir()}
	if err := s.Approve(policy.NewApproval("p", needs("read"), noon, "")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.Dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if err := s.Approve(policy.NewApproval("q", needs("read"), noon, "")); err == nil {
		t.Error("it says that it was kept")
	}
	if err := os.Chmod(s.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if all, err := s.All(); err != nil || len(all) != 1 {
		t.Error(all, err)
	}
}
