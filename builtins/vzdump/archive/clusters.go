package archive

import "errors"

// clusterSet remembers which clusters of one device were seen.
//
// QEMU reads a disk from its start to its end, and in between saves clusters
// that the guest is about to overwrite. So nearly all that was seen is one run
// from 0, a number; the rest lies ahead of it, in small bitmaps that go away as
// the run reaches them. Memory follows from what was seen, never from the size
// that a header claims.
type clusterSet struct {
	next  uint64                 // every cluster before it was seen
	ahead map[uint64]*[64]uint64 // by cluster/pageClusters: what was seen after it
	seen  uint64
}

const (
	pageClusters = 64 * 64 // clusters in one bitmap: 512 bytes for 256 MiB of disk

	// maxPages bounds the bitmaps of all devices together, to 64 MiB. It suffices for
	// 32 TiB of disk in whatever order, and without end for what is in order.
	maxPages = 1 << 17
)

var errTooScattered = errors.New("too scattered")

// add notes that cluster n was seen. It says false when it had been already.
// pages counts the bitmaps of all devices.
func (s *clusterSet) add(n uint64, pages *int) (bool, error) {
	if n < s.next {
		return false, nil
	}
	if n > s.next {
		page := s.ahead[n/pageClusters]
		if page == nil {
			if *pages == maxPages {
				return false, errTooScattered
			}
			*pages++
			page = new([64]uint64)
			if s.ahead == nil {
				s.ahead = map[uint64]*[64]uint64{}
			}
			s.ahead[n/pageClusters] = page
		}
		word, bit := n%pageClusters/64, uint64(1)<<(n%64)
		if page[word]&bit != 0 {
			return false, nil
		}
		page[word] |= bit
		s.seen++
		return true, nil
	}
	s.seen++
	for s.advance(pages); s.has(s.next); s.advance(pages) {
	}
	return true, nil
}

// advance makes the run one cluster longer.
func (s *clusterSet) advance(pages *int) {
	s.next++
	if passed := s.next/pageClusters - 1; s.next%pageClusters == 0 && s.ahead[passed] != nil {
		delete(s.ahead, passed)
		*pages--
	}
}

func (s *clusterSet) has(n uint64) bool {
	page := s.ahead[n/pageClusters]
	return page != nil && page[n%pageClusters/64]&(1<<(n%64)) != 0
}
