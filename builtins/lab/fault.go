package lab

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Fault is something that goes wrong on request.
type Fault struct {
	Target string // vzdump, storage, list, api, token, ticket, guest, task …
	ID     string // which one; "*" for all
	Kind   string // what goes wrong
	Text   string // of the kind text
	Count  int    // how often; 0 is always
}

func (f Fault) String() string {
	s := f.Target
	if f.ID != "" {
		s += ":" + f.ID
	}
	s += "=" + f.Kind
	if f.Kind == "text" {
		s += ":" + f.Text
	}
	if f.Count > 0 {
		s += "*" + strconv.Itoa(f.Count)
	}
	return s
}

// faultKinds lists, by target, what can go wrong.
var faultKinds = []struct {
	target string
	id     string // what stands after the colon; "" if nothing may
	kinds  []string
}{
	{"vzdump", "VMID", []string{"fail", "warnings", "text", "hang", "truncate", "flip", "deny"}},
	{"storage", "STORAGE", []string{"full", "offline"}},
	{"clock", "NODE", []string{"skew"}},
	{"privilege", "NAME", []string{"missing"}},
	{"list", "guests", []string{"fail"}},
	{"api", "METHOD /PATH", []string{"595", "596", "500", "403", "401", "drop", "slow"}},
	{"token", "", []string{"expired"}},
	{"ticket", "", []string{"expired"}},
	{"guest", "VMID", []string{"locked"}},
	{"task", "TYPE", []string{"fail", "text", "hang"}},
	{"agent", "VMID", []string{"late", "down", "freeze", "thaw"}},
	{"restore", "VMID", []string{"fail", "hang"}},
}

// FaultHelp says which faults there are, one a line.
func FaultHelp() string {
	var b strings.Builder
	for _, k := range faultKinds {
		b.WriteString(k.target)
		if k.id != "" {
			b.WriteString(":" + k.id)
		}
		kinds := strings.Join(k.kinds, "|")
		kinds = strings.Replace(kinds, "text", "text:EXITSTATUS", 1)
		b.WriteString("=" + kinds + "[*COUNT]\n")
	}
	return b.String()
}

// ParseFault reads TARGET[:ID]=KIND[*COUNT], as in "vzdump:101=fail",
// "storage:backup=full" or "api:GET /nodes/pve1/tasks/*=595*2". An ID of * is
// any; the path of api may hold the wildcards of path.Match, and its * matches
// slashes, too. COUNT counts how often the lab asked, which for deny and
// offline may be several times in one request.
func ParseFault(s string) (Fault, error) {
	bad := func(format string, a ...any) (Fault, error) {
		return Fault{}, fmt.Errorf("fault %q: %s; there are:\n%s", s, fmt.Sprintf(format, a...), FaultHelp())
	}
	// A path may hold "=", an exit status too: the first = that follows a
	// target's ID counts for the others, the last for api.
	head, tail, ok := strings.Cut(s, "=")
	if strings.HasPrefix(s, "api:") {
		i := strings.LastIndex(s, "=")
		ok = i >= 0
		if ok {
			head, tail = s[:i], s[i+1:]
		}
	}
	if !ok {
		return bad("no = in it")
	}
	f := Fault{}
	f.Target, f.ID, _ = strings.Cut(head, ":")
	f.Kind = tail
	if i := strings.LastIndex(tail, "*"); i >= 0 {
		n, err := strconv.Atoi(tail[i+1:])
		if err != nil || n < 1 || strconv.Itoa(n) != tail[i+1:] {
			return bad("the count after * must be a number from 1 on")
		}
		f.Kind, f.Count = tail[:i], n
	}
	f.Kind, f.Text, _ = strings.Cut(f.Kind, ":")
	for _, k := range faultKinds {
		if k.target != f.Target {
			continue
		}
		switch {
		case !slices.Contains(k.kinds, f.Kind):
			return bad("%s knows no %q", f.Target, f.Kind)
		case k.id == "" && head != f.Target:
			return bad("%s takes no ID", f.Target)
		case k.id != "" && f.ID == "":
			return bad("%s needs an ID: %s:%s", f.Target, f.Target, k.id)
		case k.id == "VMID" && !isDigits(f.ID) && f.ID != "*":
			return bad("%q is not a VMID", f.ID)
		case k.target == "privilege" && !slices.Contains(allPrivileges, f.ID):
			return bad("Proxmox knows no privilege %q", f.ID)
		case k.target == "list" && f.ID != k.id:
			return bad("the only list is guests")
		case k.target == "api" && !validAPIGlob(f.ID):
			return bad("%q is not a METHOD and a /path", f.ID)
		case (f.Text != "") != (f.Kind == "text") || strings.ContainsAny(f.Text, "\r\n"):
			return bad("text, and only text, takes one line as exit status")
		}
		return f, nil
	}
	return bad("unknown target %q", f.Target)
}

func validAPIGlob(id string) bool {
	method, glob, ok := strings.Cut(id, " ")
	_, err := path.Match(glob, "")
	return ok && strings.HasPrefix(glob, "/") && err == nil &&
		slices.Contains([]string{"GET", "POST", "PUT", "DELETE", "*"}, method)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// matches says whether the fault is meant for id.
func (f Fault) matches(id string) bool {
	if f.Target != "api" {
		return f.ID == "*" || f.ID == id
	}
	method, glob, _ := strings.Cut(f.ID, " ")
	gotMethod, got, _ := strings.Cut(id, " ")
	if method != "*" && method != gotMethod {
		return false
	}
	// path.Match stops * at a slash; here it shall not.
	ok, _ := path.Match(strings.ReplaceAll(glob, "/", "\x00"), strings.ReplaceAll(got, "/", "\x00"))
	return ok
}

// faults counts how often each has struck.
type faults struct {
	// strike, if there is one, is asked first: see Options.
	strike func(target, id string, kinds []string) *Fault

	mu   sync.Mutex
	list []Fault
	used []int
}

func newFaults(o Options) *faults {
	return &faults{strike: o.Strike, list: slices.Clone(o.Faults), used: make([]int, len(o.Faults))}
}

// hit gives the first fault of these kinds that is meant for id and not used
// up, and counts it.
func (f *faults) hit(target, id string, kinds ...string) *Fault {
	if f.strike != nil {
		if x := f.strike(target, id, kinds); x != nil {
			return x
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, x := range f.list {
		if x.Target == target && x.matches(id) && slices.Contains(kinds, x.Kind) && (x.Count == 0 || f.used[i] < x.Count) {
			f.used[i]++
			return &x
		}
	}
	return nil
}
