package lab

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// A NewStorage is a storage that the estate does not have yet.
type NewStorage struct {
	Name    string
	Type    string // dir, nfs, cifs, pbs, zfspool or lvmthin
	Content []string
	Shared  bool // of a dir; those on a network are
	Total   int64
	Used    int64
}

// AddStorage adds a storage to the cluster's configuration.
func (l *Lab) AddStorage(n NewStorage) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := &storage{Name: n.Name, Type: n.Type, Content: n.Content, Shared: n.Shared, Total: n.Total, Used: n.Used}
	switch {
	case storageFormat(n.Name) != "" || l.st.storage(n.Name) != nil:
		return fmt.Errorf("adding the storage %q: that is no name, or one that is taken", n.Name)
	case !s.keepsFiles() && !slices.Contains([]string{"zfspool", "lvmthin"}, n.Type):
		return fmt.Errorf("adding the storage %q: %q is no type that the lab has", n.Name, n.Type)
	}
	s.Shared = s.Shared || slices.Contains([]string{"nfs", "cifs", "pbs"}, n.Type)
	l.st.Storages = append(l.st.Storages, s)
	if pool := s.zfsPool(); pool != "" {
		for _, node := range l.st.Nodes {
			if wrong := l.all(node.Name, l.now(), nil, []string{"zfs", "create", pool}); wrong != "" {
				return fmt.Errorf("adding the storage %q on %s: %s", n.Name, node.Name, wrong)
			}
		}
	}
	if s.keepsFiles() {
		for _, node := range l.st.Nodes {
			if err := os.MkdirAll(l.mountOf(s, node.Name)+"/dump", 0o700); err != nil {
				return fmt.Errorf("adding the storage %q: %w", n.Name, err)
			}
		}
	}
	return l.save()
}

// SetZone sets the local time of the nodes, so many hours east of UTC. Archives
// are still named by UTC.
func (l *Lab) SetZone(hours int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.st.East = time.Duration(hours) * time.Hour
	return l.save()
}

// ServerVerified is what a backup server found when it verified an archive: ok
// or failed.
func (l *Lab) ServerVerified(volid, state string) error {
	return l.onArchive(volid, func(v *volume) error { return writeFile(v.file+".verified", []byte(state), false) })
}
