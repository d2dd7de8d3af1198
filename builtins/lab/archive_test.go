package lab

import (
	"os"
	"testing"

	"nixmox/builtins/lab/archive/archivetest"
)

// checkArchive reads an archive to its end and checks all that can be checked.
func checkArchive(t *testing.T, path, format string) {
	t.Helper()
	if err := prove(path, format); err != nil {
		t.Errorf("%s: %v", path, err)
	}
}

func prove(path, format string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return archivetest.Prove(f, format)
}
