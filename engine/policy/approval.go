package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"nixmox/engine/builtin"
)

// Approval is an operator's word that a playbook may do what it declares when
// nobody is there: started by a timer, or by the daemon. It holds for the
// playbook's name and these needs, or fewer; the playbook's text may change.
type Approval struct {
	Playbook string    `json:"playbook"`
	Digest   string    `json:"digest"` // of the needs
	Needs    []string  `json:"needs"`  // MODULE.WHAT[:GLOB], sorted
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty"`
}

// NewApproval is the approval of a playbook with these needs.
func NewApproval(playbook string, needs []Need, at time.Time, by string) Approval {
	a := Approval{Playbook: playbook, Needs: []string{}, At: at, By: by}
	for _, n := range needs {
		a.Needs = append(a.Needs, n.Module+"."+n.String())
	}
	slices.Sort(a.Needs)
	a.Needs = slices.Compact(a.Needs)
	a.Digest = digestOf(a.Needs)
	return a
}

func digestOf(needs []string) string {
	sum := sha256.Sum256([]byte(strings.Join(needs, "\n")))
	return hex.EncodeToString(sum[:])
}

// Covers reports whether the approval covers a need: it has one that allows
// all that this one does.
func (a *Approval) Covers(n Need, modules []builtin.Module) bool {
	return slices.ContainsFunc(a.needs(), func(had Need) bool { return n.within(had, modules) })
}

// Unneeded are the needs that were approved and that none of these is.
func (a *Approval) Unneeded(needs []Need) []Need {
	return slices.DeleteFunc(a.needs(), func(had Need) bool {
		return slices.ContainsFunc(needs, func(n Need) bool { return n.Module == had.Module && n.String() == had.String() })
	})
}

func (a *Approval) needs() []Need {
	out := make([]Need, len(a.Needs))
	for i, text := range a.Needs {
		module, what, _ := strings.Cut(text, ".")
		out[i] = ParseNeed(module, what, builtin.Position{})
	}
	return out
}

// within reports whether a need allows nothing that the other does not.
func (n Need) within(other Need, modules []builtin.Module) bool {
	if n.Module != other.Module {
		return false
	}
	what := n.What == other.What || n.What == "read" && other.What == "change"
	if m, ok := find(modules, n.Module); ok && !what {
		f, isFunc := m.Func(n.What)
		what = isFunc && other.Covers(f)
	}
	return what && (all(other.Glob) || n.Glob == other.Glob || literal(n.Glob) && !strings.HasPrefix(other.Glob, "$") && matchGlob(other.Glob, n.Glob))
}

// CannotBeUndone reports whether a need is for something irreversible.
func (n Need) CannotBeUndone(modules []builtin.Module) bool {
	m, _ := find(modules, n.Module)
	f, ok := m.Func(n.What)
	return ok && f.Effect == builtin.Irreversible
}

// Approvals are kept in one file of the state folder, of which only its owner
// can read and write. It is replaced as a whole: after a crash the file is the
// old one or the new one.
type Approvals struct{ Dir string }

const approvalsFile = "approvals.json"

// All are the approvals by the playbook's name. What is damaged, or could have
// been written by somebody else, is an error: it approves nothing.
func (s Approvals) All() (map[string]Approval, error) {
	out := map[string]Approval{}
	file := filepath.Join(s.Dir, approvalsFile)
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return out, nil
	}
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o022 != 0 {
		return nil, builtin.Faultf(builtin.Failed, "%s", file).Saying(fmt.Sprintf("its mode %04o lets others write it", info.Mode().Perm())).
			Hinting("chmod 600 %s, then look at nixmox approve --list", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []Approval
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, s.damaged(err)
	}
	for _, a := range list {
		if a.Digest != digestOf(a.Needs) {
			return nil, s.damaged(fmt.Errorf("the needs of %s are not those that were approved", a.Playbook))
		}
		out[a.Playbook] = a
	}
	return out, nil
}

func (s Approvals) damaged(err error) error {
	file := filepath.Join(s.Dir, approvalsFile)
	return builtin.Faultf(builtin.Failed, "%s is damaged", file).Because(err).Hinting("remove it, then approve anew what is to run unattended")
}

// Approve keeps an approval in place of the playbook's last one.
func (s Approvals) Approve(a Approval) error {
	return s.change(func(list map[string]Approval) { list[a.Playbook] = a })
}

// Revoke takes an approval back; ok is false if there was none.
func (s Approvals) Revoke(playbook string) (ok bool, err error) {
	err = s.change(func(list map[string]Approval) {
		_, ok = list[playbook]
		delete(list, playbook)
	})
	return ok && err == nil, err
}

// change is one at a time, whoever else does it.
func (s Approvals) change(do func(map[string]Approval)) (err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(s.Dir, approvalsFile+".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }() // closing gives the lock up, whatever else it says
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	byName, err := s.All()
	if err != nil {
		return err
	}
	do(byName)
	list := []Approval{}
	for _, a := range byName {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b Approval) int { return strings.Compare(a.Playbook, b.Playbook) })
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return err
	}
	return s.replace(append(text, '\n'))
}

func (s Approvals) replace(text []byte) error {
	file, err := os.CreateTemp(s.Dir, approvalsFile+".*")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if err == nil {
		err = file.Sync()
	}
	err = errors.Join(err, file.Close())
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(s.Dir, approvalsFile))
	}
	if err != nil {
		_ = os.Remove(file.Name()) // it is of no use any more
		return err
	}
	dir, err := os.Open(s.Dir)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
