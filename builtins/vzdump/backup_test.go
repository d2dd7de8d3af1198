package vzdump

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

var two = args{"node": "pve2", "guests": ids(101, 105), "storage": "backup"}

func TestBackupInOneTask(t *testing.T) {
	u := newUser(t)
	got := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(106, 100, 109, 100), "storage": "backup", "note": "before the upgrade\nsecond line"})
	if u.count("POST", "/vzdump") != 1 || got.Status.Value != "OK" || len(got.Warnings.Value) != 0 || len(got.Failed) != 0 {
		t.Errorf("%d tasks, %+v", u.count("POST", "/vzdump"), got)
	}
	if want := []builtin.VMID{106, 100, 109}; !reflect.DeepEqual(guestsOf(got.Archives), want) {
		t.Fatalf("archives of %v, want %v", guestsOf(got.Archives), want)
	}
	if !slices.Equal(u.handles, []string{got.Task.Value}) {
		t.Errorf("the handle %v is not that of the task %s", u.handles, got.Task.Value)
	}
	a := got.Archives[1]
	if a.Kind != "vm" || a.Mode.Value != "snapshot" || a.Consistency.Value != "filesystem" || !a.Ours || a.Run != u.run.ID || a.Playbook != "backup" || a.Verified != nil || a.Size == 0 || a.Format != "vma.zst" {
		t.Errorf("archive of a VM with an agent: %+v", a)
	}
	if want := []string{"snapshots found (not included into backup)"}; !reflect.DeepEqual(a.LeftOut.Value, want) {
		t.Errorf("left out %q", a.LeftOut.Value)
	}
	if c := got.Archives[2]; c.Kind != "container" || c.Consistency.Value != "crash" {
		t.Errorf("archive of a container: %+v", c)
	}
	if want := "nixos-vm: before the upgrade | nixmox: v=1 run=" + u.run.ID + " place=1.1.1 playbook=backup consistency=filesystem"; a.Notes != want {
		t.Errorf("notes %q, want %q", a.Notes, want)
	}
	if full, err := u.v.notes(context.Background(), a.Archive); err != nil || full != a.Notes+"\nsecond line" {
		t.Errorf("whole notes %q, %v", full, err)
	}
	if !slices.ContainsFunc(u.progress, func(p builtin.Progress) bool {
		return p.Percent == 50 && p.Total == 32<<30 && p.Rate > 0 && strings.HasPrefix(p.Step, "guest 100 (1 of 3): ")
	}) {
		t.Errorf("no half-way progress of guest 100 in %+v", u.progress)
	}
	listed := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(100), "ours": true})
	if last := listed[len(listed)-1]; last.VolID != a.VolID {
		t.Errorf("the list ends with %+v", last)
	}
}

func TestWhatIsLeftOutAndOtherModes(t *testing.T) {
	u := newUser(t)
	got := must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(107, 108), "storage": "backup", "mode": "stop", "compress": "none", "protected": true})
	files := got.Archives[0]
	if len(files.LeftOut.Value) != 2 || !strings.Contains(files.LeftOut.Value[0], "bind mount point mp0") || files.Consistency.Value != "stopped" || !files.Protected || files.Format != "tar" {
		t.Errorf("%+v", files)
	}
}

func TestOneOfManyFails(t *testing.T) {
	u := newUser(t, "vzdump:105=fail")
	got, err := call[BackupResult](u, "backup", two)
	f := fault(t, err, builtin.Failed, "backing up guests 101, 105 of pve2 to the storage backup: 1 of 2 failed: 105", "exit code 2", "pvenode task log UPID:pve2")
	partial := f.Partial.(BackupResult)
	if !reflect.DeepEqual(guestsOf(partial.Archives), []builtin.VMID{101}) || len(partial.Failed) != 1 || partial.Failed[0].Guest != 105 || partial.Status.Value != "job errors" {
		t.Errorf("partial %+v", partial)
	}
	if !reflect.DeepEqual(got, partial) {
		t.Errorf("result %+v", got)
	}
}

func TestAllFail(t *testing.T) {
	u := newUser(t, "vzdump:*=fail")
	_, err := call[BackupResult](u, "backup", two)
	if f := fault(t, err, builtin.Failed, "none was backed up", "101: ", "105: "); len(f.Partial.(BackupResult).Archives) != 0 {
		t.Errorf("partial %+v", f.Partial)
	}
}

func TestFreeText(t *testing.T) {
	u := newUser(t, "vzdump:105=text:interrupted by signal")
	_, err := call[BackupResult](u, "backup", two)
	f := fault(t, err, builtin.Failed, "1 of 2 failed: 105", "interrupted by signal")
	if p := f.Partial.(BackupResult); len(p.Archives) != 1 {
		t.Errorf("partial %+v", p)
	}
}

