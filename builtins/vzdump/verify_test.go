package vzdump

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"nixmox/builtins/vzdump/archive"
	"nixmox/engine/builtin"
)

// newest is the newest archive of a guest on the shared storage backup.
func (u *user) newest(guest int64) Archive {
	u.t.Helper()
	all := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(guest), "ours": true})
	if len(all) == 0 {
		u.t.Fatalf("no archive of %d", guest)
	}
	return all[len(all)-1]
}

func TestBackupsOfTheLabsHistory(t *testing.T) {
	u := newUser(t)
	all := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(106)})
	if len(all) != 10 || !slices.IsSortedFunc(all, func(a, b Archive) int { return a.Time.Compare(b.Time) }) {
		t.Fatalf("%d archives, sorted? %+v", len(all), all)
	}
	ours := 0
	for _, a := range all {
		if a.Ours {
			ours++
		}
		if a.Kind != "vm" || a.Size == 0 || a.Guest != 106 || a.Storage != "backup" || a.Verified != nil {
			t.Errorf("%+v", a)
		}
	}
	if ours != 5 || !all[0].Protected || all[9].Playbook != "backup" {
		t.Errorf("%d are ours, the first %+v, the last %+v", ours, all[0], all[9])
	}
}

func TestBackupsOfANodesOwnStorage(t *testing.T) {
	u := newUser(t)
	must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101), "storage": "local"})
	must[BackupResult](u, "backup", args{"node": "pve3", "guests": ids(104), "storage": "local"})
	all := must[[]Archive](u, "backups", args{"storage": "local"})
	if len(all) != 2 || all[0].Node != "pve2" || all[1].Node != "pve3" {
		t.Errorf("of all nodes: %+v", all)
	}
	if one := must[[]Archive](u, "backups", args{"storage": "local", "node": "pve3"}); len(one) != 1 || one[0].Guest != 104 {
		t.Errorf("of pve3: %+v", one)
	}
	v := u.verify(all[1].VolID.Value)
	if !v.Whole || v.Read.Value.Entries == 0 {
		t.Errorf("%+v", v)
	}
}

func TestANodeThatDoesNotAnswerIsNotLeftOut(t *testing.T) {
	u := newUser(t, "api:GET /nodes/pve3/storage/local/content=595")
	_, err := call[[]Archive](u, "backups", args{"storage": "local"})
	fault(t, err, builtin.Unreachable, "pve3", "name one that does")
}

func TestAnyNodeWillDoForASharedStorage(t *testing.T) {
	u := newUser(t, "api:GET /nodes/pve1/storage/backup/content=595")
	if all := must[[]Archive](u, "backups", args{"storage": "backup"}); len(all) == 0 || all[0].Node != "pve2" {
		t.Errorf("%+v", all)
	}
}

func TestVerifyAndMark(t *testing.T) {
	u := newUser(t)
	made := must[BackupResult](u, "backup", args{"node": "pve1", "guests": ids(100), "storage": "backup", "note": "first | line\nsecond\n\n"})
	volid := string(made.Archives[0].VolID.Value)
	v := u.verify(volid)
	if !v.Whole || v.Assumed || v.Read.Value.Proof != "content" || v.Read.Value.Bytes != made.Archives[0].Size || len(v.Read.Value.SHA256) != 64 || len(v.Read.Value.Devices) != 1 || v.Read.Value.Devices[0].Name != "drive-scsi0" {
		t.Errorf("%+v", v)
	}
	if !slices.ContainsFunc(u.progress, func(p builtin.Progress) bool { return p.Step == "reading "+volid && p.Percent == 100 }) {
		t.Errorf("no progress")
	}
	before, err := u.v.notes(context.Background(), made.Archives[0].Archive)
	if err != nil {
		t.Fatal(err)
	}
	marked := u.mark(v)
	after, err := u.v.notes(context.Background(), made.Archives[0].Archive)
	if err != nil {
		t.Fatal(err)
	}
	added := " verified=" + v.Time.Format(time.RFC3339) + " sha256=" + v.Read.Value.SHA256
	if strings.Replace(after, added, "", 1) != before || !strings.Contains(after, added+"\nsecond") {
		t.Errorf("notes %q became %q", before, after)
	}
	if marked.Verified == nil || !marked.Verified.Equal(v.Time) || !marked.Ours {
		t.Errorf("%+v", marked)
	}
	if listed := u.newest(100); listed.Verified == nil || !listed.Verified.Equal(v.Time) || listed.Run != u.run.ID {
		t.Errorf("listed %+v", listed)
	}
	m := u.prepare("mark", marking(v))
	if s, err := m.Func.Settle(context.Background(), m, ""); err != nil || s.State != builtin.Done || s.Result.(MarkResult).Archives[0].Verified == nil {
		t.Errorf("settled %+v, %v", s, err)
	}
}

