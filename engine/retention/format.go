package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// keepAllKey is Proxmox's way to say in so many words that nothing is to go.
const keepAllKey = "keep-all"

// keyPrefix begins each key in Proxmox's spelling.
const keyPrefix = "keep-"

// minimumKey is how the text says Rules.Minimum. Proxmox knows no such thing.
const minimumKey = "minimum"

// ParseRules reads the counts as text: "last=3,daily=7", or in the spelling of Proxmox's option prune-backups,
// "keep-last=3,keep-daily=7". "keep-all=1" and the empty string keep everything. Of the long spelling it takes what Proxmox takes
// and refuses what Proxmox refuses (PVE::JSONSchema parse_property_string, PVE::Storage::Plugin validate_prune_backups), except
// that it allows spaces around keys and values. "minimum=2" is Minimum; Location has no such form.
func ParseRules(text string) (Rules, error) {
	var rules Rules
	keepAll := false
	seen := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		if strings.TrimSpace(part) == "" {
			continue
		}
		key, value, hasValue := strings.Cut(part, "=")
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		name := strings.TrimPrefix(key, keyPrefix)
		if seen[name] {
			return Rules{}, fmt.Errorf("retention rules %q: %s is given twice", text, name)
		}
		seen[name] = true

		var err error
		field := fieldOf(&rules, name)
		if key == minimumKey {
			field = &rules.Minimum
		}
		switch {
		case field == nil && name != "all":
			return Rules{}, fmt.Errorf("retention rules %q: there is no %q; known are %s%s", text, key, knownNames(), meant(key, hasValue))
		case !hasValue:
			err = fmt.Errorf("has no value; write %s=NUMBER", key)
		case field == nil:
			keepAll, err = parseSwitch(value)
		default:
			*field, err = parseCount(value)
		}
		if err != nil {
			return Rules{}, fmt.Errorf("retention rules %q: %s %w", text, key, err)
		}
	}
	if keepAll && !rules.KeepsAll() {
		return Rules{}, fmt.Errorf("retention rules %q: keep-all cannot stand beside counts; leave out one or the other", text)
	}
	return rules, nil
}

// String gives the counts in Proxmox's spelling and order, "keep-all=1" where there are none, and then the minimum, if it is set.
func (r Rules) String() string {
	var parts []string
	for _, rule := range rulesInOrder {
		if n := rule.count(&r); n != 0 {
			parts = append(parts, keyPrefix+rule.name+"="+strconv.Itoa(n))
		}
	}
	if len(parts) == 0 {
		parts = append(parts, keepAllKey+"=1")
	}
	if r.Minimum != 0 {
		parts = append(parts, minimumKey+"="+strconv.Itoa(r.Minimum))
	}
	return strings.Join(parts, ",")
}

func fieldOf(rules *Rules, name string) *int {
	for _, rule := range rulesInOrder {
		if rule.name == name {
			return rule.field(rules)
		}
	}
	return nil
}

func knownNames() string {
	var names strings.Builder
	for _, rule := range rulesInOrder {
		names.WriteString(rule.name + ", ")
	}
	return names.String() + minimumKey + " and " + keepAllKey
}

// meant says what somebody may have meant who wrote a key that there is not.
func meant(key string, hasValue bool) string {
	if _, err := parseCount(key); err == nil && !hasValue {
		return "; so many of the newest are last=" + key
	}
	return ""
}

// parseCount takes plain digits only: strconv alone would let "+3" pass, which Proxmox's integers do not have either.
func parseCount(value string) (int, error) {
	if strings.Trim(value, "0123456789") != "" || value == "" {
		return 0, fmt.Errorf("is %q; give a whole number, 0 or more", value)
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		return 0, fmt.Errorf("is %s, which is more than can be counted", value)
	}
	return n, nil
}

// parseSwitch takes the words that Proxmox takes for a boolean.
func parseSwitch(value string) (bool, error) {
	switch strings.ToLower(value) {
	case "1", "on", "yes", "true":
		return true, nil
	case "0", "off", "no", "false":
		return false, nil
	}
	return false, errors.New("is either 1 or 0")
}
