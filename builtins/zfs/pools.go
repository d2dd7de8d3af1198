package zfs

import (
	"context"
	"slices"
	"strconv"
	"strings"

	"nixmox/engine/builtin"
)

// PoolInfo is a pool, as zpool list has it.
type PoolInfo struct {
	Name          Pool    `name:"name" doc:"its name"`
	GUID          GUID    `name:"guid" doc:"its identity, which outlives renames"`
	Health        string  `name:"health" doc:"ONLINE, DEGRADED, FAULTED, SUSPENDED, UNAVAIL … : the worst of its devices"`
	Size          int64   `name:"size" doc:"bytes of its devices; 0 where it cannot be opened"`
	Allocated     int64   `name:"allocated" volatile:"true" doc:"bytes in use, parity and mirrors included as zpool counts them"`
	Free          int64   `name:"free" volatile:"true" doc:"bytes that are not; of it, ZFS keeps some back"`
	Capacity      int64   `name:"capacity" volatile:"true" doc:"how much is in use, per cent; over 80 it becomes slow"`
	Fragmentation int64   `name:"fragmentation" volatile:"true" doc:"of the free space, per cent"`
	Dedup         float64 `name:"dedup" volatile:"true" doc:"the ratio of deduplication; 1 is none"`
	Freeing       int64   `name:"freeing" volatile:"true" doc:"bytes that are still to be freed after a destroy"`
	Leaked        int64   `name:"leaked" doc:"bytes that a destroy could not free; 0 in a sound pool"`
	Checkpoint    int64   `name:"checkpoint" volatile:"true" doc:"bytes that a checkpoint holds; 0 for none"`
	ReadOnly      bool    `name:"readonly" doc:"whether it was imported read-only"`
}

var poolColumns = []string{"name", "guid", "health", "size", "allocated", "free", "capacity", "fragmentation", "dedupratio", "freeing", "leaked", "checkpoint", "readonly"}

// PoolsArgs are the arguments of pools.
type PoolsArgs struct {
	Names []Pool `name:"names" scope:"pool" default:"" doc:"these; none for all that are imported"`
}

func (c client) pools(ctx context.Context, a PoolsArgs) ([]PoolInfo, error) {
	out := []PoolInfo{}
	argv := []string{"zpool", "list", "-Hp", "-o", strings.Join(poolColumns, ",")}
	err := c.rows(ctx, "listing pools"+of(a.Names), len(poolColumns), func(row [][]byte) error {
		p, err := readPool(row)
		out = append(out, p)
		return err
	}, append(argv, texts(a.Names)...)...)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b PoolInfo) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return slices.CompactFunc(out, func(a, b PoolInfo) bool { return a.Name == b.Name }), nil
}

func readPool(row [][]byte) (PoolInfo, error) {
	p := PoolInfo{Name: Pool(row[0]), GUID: GUID(row[1]), Health: string(row[2]), ReadOnly: string(row[12]) == "on", Dedup: 1}
	for _, n := range []struct {
		to     *int64
		column int
	}{{&p.Size, 3}, {&p.Allocated, 4}, {&p.Free, 5}, {&p.Capacity, 6}, {&p.Fragmentation, 7}, {&p.Freeing, 9}, {&p.Leaked, 10}, {&p.Checkpoint, 11}} {
		var err error
		// The per cents have their sign in some versions, with -p too.
		if *n.to, err = readInt([]byte(strings.TrimSuffix(string(row[n.column]), "%")), poolColumns[n.column]); err != nil {
			return p, err
		}
	}
	if ratio := strings.TrimSuffix(text(row[8]), "x"); ratio != "" {
		var err error
		if p.Dedup, err = strconv.ParseFloat(ratio, 64); err != nil {
			return p, builtin.Faultf(builtin.Invalid, "listing pools").Because(err).Hinting("nixmox follows OpenZFS 2.1 to 2.3; zfs version says which this is")
		}
	}
	return p, nil
}
