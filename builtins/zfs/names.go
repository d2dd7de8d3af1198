package zfs

import (
	"fmt"
	"strings"
)

// The grammar of names is that of OpenZFS's module/zcommon/zfs_namecheck.c. A
// name begins with its pool's, and that with a letter: none can be taken for
// an option.

// maxName is ZFS_MAX_DATASET_NAME_LEN without its NUL: of the whole name, a
// snapshot's with its dataset.
const maxName = 255

// Dataset names a file system or a volume: rpool/data/vm-100-disk-0.
type Dataset string

// Describe names the type and its grammar.
func (Dataset) Describe() (string, string) { return "dataset", "POOL/NAME/…, at most 255 characters" }

// UnmarshalText refuses above all what names a snapshot or a bookmark: what is
// asked of a dataset must never meet its history, and the other way round.
func (d *Dataset) UnmarshalText(text []byte) error {
	if err := checkDataset(string(text)); err != nil {
		return fmt.Errorf("%q is no dataset: %w", text, err)
	}
	*d = Dataset(text)
	return nil
}

// Pool is the pool that the dataset is in.
func (d Dataset) Pool() Pool { p, _, _ := strings.Cut(string(d), "/"); return Pool(p) }

// In reports whether the dataset is another one or below it.
func (d Dataset) In(other Dataset) bool {
	return d == other || strings.HasPrefix(string(d), string(other)+"/")
}

// Pool names a pool.
type Pool string

// Describe names the type and its grammar.
func (Pool) Describe() (string, string) {
	return "pool", "a letter, then letters, digits and - _ . : and spaces"
}

// UnmarshalText follows pool_namecheck and zpool_name_valid.
func (p *Pool) UnmarshalText(text []byte) error {
	if err := checkPool(string(text)); err != nil {
		return fmt.Errorf("%q is no pool: %w", text, err)
	}
	*p = Pool(text)
	return nil
}

// Snapshot names a snapshot: DATASET@NAME.
type Snapshot string

// Describe names the type and its grammar.
func (Snapshot) Describe() (string, string) {
	return "ZFS snapshot", "DATASET@NAME, at most 255 characters"
}

// UnmarshalText wants both parts.
func (s *Snapshot) UnmarshalText(text []byte) error {
	if err := checkPair(string(text), "@"); err != nil {
		return fmt.Errorf("%q is no ZFS snapshot: %w", text, err)
	}
	*s = Snapshot(text)
	return nil
}

// Dataset is the part before the @; needs match on it.
func (s Snapshot) Dataset() Dataset { d, _, _ := strings.Cut(string(s), "@"); return Dataset(d) }

// Name is the part after the @.
func (s Snapshot) Name() string { _, n, _ := strings.Cut(string(s), "@"); return n }

// ScopeText is what a need's glob is matched with.
func (s Snapshot) ScopeText() string { return string(s.Dataset()) }

// Bookmark names a bookmark: DATASET#NAME.
type Bookmark string

// Describe names the type and its grammar.
func (Bookmark) Describe() (string, string) {
	return "ZFS bookmark", "DATASET#NAME, at most 255 characters"
}

// UnmarshalText wants both parts.
func (b *Bookmark) UnmarshalText(text []byte) error {
	if err := checkPair(string(text), "#"); err != nil {
		return fmt.Errorf("%q is no ZFS bookmark: %w", text, err)
	}
	*b = Bookmark(text)
	return nil
}

// Dataset is the part before the #; needs match on it.
func (b Bookmark) Dataset() Dataset { d, _, _ := strings.Cut(string(b), "#"); return Dataset(d) }

// ScopeText is what a need's glob is matched with.
func (b Bookmark) ScopeText() string { return string(b.Dataset()) }

// Name is one part of a name: of a snapshot after the @, of a bookmark after the #.
type Name string

// Describe names the type and its grammar.
func (Name) Describe() (string, string) {
	return "ZFS name", "letters, digits and - _ . : and spaces"
}

// UnmarshalText follows zfs_component_namecheck.
func (n *Name) UnmarshalText(text []byte) error {
	if err := checkPart(string(text)); err != nil {
		return fmt.Errorf("%q is no name of a snapshot or bookmark: %w", text, err)
	}
	*n = Name(text)
	return nil
}

// Tag names a hold.
type Tag string

// Describe names the type and its grammar.
func (Tag) Describe() (string, string) {
	return "hold tag", "1 to 255 characters, none of them a control character"
}

// UnmarshalText keeps tags to what a list can show. One that begins with a
// hyphen would be an option.
func (t *Tag) UnmarshalText(text []byte) error {
	if s := string(text); s == "" || len(s) > maxName || s[0] == '-' || strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return fmt.Errorf("%q is no hold tag: want 1 to 255 characters, none of them a control character, the first no hyphen", text)
	}
	*t = Tag(text)
	return nil
}

// GUID is the identity of a pool, a dataset, a snapshot or a bookmark: an
// unsigned number of 64 bits, which is text here so that both languages have
// it exactly.
type GUID string

// Describe names the type and its grammar.
func (GUID) Describe() (string, string) { return "GUID", "the digits of an unsigned number of 64 bits" }

// UnmarshalText wants digits.
func (g *GUID) UnmarshalText(text []byte) error {
	if s := string(text); s == "" || len(s) > 20 || strings.Trim(s, "0123456789") != "" {
		return fmt.Errorf("%q is no GUID: want up to 20 digits", text)
	}
	*g = GUID(text)
	return nil
}

func checkDataset(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("it has %d characters, and ZFS takes %d", len(s), maxName)
	}
	if i := strings.IndexAny(s, "@#"); i >= 0 {
		return fmt.Errorf("a %c makes it a name of something else", s[i])
	}
	pool, rest, deeper := strings.Cut(s, "/")
	if err := checkPool(pool); err != nil {
		return err
	}
	for deeper {
		var part string
		part, rest, deeper = strings.Cut(rest, "/")
		if err := checkPart(part); err != nil {
			return err
		}
	}
	return nil
}

// checkPair is for a dataset and a name with @ or # between them.
func checkPair(s, separator string) error {
	if len(s) > maxName {
		return fmt.Errorf("it has %d characters, and ZFS takes %d", len(s), maxName)
	}
	dataset, name, ok := strings.Cut(s, separator)
	if !ok {
		return fmt.Errorf("want DATASET%sNAME", separator)
	}
	if err := checkDataset(dataset); err != nil {
		return err
	}
	return checkPart(name)
}

func checkPool(s string) error {
	if err := checkPart(s); err != nil {
		return err
	}
	if c := s[0] | 0x20; c < 'a' || c > 'z' {
		return fmt.Errorf("a pool's name begins with a letter")
	}
	return nil
}

func checkPart(s string) error {
	switch s {
	case "":
		return fmt.Errorf("a part of it is empty")
	case ".", "..":
		return fmt.Errorf("%q may not be a part of it", s)
	}
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c|0x20 && c|0x20 <= 'z'
		if !letter && (c < '0' || c > '9') && strings.IndexByte("-_.: ", c) < 0 {
			return fmt.Errorf("the character %q may not stand in it", c)
		}
	}
	return nil
}