func TestSettleMarkThatWasNotMade(t *testing.T) {
	u := newUser(t)
	a := u.newest(101)
	v := u.verify(a.VolID.Value)
	m := u.prepare("mark", marking(v))
	if s, err := m.Func.Settle(context.Background(), m, ""); err != nil || s.State != builtin.NotDone {
		t.Errorf("%+v, %v", s, err)
	}
	if err := os.Remove(u.file(a)); err != nil {
		t.Fatal(err)
	}
	if s, err := m.Func.Settle(context.Background(), m, ""); err != nil || s.State != builtin.NotDone {
		t.Errorf("its archive is gone: %+v, %v", s, err)
	}
	_, err := call[MarkResult](u, "mark", marking(v))
	fault(t, err, builtin.NotFound, "not in the storage's list")
}

func recordOf(v Verification) any { return builtin.TypeOf(reflect.TypeFor[Verification]()).Neutral(v) }

// verifying are the arguments of a verify of one archive: a volume id, its
// text, or one that is to come.
func verifying(volid any, node ...string) args {
	out := args{"storage": "backup", "volids": []any{volid}}
	if id, ok := volid.(builtin.VolID); ok {
		out["volids"] = []any{string(id)}
	}
	if text, ok := out["volids"].([]any)[0].(string); ok {
		out["storage"] = string(builtin.VolID(text).Storage())
	}
	if len(node) > 0 {
		out["node"] = node[0]
	}
	return out
}

// marking are those of a mark.
func marking(verified ...Verification) args {
	var records []any
	for _, v := range verified {
		records = append(records, recordOf(v))
	}
	storage := "backup"
	if verified[0].VolID.Known() {
		storage = string(verified[0].VolID.Value.Storage())
	}
	return args{"storage": storage, "verified": records}
}

func (u *user) verify(volid any, node ...string) Verification {
	u.t.Helper()
	return must[VerifyResult](u, "verify", verifying(volid, node...)).Whole[0]
}

func (u *user) mark(v Verification, node ...string) Archive {
	u.t.Helper()
	a := marking(v)
	if len(node) > 0 {
		a["node"] = node[0]
	}
	return must[MarkResult](u, "mark", a).Archives[0]
}

func TestMarkAfterALostAnswer(t *testing.T) {
	u := newUser(t, "api:PUT /nodes/*=drop*1")
	a := u.newest(101)
	v := u.verify(a.VolID.Value)
	if got := u.mark(v); got.Verified == nil {
		t.Errorf("%+v", got)
	}
	if n := u.count("PUT", string(a.VolID.Value)); n != 1 {
		t.Errorf("%d writes", n)
	}
}

