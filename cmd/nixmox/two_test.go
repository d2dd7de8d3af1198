package main

import (
	"strings"
	"testing"
)

// Two runs on one state folder at once, one of them killed: the other neither
// stops nor repeats anything, and what was killed goes on afterwards.
func TestTwoAtOnceOneKilled(t *testing.T) {
	for _, position := range []string{"begun:2.1.2", "held:2.1.2", "acted:2.1.6", "begun:3"} {
		t.Run(position, func(t *testing.T) {
			w := newWorld(t)
			type end struct {
				code int
				out  string
			}
			other := make(chan end, 1)
			go func() {
				code, out := w.nixmox(nil, "run", "backup", "--guests", "101")
				other <- end{code, out}
			}()
			if code, out := w.nixmox([]string{killEnv + "=" + position}, "run", "backup", "--guests", "100"); code != -1 {
				t.Errorf("it was not killed: %d\n%s", code, out)
			}
			if e := <-other; e.code != 0 || !strings.Contains(e.out, "backup: done") {
				t.Errorf("the other: exit %d\n%s", e.code, e.out)
			}
			if code, out := w.nixmox(nil, "resume", "--all"); code != 0 || !strings.Contains(out, "backup: done") {
				t.Errorf("resumed: exit %d\n%s", code, out)
			}
			backups, marks := 0, 0
			for _, asked := range w.asked() {
				switch {
				case strings.HasSuffix(asked, "/vzdump"):
					backups++
				case strings.HasPrefix(asked, "PUT "):
					marks++
				}
			}
			// Of each archive its consistency, and then that it was verified.
			if backups != 2 || marks != 4 {
				t.Errorf("%d backups and %d marks were asked for, want 2 and 4", backups, marks)
			}
		})
	}
}
