package retention

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// keepAllKey is Proxmox's way to say in so many words that nothing is to go.
const keepAllKey = "keep-all"

// ParseRules reads the counts in the form of Proxmox's option prune-backups: "keep-last=3,keep-daily=7". "keep-all=1" and the
// empty string keep everything. It takes what Proxmox takes and refuses what Proxmox refuses (PVE::JSONSchema
// parse_property_string, PVE::Storage::Plugin validate_prune_backups), except that it allows spaces around keys and values.
// Minimum and Location have no such form and are left at their defaults.
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
		if seen[key] {
			return Rules{}, fmt.Errorf("retention rules %q: %s is given twice", text, key)
		}
		seen[key] = true

		var err error
		field := fieldOf(&rules, key)
		switch {
		case field == nil && key != keepAllKey:
			return Rules{}, fmt.Errorf("retention rules %q: there is no %q; known are %s", text, key, knownKeys())
		case !hasValue:
			err = fmt.Errorf("has no value; write %s=NUMBER", key)
		case key == keepAllKey:
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

// String gives the counts in Proxmox's form, in Proxmox's order; "keep-all=1" where there are none.
func (r Rules) String() string {
	var parts []string
	for _, rule := range rulesInOrder {
		if n := rule.count(r); n != 0 {
			parts = append(parts, rule.key+"="+strconv.Itoa(n))
		}
	}
	if len(parts) == 0 {
		return keepAllKey + "=1"
	}
	return strings.Join(parts, ",")
}

func fieldOf(rules *Rules, key string) *int {
	for _, rule := range rulesInOrder {
		if rule.key == key {
			return rule.field(rules)
		}
	}
	return nil
}

func knownKeys() string {
	var keys strings.Builder
	for _, rule := range rulesInOrder {
		keys.WriteString(rule.key + ", ")
	}
	return keys.String() + keepAllKey
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