func TestMarkRefuses(t *testing.T) {
	u := newUser(t)
	a := u.newest(101)
	v := u.verify(a.VolID.Value)
	other := marking(v)
	other["storage"] = "small"
	_, err := call[MarkResult](u, "mark", other)
	fault(t, err, builtin.Invalid, string(a.VolID.Value)+" is on another")

	assumed := v
	assumed.Assumed = true
	_, err = call[MarkResult](u, "mark", marking(assumed))
	fault(t, err, builtin.Invalid, "assumed")

	all := must[[]Archive](u, "backups", args{"storage": "backup", "guests": ids(101)})
	foreign := all[slices.IndexFunc(all, func(a Archive) bool { return !a.Ours })]
	fv := u.verify(foreign.VolID.Value)
	_, err = call[MarkResult](u, "mark", marking(fv))
	fault(t, err, builtin.Conflict, "not nixmox's own")

	whole, err := os.ReadFile(u.file(a))
	if err == nil {
		err = replace(u.file(a), string(whole)+"x")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = call[MarkResult](u, "mark", marking(v))
	fault(t, err, builtin.Conflict, "bytes were verified, and now it has")
	if n := u.count("PUT", ""); n != 0 {
		t.Errorf("%d writes", n)
	}
}

func TestFlippedBit(t *testing.T) {
	u := newUser(t, "vzdump:100=flip", "vzdump:101=flip")
	for _, c := range []args{{"node": "pve1", "guests": ids(100), "storage": "backup"}, {"node": "pve2", "guests": ids(101), "storage": "backup"}} {
		made := must[BackupResult](u, "backup", c)
		_, err := call[VerifyResult](u, "verify", verifying(made.Archives[0].VolID.Value))
		fault(t, err, builtin.Failed, "is not whole", "back the guest up again")
	}
}

func TestTruncatedArchive(t *testing.T) {
	u := newUser(t)
	a := u.newest(106)
	whole, err := os.ReadFile(u.file(a))
	if err == nil {
		err = replace(u.file(a), string(whole[:a.Size/2]))
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = call[VerifyResult](u, "verify", verifying(a.VolID.Value))
	fault(t, err, builtin.Failed, "is not whole")
}

func TestFileOtherThanTheList(t *testing.T) {
	u := newUser(t)
	a := u.newest(106)
	file := u.file(a)
	a.Size++
	_, err := readWhole(context.Background(), a, file)
	fault(t, err, builtin.Failed, "Proxmox lists")
}

func TestStorageNotMountedHere(t *testing.T) {
	u := newUser(t)
	volid := string(u.newest(106).VolID.Value)
	u.v = u.client(nil)
	_, err := call[VerifyResult](u, "verify", verifying(volid))
	fault(t, err, builtin.Unreachable, "this machine is no Proxmox node", "[proxmox.mounts]")
}

func TestVerifyOfWhatIsNotThere(t *testing.T) {
	u := newUser(t)
	_, err := call[VerifyResult](u, "verify", verifying("backup:backup/vzdump-qemu-100-2020_01_01-00_00_00.vma.zst"))
	fault(t, err, builtin.NotFound, "not in the storage's list")
}

func TestWhatKeepsFromVerifying(t *testing.T) {
	volid := builtin.VolID("backup:backup/x.vma")
	fault(t, verifyFault(volid, &archive.UnsupportedError{What: "a window of 4 GiB", Do: "use zstd -t --long=31"}), builtin.Invalid, "cannot tell", "use zstd")
	fault(t, verifyFault(volid, fmt.Errorf("past byte 7: %w", &fs.PathError{Op: "read", Path: "x", Err: syscall.EIO})), builtin.Unreachable, "past byte 7", "verify again")
	if err := verifyFault(volid, context.Canceled); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// One archive that is damaged keeps neither the others from being verified nor
// those from being marked, and the error names it and holds what was done.
func TestSeveralArchivesOfWhichSomeFail(t *testing.T) {
	u := newUser(t, "vzdump:105=flip")
	a := must[BackupResult](u, "backup", args{"node": "pve2", "guests": ids(101, 105), "storage": "backup"}).Archives
	b := u.newest(106)
	volids := []any{string(a[0].VolID.Value), string(a[1].VolID.Value), string(b.VolID.Value)}
	_, err := call[VerifyResult](u, "verify", args{"storage": "backup", "volids": volids})
	f := fault(t, err, builtin.Failed, "1 of 3 failed", string(a[1].VolID.Value), "is not whole")
	read := f.Partial.(VerifyResult)
	if len(read.Whole) != 2 || read.Whole[0].Guest != 101 || read.Whole[1].Guest != 106 || len(read.Failed) != 1 || read.Failed[0].Guest != 105 ||
		!strings.Contains(read.Failed[0].Said, "back the guest up again") {
		t.Fatalf("%+v", read)
	}
	ended := map[string]builtin.Ended{}
	for _, p := range u.progress {
		if p.Ended != "" {
			ended[p.Subject] = p.Ended
		}
	}
	if ended["105"] != builtin.SubjectFailed || ended["106"] != builtin.SubjectDone {
		t.Errorf("told %v", ended)
	}

	if err := u.lab.SetNotes(string(b.VolID.Value), "mine now"); err != nil {
		t.Fatal(err)
	}
	before := u.count("PUT", "")
	_, err = call[MarkResult](u, "mark", marking(read.Whole...))
	f = fault(t, err, builtin.Conflict, "1 of 2 failed", "not nixmox's own")
	marked := f.Partial.(MarkResult)
	if len(marked.Archives) != 1 || marked.Archives[0].Guest != 101 || marked.Archives[0].Verified == nil || len(marked.Failed) != 1 || marked.Failed[0].Guest != 106 {
		t.Errorf("%+v", marked)
	}
	if n := u.count("PUT", "") - before; n != 1 {
		t.Errorf("%d writes", n)
	}
	if now := u.newest(101); now.Verified == nil || !now.Verified.Equal(read.Whole[0].Time) {
		t.Errorf("%+v", now)
	}
}

func TestArchivesThatAreNamedTwiceOrElsewhere(t *testing.T) {
	u := newUser(t)
	volid := string(u.newest(101).VolID.Value)
	_, err := call[VerifyResult](u, "verify", args{"storage": "backup", "volids": []any{volid, volid}})
	fault(t, err, builtin.Invalid, "named twice")
	_, err = call[VerifyResult](u, "verify", args{"storage": "backup", "volids": []any{}})
	fault(t, err, builtin.Invalid, "no archive is named")
	_, err = call[VerifyResult](u, "verify", args{"storage": "small", "volids": []any{volid}})
	fault(t, err, builtin.Invalid, "is on another")
}
