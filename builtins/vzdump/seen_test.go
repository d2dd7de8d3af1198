package vzdump

import (
	"os"
	"path/filepath"
	"testing"

	"nixmox/engine/builtin"
)

// The first verify after a backup begins with the list that the backup ended
// with. It asks again where the file is not what was listed, and the next time.
func TestVerifyAfterABackupAsksForNoList(t *testing.T) {
	u := newUser(t)
	made := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101, 105), "storage": "backup"}).Archives
	lists := func() int { return u.count("GET", "/storage/backup/content") }
	verify := func(a Made) (VerifyResult, error) {
		return call[VerifyResult](u, "verify", verifying(a.VolID.Value, string(a.Node)))
	}
	before := lists()
	if v, err := verify(made[0]); err != nil || len(v.Whole) != 1 || v.Whole[0].Read.Value.Bytes != made[0].Size || lists() != before {
		t.Errorf("%+v, %v, and %d lists", v, err, lists()-before)
	}
	if v, err := verify(made[0]); err != nil || len(v.Whole) != 1 || lists() != before+1 {
		t.Errorf("once more: %+v, %v, and %d lists", v, err, lists()-before)
	}
	file := filepath.Join(u.end.Mounts["backup"], "dump", filepath.Base(made[1].VolID.Value.Name()))
	if err := os.WriteFile(file, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(made[1]); err == nil || lists() != before+2 {
		t.Errorf("overwritten: %v, and %d lists", err, lists()-before)
	}
}

func TestVerifyOfAnArchiveThatWasRemovedSinceItsBackup(t *testing.T) {
	u := newUser(t)
	made := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "backup"}).Archives[0]
	if err := u.lab.RemoveArchive(string(made.VolID.Value)); err != nil {
		t.Fatal(err)
	}
	_, err := call[VerifyResult](u, "verify", verifying(made.VolID.Value, "pve2"))
	fault(t, err, builtin.NotFound, string(made.VolID.Value))
}
