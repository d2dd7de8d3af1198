package lab

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// An ArchiveState is an archive as it lies on its storage.
type ArchiveState struct {
	VolID, Storage, Node string // Node is the first that sees it
	Guest                int
	Kind                 string
	Begin                time.Time
	Size                 int64
	Notes                string // all of them
	Protected            bool
	File                 string // where it really is
}

// Archives are the archives on a storage, by node and name.
func (l *Lab) Archives(store string) ([]ArchiveState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.st.storage(store)
	if s == nil || !s.keepsFiles() {
		return nil, fmt.Errorf("listing archives: there is no storage %q that keeps files", store)
	}
	var out []ArchiveState
	for _, n := range l.st.Nodes {
		for _, v := range l.volumes(s, n.Name) {
			if v.content != "backup" {
				continue
			}
			notes, err := os.ReadFile(v.file + ".notes")
			if err != nil && !os.IsNotExist(err) {
				return nil, fmt.Errorf("reading the notes of %s: %w", v.id(), err)
			}
			out = append(out, ArchiveState{VolID: v.id(), Storage: store, Node: n.Name, Guest: v.vmid, Kind: v.subtype, Begin: time.Unix(v.ctime, 0).UTC(),
				Size: v.size, Notes: string(notes), Protected: v.protected, File: v.file})
		}
		if s.Shared {
			break
		}
	}
	return out, nil
}

// An OldArchive is one that was made some time ago, by whomever.
type OldArchive struct {
	Guest     int
	Storage   string
	Begin     time.Time // the storage keeps whole seconds
	Notes     string
	Protected bool
}

// AddArchive puts a copy of a guest on a storage.
func (l *Lab) AddArchive(a OldArchive) (ArchiveState, error) {
	add := func() error {
		l.mu.Lock()
		defer l.mu.Unlock()
		g, s := l.st.guest(a.Guest), l.st.storage(a.Storage)
		switch {
		case g == nil:
			return fmt.Errorf("adding an archive of guest %d: there is no such guest", a.Guest)
		case s == nil || !s.keepsFiles() || !s.holds("backup"):
			return fmt.Errorf("adding an archive of guest %d: there is no storage %q for archives", a.Guest, a.Storage)
		}
		a.Begin = a.Begin.UTC().Truncate(time.Second)
		if l.exists(&vzdumpJob{Storage: a.Storage}, g.Node, archiveName(g, a.Begin, "zstd")) {
			return fmt.Errorf("adding an archive of guest %d: there is one of %s", a.Guest, a.Begin.Format(time.DateTime))
		}
		return l.oldArchive("", g, a.Storage, a.Begin, a.Notes, a.Protected)
	}
	if err := add(); err != nil {
		return ArchiveState{}, err
	}
	all, err := l.Archives(a.Storage)
	if err != nil {
		return ArchiveState{}, err
	}
	i := slices.IndexFunc(all, func(x ArchiveState) bool { return x.Guest == a.Guest && x.Begin.Equal(a.Begin) })
	if i < 0 {
		return ArchiveState{}, fmt.Errorf("the archive of guest %d of %s was made, and is not listed", a.Guest, a.Begin.Format(time.DateTime))
	}
	return all[i], nil
}

// archive finds an archive by its volume id.
func (l *Lab) archive(volid string) (ArchiveState, error) {
	store, _, _ := strings.Cut(volid, ":")
	all, err := l.Archives(store)
	if err != nil {
		return ArchiveState{}, err
	}
	i := slices.IndexFunc(all, func(x ArchiveState) bool { return x.VolID == volid })
	if i < 0 {
		return ArchiveState{}, fmt.Errorf("there is no archive %s", volid)
	}
	return all[i], nil
}

// SetNotes writes the notes of an archive.
func (l *Lab) SetNotes(volid, notes string) error {
	return l.onArchive(volid, func(v *volume) error { return v.setNotes(notes) })
}

// Protect protects an archive, or no longer.
func (l *Lab) Protect(volid string, on bool) error {
	return l.onArchive(volid, func(v *volume) error { return v.protect(on) })
}

// Damage spoils the file of an archive: truncate or flip.
func (l *Lab) Damage(volid, how string) error {
	if how != "truncate" && how != "flip" {
		return fmt.Errorf("damaging %s: %q is no damage: there are truncate and flip", volid, how)
	}
	return l.onArchive(volid, func(v *volume) error { return spoil(v.file, how) })
}

// RemoveArchive removes an archive, protected or not.
func (l *Lab) RemoveArchive(volid string) error {
	return l.onArchive(volid, func(v *volume) error { return v.remove() })
}

func (l *Lab) onArchive(volid string, do func(*volume) error) error {
	a, err := l.archive(volid)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, name, _ := strings.Cut(volid, ":")
	v, err := l.parseVolume(l.st.storage(a.Storage), a.Node, name)
	if err == nil {
		err = do(v)
	}
	if err != nil {
		return fmt.Errorf("changing %s: %w", volid, err)
	}
	return nil
}
