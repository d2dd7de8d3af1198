package vzdump

import (
	"sync"

	"nixmox/engine/builtin"
)

// seen are archives as the storage's list showed them once the task that made
// them had ended. The first verify of each begins with that look: a list makes
// Proxmox look at every file of a storage, and one for each archive would be
// as many as there are guests. It holds for the file that is found and has the
// size; where there is none such, verify asks again. What verify proves is
// about that file, and mark looks at Proxmox anew before it writes anything.
type seen struct {
	mu       sync.Mutex
	archives map[seenKey]Archive
}

type seenKey struct {
	run   string
	volid builtin.VolID
	node  builtin.Node
}

func (s *seen) add(run string, a Archive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.archives == nil {
		s.archives = map[seenKey]Archive{}
	}
	s.archives[seenKey{run, a.VolID.Value, a.Node}] = a
}

// take is for one use.
func (s *seen) take(run string, volid builtin.VolID, node builtin.Node) (Archive, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := seenKey{run, volid, node}
	a, ok := s.archives[key]
	delete(s.archives, key)
	return a, ok
}
