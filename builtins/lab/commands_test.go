package lab

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/lab/command"
)

// What changed nothing writes nothing.
func TestReadingZFSSavesNothing(t *testing.T) {
	c := open(t)
	before, err := c.lab.State()
	if err != nil {
		t.Fatal(err)
	}
	files := func() map[string]time.Time {
		out := map[string]time.Time{}
		found, _ := filepath.Glob(c.lab.folder.path("*.json"))
		for _, path := range found {
			if info, err := os.Stat(path); err == nil {
				out[path] = info.ModTime()
			}
		}
		return out
	}
	was := files()
	c.zfsWell("", "list", "-t", "all")
	c.zfs("", "destroy", "rpool/nothing")
	after, err := c.lab.State()
	if err != nil || !bytes.Equal(before, after) || !maps.Equal(was, files()) {
		t.Errorf("%v: something was saved", err)
	}
	c.zfsWell("", "snapshot", "rpool@x")
	if after, err = c.lab.State(); err != nil || bytes.Equal(before, after) {
		t.Errorf("%v: the state knows nothing of a snapshot", err)
	}
}

// Two commands are performed at once, one of them with the other's output.
func TestCommandsSideBySide(t *testing.T) {
	c := open(t)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for n := range 5 {
				if _, complaint := c.zfs("", "snapshot", fmt.Sprintf("rpool/share@s%d-%d", i, n)); complaint != "" {
					t.Error(complaint)
				}
			}
		})
	}
	wg.Wait()
	if got := c.zfsWell("", "list", "-H", "-t", "snapshot", "-o", "name", "rpool/share"); len(got) != 20 {
		t.Errorf("%q", got)
	}
	c.zfsWell("", "snapshot", "rpool/share/windows@x")
	cmd := exec.Command("/bin/sh", "-c", "zfs send rpool/share/windows@x | "+command.NodeVariable+"=pve2 zfs recv rpool/copy && "+command.NodeVariable+"=pve2 zfs list -H -o name rpool/copy")
	cmd.Env = []string{"PATH=" + c.lab.CommandDir()}
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "rpool/copy\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// The folder holds the commands and nothing else, whatever lay there, and they
// are this program.
func TestFolderOfCommands(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("long-", 30))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c := openWith(t, Options{Dir: dir})
	planted := filepath.Join(c.lab.CommandDir(), "nix")
	if err := os.WriteFile(planted, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := c.lab.Close(); err != nil {
		t.Fatal(err)
	}
	if _, complaint := c.zfs("", "list"); !strings.Contains(complaint, "no lab is up in "+dir) {
		t.Error(complaint)
	}
	d := openWith(t, Options{Dir: dir})
	entries, err := os.ReadDir(d.lab.CommandDir())
	self, selfErr := os.Executable()
	if err != nil || selfErr != nil || len(entries) != len(command.Names()) {
		t.Fatalf("%v %v %v", entries, err, selfErr)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(d.lab.CommandDir(), e.Name())); err != nil || to != self {
			t.Errorf("%s is %s (%v)", e.Name(), to, err)
		}
	}
	if info, err := os.Stat(d.lab.folder.path(command.RunDir + "/" + command.Socket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	d.zfsWell("", "list")
}

// Close waits for commands, but not for one whose input does not come.
func TestCloseEndsCommands(t *testing.T) {
	c := open(t)
	cmd := exec.Command(filepath.Join(c.end.Commands, "zfs"), "receive", "rpool/copy")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := stdin.Write([]byte(" ")); err != nil { // and no more
		t.Fatal(err)
	}
	for begun := false; !begun; {
		c.lab.mu.Lock()
		begun = len(c.lab.commands.open) == 1
		c.lab.mu.Unlock()
	}
	if err := c.lab.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("it ended well")
	}
}
