package zfs

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// PropertyName names a property: compression, com.example:owner,
// userquota@alice, written@before.
type PropertyName string

// Describe names the type and its grammar.
func (PropertyName) Describe() (string, string) {
	return "ZFS property", "a name of zfsprops(7), or one's own, which has a colon in it"
}

// PropertyName follows zfs_prop_user; what follows an @ is a user, a snapshot
// or a feature.
var propertyName = pattern.Of(`^[a-z0-9_][a-z0-9:._-]*(@[A-Za-z0-9][A-Za-z0-9:._ \\-]*)?$`)

// UnmarshalText refuses above all what is several names, or an option.
func (n *PropertyName) UnmarshalText(text []byte) error {
	if !propertyName().Match(text) || len(text) > maxName || string(text) == "all" {
		return fmt.Errorf("%q is no property: want a name such as compression or com.example:owner", text)
	}
	*n = PropertyName(text)
	return nil
}

// own reports whether it is a user's own property, which ZFS keeps and does not read.
func (n PropertyName) own() bool { return strings.Contains(string(n), ":") }

// Target names what properties are of.
type Target string

// Describe names the type and its grammar.
func (Target) Describe() (string, string) {
	return "dataset, snapshot or bookmark", "POOL/NAME/…, DATASET@NAME or DATASET#NAME"
}

// UnmarshalText takes the three sorts of names.
func (t *Target) UnmarshalText(text []byte) error {
	s := string(text)
	err := checkDataset(s)
	if strings.Contains(s, "@") {
		err = checkPair(s, "@")
	} else if strings.Contains(s, "#") {
		err = checkPair(s, "#")
	}
	if err != nil {
		return fmt.Errorf("%q is no dataset, snapshot or bookmark: %w", text, err)
	}
	*t = Target(text)
	return nil
}

// Dataset is the part before an @ or #.
func (t Target) Dataset() Dataset {
	if i := strings.IndexAny(string(t), "@#"); i >= 0 {
		return Dataset(t[:i])
	}
	return Dataset(t)
}

// ScopeText is what a need's glob is matched with.
func (t Target) ScopeText() string { return string(t.Dataset()) }

// Property is the value of one property.
type Property struct {
	Value  string `name:"value" doc:"exact: sizes in bytes, times in seconds since 1970; - where it has none"`
	Source string `name:"source" doc:"local, default, received, temporary, inherited from DATASET, or - where it cannot be set"`
}

// PropertiesArgs are the arguments of properties.
type PropertiesArgs struct {
	Target Target         `name:"target" scope:"dataset" doc:"the dataset, snapshot or bookmark"`
	Names  []PropertyName `name:"names" default:"" doc:"which; none for all that it has"`
}

func (c client) properties(ctx context.Context, a PropertiesArgs) (map[string]Property, error) {
	real, err := c.realName(ctx, a.Target.Dataset())
	if err != nil {
		return nil, err
	}
	if real == "" {
		stop := builtin.Stopf(builtin.PlanEnds, "the dataset %s is only planned, and its properties are not known before", a.Target.Dataset())
		stop.At = builtin.CallFrom(ctx).At
		return nil, stop
	}
	out, err := c.getProperties(ctx, "zfs", string(real)+string(a.Target[len(a.Target.Dataset()):]), a.Names)
	if err != nil {
		return nil, err
	}
	return out, propertiesThen(ctx, a.Target, out)
}

// PoolPropertiesArgs are the arguments of pool_properties.
type PoolPropertiesArgs struct {
	Pool  Pool           `name:"pool" scope:"pool" doc:"its name"`
	Names []PropertyName `name:"names" default:"" doc:"which; none for all that it has"`
}

func (c client) poolProperties(ctx context.Context, a PoolPropertiesArgs) (map[string]Property, error) {
	return c.getProperties(ctx, "zpool", string(a.Pool), a.Names)
}

// getProperties reads properties of one thing. A value of one's own property may
// have tabs and line breaks in it, and then no list of names and values can be
// taken apart with certainty; somebody's value could look like other properties.
// So it asks for the names and sources first, and then for the values alone.
func (c client) getProperties(ctx context.Context, program, of string, names []PropertyName) (map[string]Property, error) {
	what := "reading properties of " + of
	which := "all"
	if len(names) > 0 {
		which = strings.Join(slices.Compact(slices.Sorted(slices.Values(texts(names)))), ",")
	}
	out := map[string]Property{}
	var list []string
	err := c.rows(ctx, what, 2, func(row [][]byte) error {
		name := string(row[0])
		if _, twice := out[name]; !twice {
			list = append(list, name)
		}
		out[name] = Property{Source: string(row[1])}
		return nil
	}, program, "get", "-Hp", "-o", "property,source", which, of)
	if err != nil {
		return nil, err
	}
	err = c.values(ctx, what, []string{program, "get", "-Hp", "-o", "value"}, of, list, func(name, value string) {
		out[name] = Property{Value: value, Source: out[name].Source}
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// values reads the values of properties. Each takes at least one line, so where
// there are as many lines as properties, each line is a value. Otherwise it asks
// for either half of them, until there is one left, whose value is all there is.
func (c client) values(ctx context.Context, what string, argv []string, of string, names []string, each func(name, value string)) error {
	if len(names) == 0 {
		return nil
	}
	text, err := c.output(ctx, what, append(slices.Clone(argv), strings.Join(names, ","), of)...)
	if err != nil {
		return err
	}
	all, ended := strings.CutSuffix(string(text), "\n")
	if !ended {
		return builtin.Faultf(builtin.Failed, "%s", what).Saying("it was cut off").Hinting("see the machine's log: journalctl -k")
	}
	if len(names) == 1 {
		each(names[0], all)
		return nil
	}
	lines := strings.Split(all, "\n")
	if len(lines) == len(names) {
		for i, name := range names {
			each(name, lines[i])
		}
		return nil
	}
	half := len(names) / 2
	if err := c.values(ctx, what, argv, of, names[:half], each); err != nil {
		return err
	}
	return c.values(ctx, what, argv, of, names[half:], each)
}
