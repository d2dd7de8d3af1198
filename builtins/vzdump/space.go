package vzdump

import (
	"cmp"
	"context"
	"fmt"

	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// checkSpace estimates what the archives will take, and refuses where they
// clearly do not fit. The newest archive that a guest has there is the best
// guess at the next; of a guest without one only its disk is known, which is
// an upper bound and no reason to refuse. A backup server keeps only what is
// new, so nothing is estimated there. Backups of other nodes that run at the
// same time are not reckoned with.
func (v *vzdump) checkSpace(ctx context.Context, j *job, guests []pve.Guest) error {
	if j.onServer {
		return nil
	}
	listed, err := v.listOn(ctx, j.Storage, j.Node, j.Guests...)
	if err != nil {
		return err
	}
	newest := map[builtin.VMID]int64{} // the list is oldest first
	for i := range listed {
		newest[listed[i].Guest] = listed[i].Size
	}
	var known, bound int64
	var without []builtin.VMID
	for _, g := range guests {
		if size, ok := newest[g.VMID]; ok {
			known += size
			continue
		}
		without = append(without, g.VMID)
		bound += cmp.Or(g.Disk, g.MaxDisk)
	}
	j.expected = known + bound
	short := fmt.Sprintf("the newest archives of these guests there take %s together, and %s are free", roundedSize(known), roundedSize(j.free))
	switch {
	case known > j.free && j.CheckSpace:
		return builtin.Faultf(builtin.Conflict, "%s: too little room, nothing was begun", j.what()).Saying(short).
			Hinting("free some (vzdump.prune), or name another storage; to try all the same: check_space = False")
	case known > j.free:
		j.warnings = append(j.warnings, short)
	case known > j.free/10*9:
		j.warnings = append(j.warnings, short+": that is close")
	case known+bound > j.free:
		j.warnings = append(j.warnings, fmt.Sprintf("%s are free, and guest %s, without an archive there, may take up to %s", roundedSize(j.free), idList(without), roundedSize(bound)))
	}
	return nil
}
