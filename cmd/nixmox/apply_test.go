package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/lab"
)

// A plan is saved, another hand changes the estate, and the plan is applied:
// it is refused with the difference shown, and nothing is done beyond what is
// equal. Unchanged, it is carried out.
func TestApplyAfterAnotherHand(t *testing.T) {
	yes, no := true, false
	text := func(s string) *string { return &s }
	guest := func(id int, c lab.GuestChange) func(*testing.T, *lab.Lab) {
		return func(t *testing.T, l *lab.Lab) {
			if err := l.ChangeGuest(id, c); err != nil {
				t.Fatal(err)
			}
		}
	}
	archive := func(change func(*lab.Lab, lab.ArchiveState) error) func(*testing.T, *lab.Lab) {
		return func(t *testing.T, l *lab.Lab) {
			all, err := l.Archives("backup")
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range all { // the oldest that nixmox made of 101
				if a.Guest == 101 && strings.Contains(a.Notes, "nixmox:") {
					if err := change(l, a); err != nil {
						t.Fatal(err)
					}
					return
				}
			}
			t.Fatal("there is no archive of nixmox's own")
		}
	}
	const noBackups, backups = 0, 2 // tasks that may have been started: what is equal comes first
	tests := []struct {
		name  string
		hand  func(*testing.T, *lab.Lab)
		says  string
		tasks int
	}{
		{"a new guest", guest(150, lab.GuestChange{Tags: []string{"nixos"}}), `proxmox.guests at 1: it: planned 2, now there is also .*"id":150`, noBackups},
		{"a guest is gone", func(t *testing.T, l *lab.Lab) {
			if err := l.RemoveGuest(101); err != nil {
				t.Fatal(err)
			}
		}, `proxmox.guests at 1: it: planned 2, now 1: .*"id":101.* is gone`, noBackups},
		{"a guest has moved", guest(101, lab.GuestChange{Node: text("pve3")}), `\[1\]\.node: planned "pve2", now "pve3"`, noBackups},
		{"a guest was stopped", guest(101, lab.GuestChange{Running: &no}), `\[1\]\.status: planned "running", now "stopped"`, noBackups},
		{"a guest was locked", guest(101, lab.GuestChange{Lock: text("migrate")}), `\[1\]\.lock: planned "", now "migrate"`, noBackups},
		{"a guest has another name", guest(101, lab.GuestChange{Name: text("other")}), `\[1\]\.name: planned "nixos-ct", now "other"`, noBackups},
		{"a guest has another tag", guest(101, lab.GuestChange{Tags: []string{"nixos", "new"}}), `\[1\]\.tags: planned 1, now there is also "new"`, noBackups},
		{"a guest has become a template", guest(100, lab.GuestChange{Template: &yes}), `proxmox.guests at 1: `, noBackups},
		{"a guest is in another pool", guest(101, lab.GuestChange{Pool: text("production")}), `\[1\]\.pool: planned "", now "production"`, noBackups},
		{"a copy was added", func(t *testing.T, l *lab.Lab) {
			if _, err := l.AddArchive(lab.OldArchive{Guest: 101, Storage: "backup", Begin: l.Now().Add(-50 * time.Hour), Notes: lab.HistoryMark}); err != nil {
				t.Fatal(err)
			}
		}, `vzdump.prune at 3: what it would destroy: remove`, backups},
		{"a copy is gone", archive(func(l *lab.Lab, a lab.ArchiveState) error { return l.RemoveArchive(a.VolID) }), `vzdump.prune at 3: what it would destroy: remove`, backups},
		{"a copy was protected", archive(func(l *lab.Lab, a lab.ArchiveState) error { return l.Protect(a.VolID, true) }), `vzdump.prune at 3: what it would destroy: remove`, backups},
		{"a copy lost its mark", archive(func(l *lab.Lab, a lab.ArchiveState) error { return l.SetNotes(a.VolID, "mine") }), `vzdump.prune at 3: what it would destroy: remove`, backups},
		{"a copy has another content", archive(func(l *lab.Lab, a lab.ArchiveState) error { return l.Damage(a.VolID, "truncate") }), `vzdump.prune at 3: what it would destroy: remove\[\d+\]\.size`, backups},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			plan := w.plan()
			tt.hand(t, w.lab)
			code, out := w.nixmox(nil, "apply", plan)
			if code != 1 || !regexp.MustCompile(`the world is not as it was planned: .*`+tt.says).MatchString(out) {
				t.Errorf("exit %d, want the difference %s\n%s", code, tt.says, out)
			}
			started := 0
			for _, asked := range w.asked() {
				switch {
				case strings.HasPrefix(asked, "POST ") && strings.HasSuffix(asked, "/vzdump"):
					started++
				case strings.HasPrefix(asked, "DELETE "):
					t.Errorf("something was removed: %s", asked)
				}
			}
			if started != tt.tasks {
				t.Errorf("%d backups were started, want %d", started, tt.tasks)
			}
		})
	}
	t.Run("unchanged", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		if code, out := w.nixmox(nil, "apply", w.plan()); code != 0 || !strings.Contains(out, "backup: done") {
			t.Errorf("exit %d\n%s", code, out)
		}
	})
}

// plan saves a plan to back up what is tagged nixos, and to prune.
func (w *world) plan() string {
	w.t.Helper()
	file := filepath.Join(w.dir, "a.plan")
	code, out := w.nixmox(nil, "plan", "-o", file, "backup", "--guests", "@nixos", "--keep-daily", "1", "--keep-weekly", "0", "--keep-monthly", "0")
	if code != 0 {
		w.t.Fatalf("exit %d\n%s", code, out)
	}
	if _, err := os.Stat(file); err != nil {
		w.t.Fatal(err)
	}
	return file
}

// A run that carries out a plan and is killed is not resumed, since nothing
// would hold it to the plan any more; it is cancelled, and what was begun is
// settled.
func TestAppliedRunIsNotResumed(t *testing.T) {
	w := newWorld(t)
	plan := w.plan()
	if code, out := w.nixmox([]string{killEnv + "=begun:3"}, "apply", plan); code != -1 {
		t.Fatalf("it was not killed: %d\n%s", code, out)
	}
	code, out := w.nixmox(nil, "runs", "--json")
	id := regexp.MustCompile(`"ID":"(\w+)"`).FindStringSubmatch(out)
	if code != 0 || id == nil {
		t.Fatalf("exit %d\n%s", code, out)
	}
	if code, out := w.nixmox(nil, "resume", id[1]); code != 2 || !strings.Contains(out, "nixmox cancel "+id[1]) {
		t.Errorf("resumed: exit %d\n%s", code, out)
	}
	if code, out := w.nixmox(nil, "cancel", id[1]); code != 0 {
		t.Errorf("cancelled: exit %d\n%s", code, out)
	}
	for _, asked := range w.asked() {
		if strings.HasPrefix(asked, "DELETE ") {
			t.Errorf("something was removed: %s", asked)
		}
	}
}
