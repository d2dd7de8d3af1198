package vzdump

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nixmox/builtins/vzdump/archive"
	"nixmox/engine/builtin"
)

// VerifyArgs are the arguments of verify.
type VerifyArgs struct {
	Storage builtin.StorageID              `name:"storage" scope:"storage" doc:"the storage that keeps the archives"`
	VolIDs  []builtin.Later[builtin.VolID] `name:"volids" doc:"the archives, which are read one after the other"`
	Node    builtin.Node                   `name:"node" default:"" doc:"the node that has them; needed only where several have one of that name"`
}

// VerifyResult is what reading archives has proved.
type VerifyResult struct {
	Whole  []Verification  `name:"whole" doc:"one for each archive that is whole, in the order asked for"`
	Failed []FailedArchive `name:"failed" doc:"the archives that are not, or that could not be read; only beside an error, where whole holds the others"`
}

// Verification says what reading an archive to its end has proved. In a plan
// that of an archive to come is assumed, and what was read is not known.
type Verification struct {
	VolID   builtin.Later[builtin.VolID] `name:"volid" doc:"the archive"`
	Guest   builtin.VMID                 `name:"guest" doc:"the guest that was backed up"`
	Whole   bool                         `name:"whole" doc:"always True: an archive that is not whole is an error"`
	Assumed bool                         `name:"assumed" volatile:"" doc:"nobody has looked: the archive is only planned"`
	Time    time.Time                    `name:"time" volatile:"" doc:"when it had been read, UTC"`
	Read    builtin.Later[Reading]       `name:"read" doc:"what was read"`
}

// Reading is what an archive was found to be when it was read to its end.
type Reading struct {
	Proof    string   `name:"proof" doc:"content: every byte is covered by a checksum; structure: the data bytes carry none"`
	Bytes    int64    `name:"bytes" doc:"bytes of the file"`
	Unpacked int64    `name:"unpacked" doc:"bytes it unpacks to"`
	SHA256   string   `name:"sha256" doc:"of the file, in hexadecimal"`
	Devices  []Device `name:"devices" doc:"the disks in the archive of a VM"`
	Entries  int      `name:"entries" doc:"the files in the archive of a container"`
}

// Device is a disk in the archive of a VM.
type Device struct {
	Name string `name:"name" doc:"as QEMU calls it, such as drive-scsi0"`
	Size int64  `name:"size" doc:"bytes"`
}

// verify reads each archive. One that is not whole does not keep the others
// from being read.
func (v *vzdump) verify(ctx context.Context, a VerifyArgs) (VerifyResult, error) {
	what := "verifying archives of the storage " + string(a.Storage)
	if err := inStorage(what, a.Storage, a.VolIDs); err != nil {
		return VerifyResult{}, err
	}
	var result VerifyResult
	var not failures
	var listed map[builtin.VolID][]Archive
	for _, volid := range a.VolIDs {
		if !volid.Known() {
			result.Whole = append(result.Whole, assumeWhole(builtin.CallFrom(ctx), volid))
			continue
		}
		found, name, err := v.justMade(ctx, a, volid.Value)
		if err != nil {
			return VerifyResult{}, err
		}
		if name == "" && listed == nil {
			if listed, err = v.listed(ctx, a.Storage, a.Node, a.VolIDs); err != nil {
				return VerifyResult{}, err
			}
		}
		if name == "" {
			found, err = findIn(listed, volid.Value)
		}
		var proved Verification
		if err == nil {
			proved, err = v.readArchive(ctx, found, name)
		}
		if ctx.Err() == nil {
			reportRead(ctx, volid.Value, err)
		}
		if err == nil {
			result.Whole = append(result.Whole, proved)
		} else if err := not.add(ctx, volid.Value, err); err != nil {
			return VerifyResult{}, err
		}
	}
	assume(builtin.CallFrom(ctx).Run.Planned, result.Whole)
	result.Failed = not.list
	return result, not.fault(what, len(a.VolIDs), result)
}

// readArchive reads an archive that is listed; name is its file, "" if that is
// still to be found.
func (v *vzdump) readArchive(ctx context.Context, listed Archive, name string) (Verification, error) {
	volid := listed.VolID
	if strings.HasPrefix(listed.Format, "pbs-") {
		return Verification{}, builtin.Faultf(builtin.Invalid, "cannot tell whether the archive %s is whole", volid.Value).
			Saying("a backup server keeps it in chunks, which nixmox cannot read to their end; the server's own verification says: "+cmp.Or(listed.Verification, "never verified")).
			Hinting("have the server verify it (proxmox-backup-manager verify DATASTORE, or a verify job), and look at verification in vzdump.backups(%q); that checks hashes, and only a restore proves more", volid.Value.Storage())
	}
	if name == "" {
		var err error
		if name, err = v.c.LocalFile(ctx, string(listed.Node), string(listed.Storage), volid.Value.Name()); err != nil {
			return Verification{}, err
		}
	}
	report, err := readWhole(ctx, listed, name)
	if err != nil {
		return Verification{}, err
	}
	devices := make([]Device, 0, len(report.Devices))
	for _, d := range report.Devices {
		devices = append(devices, Device{Name: d.Name, Size: d.Size})
	}
	return Verification{
		VolID: volid, Guest: listed.Guest, Whole: true, Time: builtin.CallFrom(ctx).Run.Now().UTC().Truncate(time.Second), Read: builtin.Now(Reading{
			Proof: string(report.Proof), Bytes: report.Bytes, Unpacked: report.Unpacked, SHA256: report.SHA256, Devices: devices, Entries: report.Entries,
		}),
	}, nil
}

