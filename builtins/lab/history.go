package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"nixmox/builtins/lab/archive"
)

// HistoryMark is the first line of the notes of those archives of a fresh lab
// that nixmox is meant to have made; the others are somebody else's. It is the
// first line because a list of a storage's content shows no other.
const HistoryMark = "nixmox: v=1 run=01LAB0000000000000000000 playbook=backup"

// historyAges are the ages in days of the older archives of a guest.
var historyAges = []int{1, 2, 3, 5, 8, 14, 30, 45, 75, 120}

// makeHistory fills the storages of a fresh lab with older archives: of six
// guests on backup, and on small as many of 104 as its limit allows.
func (l *Lab) makeHistory() error {
	// Proxmox names archives by their second. The night hour is one at which
	// nothing else happens here.
	midnight := l.now().Truncate(24 * time.Hour)
	at := func(age, vmid int) time.Time {
		return midnight.AddDate(0, 0, -age).Add(2*time.Hour + time.Duration(vmid%100)*3*time.Minute)
	}
	for _, id := range []int{100, 101, 104, 105, 106, 109} {
		g := l.st.guest(id)
		for i, age := range historyAges {
			notes := ""
			switch {
			case i%2 == 0:
				notes = HistoryMark + "\n" + g.Name
			case i == 1:
				notes = g.Name + ", by hand"
			}
			if err := l.oldArchive(l.opt.History, g, "backup", at(age, id), notes, id == 106 && i == 9); err != nil {
				return err
			}
		}
	}
	for _, age := range []int{3, 10, 17} {
		if err := l.oldArchive(l.opt.History, l.st.guest(104), "small", at(age, 104), "", false); err != nil {
			return err
		}
	}
	return nil
}

// oldArchive makes one small archive of the past. What it writes is kept in the
// folder history, if there is one, for the next that is the same.
func (l *Lab) oldArchive(history string, g *guest, store string, at time.Time, notes string, protected bool) error {
	path := filepath.Join(l.mountOf(l.st.storage(store), g.Node), "dump", archiveName(g, at, "zstd"))
	err := l.place(history, path, g.configText(), func() ([]byte, error) {
		var buf bytes.Buffer
		err := l.packer.Write(&buf, "zstd", func(w io.Writer) error { return writeArchive(w, g, at, 1*mib, 8<<10) })
		return buf.Bytes(), err
	})
	text := func(path, content string) error {
		return l.place(history, path, content, func() ([]byte, error) { return []byte(content), nil })
	}
	if err == nil {
		line := at.Format(time.DateTime) + " INFO: "
		err = text(logPath(path), fmt.Sprintf("%[1]sStarting Backup of VM %[2]d (%[3]s)\n%[1]sFinished Backup of VM %[2]d (00:02:00)\n", line, g.VMID, g.Type))
	}
	if err == nil && notes != "" {
		err = text(path+".notes", notes)
	}
	if err == nil && protected {
		err = text(path+".protected", "")
	}
	if err != nil {
		return fmt.Errorf("making the lab's older archives: %w", err)
	}
	return nil
}

// place makes a file. With a folder history it is a link to the one there that
// has the same name and was made of the same; nobody writes into these files,
// they are only ever replaced.
func (l *Lab) place(history, path, of string, content func() ([]byte, error)) error {
	if history == "" {
		b, err := content()
		if err != nil {
			return err
		}
		return os.WriteFile(path, b, 0o600)
	}
	kept := filepath.Join(history, sha1Hex(of)[:16]+"-"+filepath.Base(path))
	err := os.Link(kept, path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := content()
	if err == nil {
		err = writeFile(path, b, false)
	}
	if err == nil {
		err = os.Link(path, kept)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil // another estate was faster
	}
	return err
}

// writeArchive writes what is in the archive of a guest: one small device, or
// a few files. The guest's declared size has nothing to do with it.
func writeArchive(w io.Writer, g *guest, at time.Time, deviceSize int64, tarBytes int) error {
	seed := uint64(g.VMID)<<32 ^ uint64(at.Unix())
	if g.Type == "lxc" {
		_, err := archive.Tar{Config: g.configText(), Time: at, Bytes: tarBytes, Seed: seed}.WriteTo(w)
		return err
	}
	_, err := archive.VMA{
		Config: g.configText() + "#qmdump#map:scsi0:drive-scsi0:rpool:raw:\n", Time: at, Seed: seed,
		Devices: []archive.Device{{Name: "drive-scsi0", Size: deviceSize}},
	}.WriteTo(w)
	return err
}
