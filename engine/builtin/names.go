package builtin

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// VMID is the id of a guest, a VM or a container: 100 to 999999999.
type VMID int

// Describe names the type and its grammar.
func (VMID) Describe() (string, string) {
	return "guest id", "a number from 100 to 999999999"
}

func (v VMID) String() string { return strconv.Itoa(int(v)) }

// UnmarshalText follows pve-vmid of Proxmox's JSON schema.
func (v *VMID) UnmarshalText(text []byte) error {
	if !isVMID(text) {
		return fmt.Errorf("%q is no guest id: want a number from 100 to 999999999", text)
	}
	n, err := strconv.Atoi(string(text))
	if err != nil {
		return err
	}
	*v = VMID(n)
	return nil
}

// Pattern is the grammar of the id as text.
func (VMID) Pattern() string { return `^[1-9][0-9]{2,8}$` }

// A list of guests has thousands of names, so they are not matched with their
// patterns, but with what a test holds against those.

func isVMID(text []byte) bool {
	return len(text) >= 3 && len(text) <= 9 && text[0] != '0' && all(text, isDigit)
}

func isNode(text []byte) bool {
	return len(text) >= 1 && len(text) <= 63 && isAlphanumeric(text[0]) && isAlphanumeric(text[len(text)-1]) &&
		all(text, func(c byte) bool { return isAlphanumeric(c) || c == '-' })
}

func isStorageID(text []byte) bool {
	return len(text) >= 2 && len(text) <= 100 && isLetter(text[0]) && isAlphanumeric(text[len(text)-1]) &&
		all(text, func(c byte) bool { return isAlphanumeric(c) || c == '.' || c == '_' || c == '-' })
}

func all(text []byte, is func(byte) bool) bool {
	return !slices.ContainsFunc(text, func(c byte) bool { return !is(c) })
}

func isDigit(c byte) bool        { return '0' <= c && c <= '9' }
func isLetter(c byte) bool       { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }
func isAlphanumeric(c byte) bool { return isDigit(c) || isLetter(c) }

// Node is the name of a Proxmox VE node.
type Node string

// Describe names the type and its grammar.
func (Node) Describe() (string, string) { return "node", "a host name without its domain" }

// Pattern is the grammar of the name.
func (Node) Pattern() string { return `^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$` }

// UnmarshalText follows pve-node of Proxmox's JSON schema.
func (n *Node) UnmarshalText(text []byte) error {
	return setName(n, text, isNode, "node: want letters, digits and '-'")
}

// StorageID is the name of a storage in Proxmox's storage.cfg.
type StorageID string

// Describe names the type and its grammar.
func (StorageID) Describe() (string, string) {
	return "storage", "a letter, then letters, digits, '-', '_' and '.'"
}

// Pattern is the grammar of the name.
func (StorageID) Pattern() string { return `^[A-Za-z][A-Za-z0-9._-]{0,98}[A-Za-z0-9]$` }

// UnmarshalText follows pve-storage-id of Proxmox's JSON schema.
func (s *StorageID) UnmarshalText(text []byte) error {
	return setName(s, text, isStorageID, "storage: want a letter, then letters, digits, '-', '_' and '.', two characters at least")
}

func setName[T ~string](dst *T, text []byte, is func([]byte) bool, want string) error {
	if !is(text) {
		return fmt.Errorf("%q is no %s", text, want)
	}
	*dst = T(text)
	return nil
}

// VolID names a volume: STORAGE:NAME, as in backup:backup/vzdump-qemu-100-….vma.zst.
type VolID string

// Describe names the type and its grammar.
func (VolID) Describe() (string, string) { return "volume id", "STORAGE:NAME" }

// UnmarshalText checks the storage's name and that the rest cannot leave the
// storage's folder or be taken for an option.
func (v *VolID) UnmarshalText(text []byte) error {
	storage, name, ok := strings.Cut(string(text), ":")
	if !ok || !isStorageID([]byte(storage)) || name == "" {
		return fmt.Errorf("%q is no volume id: want STORAGE:NAME", text)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || part[0] == '-' {
			return fmt.Errorf("%q is no volume id: %q may not stand in its name", text, part)
		}
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%q is no volume id: it is not UTF-8", text)
	}
	for _, c := range name {
		if c < ' ' || c == 0x7f || c == '\\' {
			return fmt.Errorf("%q is no volume id: it has the character %q", text, c)
		}
	}
	*v = VolID(text)
	return nil
}

// Storage is the part before the colon; needs match on it.
func (v VolID) Storage() StorageID { s, _, _ := strings.Cut(string(v), ":"); return StorageID(s) }

// Name is the part after the colon.
func (v VolID) Name() string { _, n, _ := strings.Cut(string(v), ":"); return n }

// ScopeText is what a need's glob is matched with.
func (v VolID) ScopeText() string { return string(v.Storage()) }

// Duration is a span of time; as text 90s, 10m, 2h30m, or a number of seconds.
type Duration time.Duration

// Describe names the type and its grammar.
func (Duration) Describe() (string, string) {
	return "duration", "90s, 10m, 2h30m, 7d, or a number of seconds"
}

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads Go's durations, days, and plain seconds.
func (d *Duration) UnmarshalText(text []byte) error {
	s := string(text)
	if n, err := strconv.ParseFloat(s, 64); err == nil && n >= 0 && n < 1e9 {
		*d = Duration(n * float64(time.Second))
		return nil
	}
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			*d = Duration(time.Duration(n) * 24 * time.Hour)
			return nil
		}
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is no duration: want 90s, 10m, 2h30m, 7d, or a number of seconds", s)
	}
	*d = Duration(v)
	return nil
}

