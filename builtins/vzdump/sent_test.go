package vzdump

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"nixmox/engine/builtin"
)

// What asks vzdump for a copy: never to prune (it would do so before the copy
// is verified), never what only root or more privileges may ask for (script,
// tmpdir, dumpdir, job-id; bwlimit, prune-backups), never to stop other jobs.
func TestWhatIsSentToVzdump(t *testing.T) {
	u := newUser(t)
	for _, options := range []args{{}, {"note": "x", "protected": true, "mode": "stop", "compress": "none"}, {"mode": "suspend"}} {
		all := maps.Clone(two)
		maps.Copy(all, options)
		must[BackupResult](u, "backup", all)
	}
	sent := 0
	for _, x := range u.requests {
		if x.Method != http.MethodPost || !strings.HasSuffix(x.Path, "/vzdump") {
			continue
		}
		sent++
		if !slices.Equal(x.Params["remove"], []string{"0"}) {
			t.Errorf("remove is %v: vzdump would prune before anything is verified", x.Params["remove"])
		}
		for name := range x.Params {
			if !slices.Contains([]string{"vmid", "storage", "mode", "compress", "remove", "notes-template", "protected"}, name) {
				t.Errorf("%s is sent: may everybody with VM.Backup ask for it?", name)
			}
		}
	}
	if sent != 3 {
		t.Errorf("%d jobs", sent)
	}
}

// A guest that something else has locked is not saved, and stays locked:
// nothing but the job itself, and the marks of the copies, is written.
func TestALockIsNotBroken(t *testing.T) {
	u := newUser(t, "guest:101=locked")
	_, err := call[BackupResult](u, "backup", two)
	fault(t, err, builtin.Failed, "101", "locked")
	for _, x := range u.requests {
		if x.Method != http.MethodGet && !strings.HasSuffix(x.Path, "/vzdump") && !strings.Contains(x.Path, "/content/") || x.Params["skiplock"] != nil {
			t.Errorf("%s %s %v", x.Method, x.Path, x.Params)
		}
	}
	for _, g := range u.lab.Guests() {
		if g.ID == 101 && g.Lock == "" {
			t.Error("the lock is gone")
		}
	}
}
