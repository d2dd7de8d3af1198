package proxmox

import (
	"fmt"
	"strings"

	"nixmox/builtins/internal/pattern"
)

// SnapshotName is the name of a guest's snapshot in Proxmox.
type SnapshotName string

// Describe names the type and its grammar.
func (SnapshotName) Describe() (string, string) {
	return "snapshot name", "a letter, then letters, digits, '-' and '_', 2 to 40 characters; not current, vzdump, or one that replication uses"
}

// pve-snapshot-name: the grammar of pve-configid, 40 characters at most.
var snapshotGrammar = pattern.Of(`^[A-Za-z][A-Za-z0-9_-]{1,39}$`)

// Pattern is the grammar of the name.
func (SnapshotName) Pattern() string { return snapshotGrammar().String() }

// UnmarshalText follows pve-snapshot-name of Proxmox's JSON schema. The name
// of what stands for the present state is none.
func (s *SnapshotName) UnmarshalText(text []byte) error {
	switch name := string(text); {
	case !snapshotGrammar().MatchString(name):
		return fmt.Errorf("%q is no name of a snapshot: want a letter, then letters, digits, '-' and '_', 2 to 40 characters", name)
	case strings.EqualFold(name, "current"):
		return fmt.Errorf("%q is no name of a snapshot: Proxmox has it for the present state", name)
	}
	*s = SnapshotName(text)
	return nil
}

// NewSnapshotName is a name that a new snapshot may have.
type NewSnapshotName string

// Describe names the type and its grammar.
func (NewSnapshotName) Describe() (string, string) { return SnapshotName("").Describe() }

// Pattern is the grammar of the name.
func (NewSnapshotName) Pattern() string { return snapshotGrammar().String() }

// UnmarshalText refuses the names that Proxmox keeps for itself, too.
func (s *NewSnapshotName) UnmarshalText(text []byte) error {
	var name SnapshotName
	if err := name.UnmarshalText(text); err != nil {
		return err
	}
	// vzdump's own of containers; a section of the guest's file begins with pending.
	if owner := reservedFor(string(name)); owner != "" {
		return fmt.Errorf("%q is no name for a snapshot: %s uses it", name, owner)
	}
	*s = NewSnapshotName(name)
	return nil
}

func reservedFor(name string) string {
	switch lower := strings.ToLower(name); {
	case lower == "vzdump":
		return "vzdump"
	case lower == "pending" || strings.HasPrefix(lower, "special"):
		return "Proxmox's configuration file"
	case strings.HasPrefix(name, "__"):
		return "Proxmox"
	}
	return ""
}