func TestWarningsAreASuccess(t *testing.T) {
	u := newUser(t, "vzdump:105=warnings")
	got := must[BackupResult](u, "backup", two)
	if got.Status.Value != "WARNINGS: 1" || len(got.Warnings.Value) != 1 || !strings.Contains(got.Warnings.Value[0], "unable to add notes") {
		t.Errorf("%+v", got)
	}
	// vzdump could not write the mark, so nixmox did, and it is in the list.
	listed := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(105), "ours": true})
	if last := listed[len(listed)-1]; !got.Archives[1].Ours || last.VolID != got.Archives[1].VolID || last.Run != got.Archives[1].Run {
		t.Errorf("ours: %+v\nlisted: %+v", got.Archives, last)
	}
}

func TestTheMarkWrittenAnewKeepsTheNote(t *testing.T) {
	u := newUser(t, "vzdump:105=warnings")
	got := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(105), "storage": "backup", "note": "{{guestname}} of {{node}}\nand more"})
	want := "105: 105 of pve2 | nixmox: v=1 run=" + u.run.ID + " place=1.1.1 playbook=backup consistency=crash\nand more"
	a := got.Archives[0].Archive
	if notes, err := u.v.notes(context.Background(), a); err != nil || notes != want || !a.Ours {
		t.Errorf("%q, %v, want %q", notes, err, want)
	}
	// What somebody else wrote meanwhile is left alone.
	if err := replace(u.file(a)+".notes", "\nhands off"); err != nil {
		t.Fatal(err)
	}
	ctx, j := u.job(two)
	if marked, err := u.v.markAnew(ctx, j, a); err == nil || !strings.Contains(err.Error(), "hands off") {
		t.Errorf("%+v, %v", marked, err)
	}
}

func TestWarningsAndNoMarkToBeWritten(t *testing.T) {
	u := newUser(t, "vzdump:105=warnings", "api:PUT /nodes/pve2/storage/*=403")
	got := must[BackupResult](u, "backup", two)
	if got.Archives[1].Ours || len(got.Warnings.Value) != 3 || !strings.Contains(got.Warnings.Value[1], "carries no mark") ||
		!strings.Contains(got.Warnings.Value[2], "guest 101: its consistency (crash) could not be written") {
		t.Errorf("%+v", got)
	}
}

func TestStorageFull(t *testing.T) {
	u := newUser(t, "storage:backup=full")
	_, err := call[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100), "storage": "backup"})
	fault(t, err, builtin.Failed, "none was backed up", "No space left on device", "vma_queue_write: write error - Broken pipe")
}

func TestForbiddenForOneGuest(t *testing.T) {
	u := newUser(t, "vzdump:105=deny")
	_, err := call[BackupResult](u, "backup", two)
	f := fault(t, err, builtin.Failed, "1 of 2 failed: 105", "lacks VM.Backup on /vms/105")
	if p := f.Partial.(BackupResult); len(p.Archives) != 1 || p.Archives[0].Guest != 101 {
		t.Errorf("the other guest was not saved: %+v", p)
	}
}

func TestForbiddenForAll(t *testing.T) {
	u := newUser(t, "vzdump:105=deny", "vzdump:101=deny")
	_, err := call[BackupResult](u, "backup", two)
	fault(t, err, builtin.Forbidden, "none was backed up", "VM.Backup")
}

// The task of a lost POST may wait behind another backup, and then has not said
// yet whose it is.
// job is a checked backup that was not begun.
func TestAnswerOKInPlaceOfATask(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(two)
	j.Node = "pve1" // where the guests are not, as if they had been migrated after the check
	_, err := u.v.start(ctx, j)
	fault(t, err, builtin.Failed, "Proxmox started no task", `it answered "OK"`)
}

func TestTaskSaysOKButTheArchiveIsNotThere(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(two)
	upid, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	end, err := u.v.c.Wait(ctx, upid, nil)
	if err != nil || !end.OK {
		t.Fatalf("%+v, %v", end, err)
	}
	listed, err := u.v.list(ctx, "backup", "")
	if err != nil {
		t.Fatal(err)
	}
	last := listed[len(listed)-1]
	if err := os.Remove(u.file(last)); err != nil {
		t.Fatal(err)
	}
	_, err = u.v.follow(ctx, j, upid)
	fault(t, err, builtin.Failed, "1 of 2 failed: 105", `the task ended with "OK", but `+string(last.VolID.Value)+" is not in the list of the storage")
}

// file is where an archive really is.
func (u *user) file(a Archive) string {
	dir, ok := u.end.Mounts[string(a.Storage)]
	if !ok {
		dir = u.end.Mounts[string(a.Node)+"/"+string(a.Storage)]
	}
	return filepath.Join(dir, "dump", filepath.Base(string(a.VolID.Value)))
}

// replace gives an archive another content. The file itself may be that of other
// labs, too.
func replace(file, content string) error {
	return errors.Join(os.Remove(file), os.WriteFile(file, []byte(content), 0o600))
}

func TestTruncatedArchiveIsNoBackup(t *testing.T) {
	u := newUser(t, "vzdump:100=truncate")
	_, err := call[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100), "storage": "backup"})
	fault(t, err, builtin.Failed, "bytes in the list, and the log says")
}

