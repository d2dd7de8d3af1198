package lab

import "time"

// A Name is what something in the lab is called, and what else tells it from
// others: a guest's name, a storage's type.
type Name struct{ Name, Also string }

// Names gives what can be named in the lab that is kept in dir, or in a new
// one where there is none. It takes no lock and changes nothing, so that it
// can be asked while the lab is open elsewhere.
func Names(dir string) (guests, storages, nodes []Name, err error) {
	s, err := loadState(&folder{dir: dir})
	if err != nil {
		return nil, nil, nil, err
	}
	if s == nil {
		s = newEstate(time.Time{})
	}
	for _, g := range s.Guests {
		guests = append(guests, Name{g.id(), g.Name})
	}
	for _, x := range s.Storages {
		storages = append(storages, Name{x.Name, x.Type})
	}
	for _, n := range s.Nodes {
		nodes = append(nodes, Name{Name: n.Name})
	}
	return guests, storages, nodes, nil
}
