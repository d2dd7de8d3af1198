package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLockDir(t *testing.T) {
	state := t.TempDir()
	if got := lockDir(state, false); got != filepath.Join(state, "locks") {
		t.Errorf("of one state folder: %s", got)
	}
	want := runDir
	if os.Geteuid() != 0 {
		want = filepath.Join(state, "locks") // /run is root's
	}
	if got := lockDir(state, true); got != want {
		t.Errorf("of all of root's: %s, want %s", got, want)
	}
}