func TestRefusedBeforeAnythingStarts(t *testing.T) {
	u := newUser(t, "storage:media=offline")
	for name, c := range map[string]struct {
		args  args
		kind  builtin.Kind
		words []string
	}{
		"keep limit":     {args{"node": "pve3", "guests": ids(104), "storage": "small"}, builtin.Conflict, []string{"keep-last=3", "pvesm set small --prune-backups keep-all=1"}},
		"no backups":     {args{"node": "pve3", "guests": ids(104), "storage": "rpool"}, builtin.Invalid, []string{"a storage of type zfspool cannot keep backups", "dir, btrfs, nfs"}},
		"no backups on":  {args{"node": "pve3", "guests": ids(104), "storage": "media"}, builtin.Invalid, []string{"keeps iso, but no backups", "pvesm set media --content iso,backup"}},
		"no storage":     {args{"node": "pve3", "guests": ids(104), "storage": "nostore"}, builtin.NotFound, []string{"nostore", "there are backup, local"}},
		"other node":     {args{"node": "pve1", "guests": ids(100, 104), "storage": "backup"}, builtin.Conflict, []string{"104 is on pve3"}},
		"no such guest":  {args{"node": "pve1", "guests": ids(100, 999, 998), "storage": "backup"}, builtin.NotFound, []string{"there is no guest 999, 998"}},
		"nobody":         {args{"node": "pve1", "guests": ids(), "storage": "backup"}, builtin.Invalid, []string{"no guest is named"}},
		"bad note":       {args{"node": "pve1", "guests": ids(100), "storage": "backup", "note": "{{bad}}"}, builtin.Invalid, []string{"{{bad}}"}},
		"node not there": {args{"node": "pve9", "guests": ids(100), "storage": "backup"}, builtin.Unreachable, []string{"pve9"}},
	} {
		_, err := call[BackupResult](u, "backup", c.args)
		if err == nil {
			t.Errorf("%s: went ahead", name)
			continue
		}
		fault(t, err, c.kind, c.words...)
	}
	if n := u.count("POST", "/vzdump"); n != 0 {
		t.Errorf("%d tasks", n)
	}
}

func TestStorageNotActive(t *testing.T) {
	u := newUser(t, "storage:backup=offline")
	_, err := call[BackupResult](u, "backup", two)
	fault(t, err, builtin.Unreachable, "not active on pve2")
}

func TestArchiveOlderThanTheTaskIsNotTaken(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(two)
	upid, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	end, err := u.v.c.Wait(ctx, upid, nil)
	if err != nil {
		t.Fatal(err)
	}
	later, err := pve.ParseUPID(strings.Replace(upid.String(), ":"+strings.Split(upid.String(), ":")[4]+":", ":7FFFFFFF:", 1))
	if err != nil {
		t.Fatal(err)
	}
	end.UPID = later
	log := readLog(end.Log...)
	_, err = u.v.readBack(ctx, j, end, log)
	fault(t, err, builtin.Failed, "older than the task")
}

// ended is a backup whose task has ended and was not looked at yet.
func TestWithoutALogTheListAndTheMarksTell(t *testing.T) {
	u := newUser(t)
	ctx, j, end := u.ended(two)
	end.Log = nil
	got, err := u.v.readBack(ctx, j, end, &taskLog{})
	if err != nil || len(got.Archives) != 2 || got.Archives[0].Consistency.Value != "unknown" {
		t.Errorf("%+v, %v", got, err)
	}
	j.Guests = append(j.Guests, 103)
	_, err = u.v.readBack(ctx, j, end, &taskLog{})
	fault(t, err, builtin.Failed, "1 of 3 failed: 103", "an archive of it is not in the list")
}

func TestTaskThatFailsAfterAllItsArchives(t *testing.T) {
	u := newUser(t)
	ctx, j, end := u.ended(two)
	end.OK, end.ExitStatus = false, "The hook script is not executable."
	_, err := u.v.readBack(ctx, j, end, readLog(end.Log...))
	f := fault(t, err, builtin.Failed, "every archive is there, but the task failed", "The hook script is not executable.")
	if len(f.Partial.(BackupResult).Archives) != 2 {
		t.Errorf("%+v", f.Partial)
	}
}

func TestListThatCannotBeReadIsNoSuccess(t *testing.T) {
	u := newUser(t)
	u.run.Handle = func(builtin.Call, string) error {
		return u.lab.AddFault(lab.Fault{Target: "api", ID: "GET /nodes/pve2/storage/backup/content", Kind: "595"})
	}
	_, err := call[BackupResult](u, "backup", two)
	fault(t, err, builtin.Unreachable, `the task ended with "OK", but whether the archives are there could not be seen`)
}

func TestGuestMigratedAfterTheCheck(t *testing.T) {
	u := newUser(t)
	ctx, j := u.job(two)
	j.Guests = append(j.Guests, 100) // of pve1
	upid, err := u.v.start(ctx, j)
	if err != nil {
		t.Fatal(err)
	}
	_, err = u.v.follow(ctx, j, upid)
	fault(t, err, builtin.Failed, "1 of 3 failed: 100", "skip external VMs: 100")
}
