package retention

import "time"

// Item is a dated thing that a prune may remove: an archive, a snapshot, a generation.
type Item struct {
	// ID is the thing's identity, unique in the whole list: a volume id, a snapshot's full name or GUID.
	ID string

	// Group is what the rules count within: a guest ("qemu/101"; Proxmox too counts a VM and a container of the same
	// number apart), a dataset, a profile. The rules apply to each group by itself.
	Group string

	// Time is when the thing was made. It says which hour, day, week, month and year the thing stands for.
	Time time.Time

	// Order is the order of creation where something better than Time is known (ZFS: createtxg, since the creation time
	// is only as good as the clock was). Higher is newer. In one group either all items have it or none has.
	Order uint64

	// Ours says that the thing carries nixmox's mark, or that somebody has named it as one to be treated so. Everything else is
	// never removed and does not count.
	Ours bool

	// Verified says that the thing is marked as read to its end and found whole.
	Verified bool

	// Protected says why the thing may not go ("protected in Proxmox", "held: send"). Empty means that it may. What is
	// protected does not count: who lifts the protection later must find what the rules promise without it.
	Protected string
}