// justMade is the archive as the backup of this run saw it listed, and its
// file; none where the file is not there or has another size.
func (v *vzdump) justMade(ctx context.Context, a VerifyArgs, volid builtin.VolID) (listed Archive, name string, err error) {
	listed, ok := v.seen.take(builtin.CallFrom(ctx).Run.ID, volid, a.Node)
	if !ok || strings.HasPrefix(listed.Format, "pbs-") {
		return Archive{}, "", nil
	}
	name, err = v.c.LocalFile(ctx, string(listed.Node), string(listed.Storage), volid.Name())
	if err != nil {
		return Archive{}, "", ctx.Err() // Proxmox is asked, and then it is looked for once more
	}
	info, err := os.Stat(name)
	if err != nil || info.Size() != listed.Size {
		return Archive{}, "", nil //nolint:nilerr // the same
	}
	return listed, name, nil
}

// assume tells what a plan takes for granted, in a line for each call that will
// make the archives.
func assume(plan *builtin.Overlay, whole []Verification) {
	from := map[builtin.Place]int{}
	var order []builtin.Place
	for _, v := range whole {
		if v.Assumed {
			if from[v.VolID.From]++; from[v.VolID.From] == 1 {
				order = append(order, v.VolID.From)
			}
		}
	}
	for _, place := range order {
		text := fmt.Sprintf("%d archives that call %s will make are whole", from[place], place)
		if from[place] == 1 {
			text = fmt.Sprintf("an archive that call %s will make is whole", place)
		}
		plan.Assume(text)
	}
}

// assumeWhole is the verification of an archive that a plan's call will make.
func assumeWhole(call *builtin.Call, volid builtin.Later[builtin.VolID]) Verification {
	out := Verification{
		VolID: volid, Whole: true, Assumed: true, Time: call.Run.Now().UTC().Truncate(time.Second),
		Read: builtin.Later[Reading]{From: volid.From, Of: volid.Of},
	}
	if plan := call.Run.Planned; plan != nil {
		out.Guest = plannedArchive(plan, volid).Guest
	}
	return out
}

// readWhole reads the file of a listed archive, which must be the one that
// Proxmox lists, before and after.
func readWhole(ctx context.Context, listed Archive, name string) (archive.Report, error) {
	volid := listed.VolID.Value
	cannot := func(err error) error {
		return builtin.Faultf(builtin.Unreachable, "cannot read the archive %s at %s", volid, name).Because(err).
			Hinting("may this user read the storage's folder, and is it still mounted?")
	}
	file, err := os.Open(name)
	if err != nil {
		return archive.Report{}, cannot(err)
	}
	defer func() { _ = file.Close() }()
	before, err := file.Stat()
	if err != nil {
		return archive.Report{}, cannot(err)
	}
	if before.Size() != listed.Size {
		return archive.Report{}, builtin.Faultf(builtin.Failed, "verifying the archive %s", volid).
			Saying(fmt.Sprintf("Proxmox lists %d bytes, and %s has %d", listed.Size, name, before.Size())).
			Hinting("is it still being written? Is %s really the folder of the storage %s on %s?", filepath.Dir(name), listed.Storage, listed.Node)
	}
	report, err := archive.Verify(ctx, volid.Name(), file, progressOf(ctx, volid, listed.Size))
	if err != nil {
		return archive.Report{}, verifyFault(volid, err)
	}
	// Reading takes long; what was proved shall be what lies there.
	after, err := os.Stat(name)
	if err != nil {
		return archive.Report{}, cannot(err)
	}
	if changed := !os.SameFile(before, after) || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()); changed || report.Bytes != listed.Size {
		return archive.Report{}, builtin.Faultf(builtin.Conflict, "verifying the archive %s: it changed while it was read", volid).
			Hinting("find out what writes to %s, and verify again", name)
	}
	return report, nil
}

func verifyFault(volid builtin.VolID, err error) error {
	if damage, ok := errors.AsType[*archive.DamageError](err); ok {
		return builtin.Faultf(builtin.Failed, "the archive %s is not whole", volid).Because(damage).
			Hinting("back the guest up again, and keep the older archives until the new one is verified")
	}
	if unsupported, ok := errors.AsType[*archive.UnsupportedError](err); ok {
		return builtin.Faultf(builtin.Invalid, "cannot tell whether the archive %s is whole", volid).Because(unsupported).Hinting("%s", unsupported.Do)
	}
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return builtin.Faultf(builtin.Unreachable, "reading the archive %s", volid).Because(err).
			Hinting("the storage did not give the file to its end: look at its disks, server and network, then verify again")
	}
	return err
}

// reportRead tells how reading an archive ended.
func reportRead(ctx context.Context, volid builtin.VolID, err error) {
	p := builtin.Progress{Subject: guestOf(volid).String(), Ended: builtin.SubjectDone, Step: string(volid) + " is whole"}
	if err != nil {
		p.Ended, p.Step = builtin.SubjectFailed, err.Error()
	}
	builtin.Report(ctx, p)
}

// progressOf reports each whole per cent of a file's bytes.
func progressOf(ctx context.Context, volid builtin.VolID, total int64) func(int64) {
	last := int64(-1)
	return func(read int64) {
		if percent := read * 100 / max(total, 1); percent != last {
			last = percent
			builtin.Report(ctx, builtin.Progress{Subject: guestOf(volid).String(), Step: "reading " + string(volid), Done: read, Total: total, Percent: float64(percent)})
		}
	}
}
