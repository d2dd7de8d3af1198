package lab

import (
	"fmt"
	"strconv"
	"strings"

	"nixmox/builtins/internal/pattern"
)

// The formats of Proxmox's schema that the lab's methods use. Each says what
// is wrong with a value in Proxmox's words, "" if nothing is.

var (
	storageID = pattern.Of(`^[a-zA-Z][a-zA-Z0-9\-_.]*[a-zA-Z0-9]$`)
	nodeName  = pattern.Of(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?$`)
	poolID    = pattern.Of(`^[A-Za-z0-9.\-_]+(?:/[A-Za-z0-9.\-_]+)*$`)
	configID  = pattern.Of(`^[a-zA-Z][a-zA-Z0-9_\-]+$`)
	vmidText  = pattern.Of(`^[1-9][0-9]{2,8}$`)
	listSplit = pattern.Of(`[,;\s\x00]+`)
)

func splitList(s string) []string {
	var out []string
	for _, x := range listSplit().Split(s, -1) {
		if x != "" {
			out = append(out, x)
		}
	}
	return out
}

func storageFormat(s string) string {
	if !storageID().MatchString(s) {
		return fmt.Sprintf("storage ID '%s' contains illegal characters", s)
	}
	return ""
}

func nodeFormat(s string) string {
	if !nodeName().MatchString(s) {
		return "value does not look like a valid node name"
	}
	return ""
}

func configFormat(s string) string {
	if !configID().MatchString(s) {
		return fmt.Sprintf("invalid configuration ID '%s'", s)
	}
	return ""
}

func poolFormat(s string) string {
	if !poolID().MatchString(s) {
		return fmt.Sprintf("value '%s' does not look like a valid poolid", s)
	}
	return ""
}

func vmidListFormat(s string) string {
	for _, id := range splitList(s) {
		if !vmidText().MatchString(id) {
			return "value does not look like a valid VM ID"
		}
	}
	return ""
}

var contentTypes = map[string]bool{"images": true, "rootdir": true, "vztmpl": true, "iso": true, "backup": true, "snippets": true, "import": true, "none": true}

func contentFormat(s string) string {
	for _, c := range splitList(s) {
		if !contentTypes[c] {
			return fmt.Sprintf("invalid content type '%s'", c)
		}
	}
	return ""
}

func taskStatusFormat(s string) string {
	for _, x := range splitList(s) {
		switch x {
		case "ok", "error", "warning", "unknown":
		default:
			return fmt.Sprintf("value '%s' is not a valid task status type", x)
		}
	}
	return ""
}

var keepOptions = []string{"keep-last", "keep-hourly", "keep-daily", "keep-weekly", "keep-monthly", "keep-yearly"}

func pruneFormat(s string) string {
	_, wrong := parsePrune(s)
	return wrong
}

// parsePrune reads a value of prune-backups: how many each option keeps, and
// nothing when all are kept. The second result says what is wrong with it.
func parsePrune(s string) (map[string]int, string) {
	keep := map[string]int{}
	all := false
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		known := name == "keep-all"
		for _, k := range keepOptions {
			known = known || k == name
		}
		if !ok || !known {
			return nil, fmt.Sprintf("format error\nprune-backups.%s: property is not defined in schema and the schema does not allow additional properties", name)
		}
		if name == "keep-all" {
			b, ok := parseBool(value)
			if !ok {
				return nil, fmt.Sprintf("format error\nprune-backups.keep-all: type check ('boolean') failed - got '%s'", value)
			}
			all = b
			continue
		}
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return nil, fmt.Sprintf("format error\nprune-backups.%s: type check ('integer') failed - got '%s'", name, value)
		}
		if n > 0 {
			keep[name] = n
		}
	}
	if all && len(keep) > 0 {
		return nil, "keep-all cannot be set together with other options."
	}
	return keep, ""
}
