package pve

import (
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"nixmox/builtins/internal/pattern"
)

// UPID names a task for ever: which node, which process, since when, what.
type UPID struct {
	Node        string
	PID, PStart uint64 // the process and its start time in the kernel's ticks
	Start       time.Time
	Type        string // vzdump, qmsnapshot, …
	ID          string // a guest's id; "" for several; 101@local for a storage's task
	User        string // USER@REALM or USER@REALM!TOKEN

	text string
}

// As in upid_decode of Proxmox's PVE/Tools.pm, but for control characters.
var upidGrammar = pattern.Of(`^UPID:([a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?):([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8,9}):([0-9A-Fa-f]{8}):([^:\s[:cntrl:]]+):([^:\s[:cntrl:]]*):([^:\s[:cntrl:]]+):$`)

// ParseUPID reads UPID:node:pid:pstart:time:type:id:user: .
func ParseUPID(text string) (UPID, error) {
	m := upidGrammar().FindStringSubmatch(text)
	if m == nil || !utf8.ValidString(text) {
		return UPID{}, fmt.Errorf("%q is no UPID (UPID:NODE:PID:PSTART:TIME:TYPE:ID:USER:)", text)
	}
	// The grammar bounds the digits, so none of these can fail.
	pid, _ := strconv.ParseUint(m[2], 16, 64)
	pstart, _ := strconv.ParseUint(m[3], 16, 64)
	start, _ := strconv.ParseInt(m[4], 16, 64)
	return UPID{Node: m[1], PID: pid, PStart: pstart, Start: time.Unix(start, 0).UTC(), Type: m[5], ID: m[6], User: m[7], text: text}, nil
}

// String is the UPID as Proxmox wrote it.
func (u UPID) String() string { return u.text }

// UnmarshalText reads a UPID out of JSON.
func (u *UPID) UnmarshalText(text []byte) error {
	v, err := ParseUPID(string(text))
	if err == nil {
		*u = v
	}
	return err
}

// MarshalText writes what UnmarshalText reads.
func (u UPID) MarshalText() ([]byte, error) { return []byte(u.text), nil }