// Bytes is a size in bytes; as text also 512MiB, 32GiB, 2T (binary multiples).
type Bytes int64

// Describe names the type and its grammar.
func (Bytes) Describe() (string, string) {
	return "size", "bytes, or with a unit: 512MiB, 32GiB, 2TiB"
}

// String is the size in the largest unit that divides it.
func (b Bytes) String() string {
	n, unit := int64(b), ""
	for _, larger := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n == 0 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, larger
	}
	return strconv.FormatInt(n, 10) + unit
}

// UnmarshalText reads bytes with or without a unit. Units are powers of 1024,
// as everywhere in Proxmox and ZFS.
func (b *Bytes) UnmarshalText(text []byte) error {
	m := bytesGrammar.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is no size: want bytes, or a number with KiB, MiB, GiB or TiB", text)
	}
	shift := 0
	if len(m[2]) > 0 {
		shift = 10 * (1 + strings.IndexByte("KMGTP", m[2][0]))
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil || n > (1<<63-1)>>shift {
		return fmt.Errorf("%q is no size: it is larger than any there is", text)
	}
	*b = Bytes(n << shift)
	return nil
}

var bytesGrammar = regexp.MustCompile(`^([0-9]+)(?:B|([KMGTP])(?:iB|i|B)?)?$`)

// Pattern is the grammar of the size as text.
func (Bytes) Pattern() string { return bytesGrammar.String() }

// Secret is a handle of a secret in nixmox's configuration: its name, never
// its text, which only Reveal gives, to the function that needs it.
type Secret struct{ name string }

// NamedSecret is the handle of a name.
func NamedSecret(name string) Secret { return Secret{name} }

// Name is the secret's name in the configuration.
func (s Secret) Name() string   { return s.name }
func (s Secret) String() string { return fmt.Sprintf("secret(%q)", s.name) }

// GoString keeps %#v from looking inside.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON writes a reference.
func (s Secret) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"secret": s.name})
}

// Reveal is the secret's text. Never log it, store it, or hand it to another
// process in argv or environment.
func (s Secret) Reveal(ctx context.Context) (string, error) {
	run := CallFrom(ctx).Run
	if run.Secret == nil {
		return "", Faultf(NotFound, "secret %q", s.name).Hinting("name it in the [secrets] table of the configuration")
	}
	return run.Secret(s.name)
}

// Keep says how many of a list of dated things stay, by the rules that
// Proxmox and the engine's retention use. All zero keeps everything.
type Keep struct {
	Last    int `name:"last" default:"0" doc:"the newest so many"`
	Hourly  int `name:"hourly" default:"0" doc:"the newest of each of so many hours"`
	Daily   int `name:"daily" default:"0" doc:"the newest of each of so many days"`
	Weekly  int `name:"weekly" default:"0" doc:"the newest of each of so many ISO weeks"`
	Monthly int `name:"monthly" default:"0" doc:"the newest of each of so many months"`
	Yearly  int `name:"yearly" default:"0" doc:"the newest of each of so many years"`
	Minimum int `name:"minimum" default:"1" doc:"at least so many of ours stay, whatever the rules say"`
}

// Later is a value that a plan may not know yet, because a planned call will
// make it: the name of an archive to come. A field or argument of this type
// may be passed on, opaque, in a plan; any other use of it ends the plan.
type Later[T any] struct {
	Value T
	From  Place  // the planned call; "" when the value is known
	Of    string // which one, where the call will make several: "guest 100"; "" otherwise
}

// Now is a value that is known.
func Now[T any](v T) Later[T] { return Later[T]{Value: v} }

// PlannedBy is a value that the planned call will make.
func PlannedBy[T any](c *Call) Later[T] { return Later[T]{From: c.Place} }

// PlannedOneOf is a value that the planned call will make beside others of its
// kind, and which of them: two values that are equal are the same one.
func PlannedOneOf[T any](c *Call, of string) Later[T] { return Later[T]{From: c.Place, Of: of} }

// Known reports whether the value is there.
func (l Later[T]) Known() bool { return l.From == "" }

func (l Later[T]) opaque() (Opaque, bool) { return Opaque{From: l.From, Of: l.Of}, l.From != "" }
func (l *Later[T]) setOpaque(o Opaque)    { l.From, l.Of = o.From, o.Of }

type later interface{ setOpaque(Opaque) }

// Opaque stands, in a plan, for a value that only the run will know.
type Opaque struct {
	From Place  `json:"known_after"`
	Of   string `json:"of,omitempty"`
}

func (o Opaque) String() string {
	if o.Of != "" {
		return "(known after call " + string(o.From) + ", " + o.Of + ")"
	}
	return "(known after call " + string(o.From) + ")"
}

// OpaqueIn is the value to come that decoded JSON stands for.
func OpaqueIn(raw any) (Opaque, bool) {
	m, _ := raw.(map[string]any)
	from, ok := m["known_after"].(string)
	of, named := m["of"].(string)
	return Opaque{From: Place(from), Of: of}, ok && from != "" && (len(m) == 1 || len(m) == 2 && named && of != "")
}

// Ends is the end of the plan, because the value was used.
func (o Opaque) Ends(use string) *Stop {
	return Stopf(PlanEnds, "what call %s will return %s", o.From, use)
}
