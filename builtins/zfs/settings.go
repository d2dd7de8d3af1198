package zfs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// Setting is the value that a property is to have.
type Setting string

// Describe names the type and its grammar.
func (Setting) Describe() (string, string) {
	return "ZFS setting", "text without control characters, or a number; on and off are words"
}

// maxSetting is ZFS_MAXPROPLEN without its NUL.
const maxSetting = 8191

// UnmarshalText takes what a list can show again, each value in a line.
func (s *Setting) UnmarshalText(text []byte) error {
	if len(text) > maxSetting {
		return fmt.Errorf("the setting has %d bytes, and ZFS takes %d", len(text), maxSetting)
	}
	if i := slices.IndexFunc(text, func(c byte) bool { return c < ' ' || c == 0x7f }); i >= 0 {
		return fmt.Errorf("the setting %.200q has the control character %q", text, text[i])
	}
	*s = Setting(text)
	return nil
}

var sizeGrammar = pattern.Of(`^[0-9]+[KMGTPEkmgtpe]?[Bb]?$`)

// bytes is a size that is written as ZFS takes it (zfs_nicestrtonum): 10G, 512;
// none is 0. ok is false for what is no such size, and for fractions.
func (s Setting) bytes() (n int64, ok bool) {
	if s == "none" {
		return 0, true
	}
	if !sizeGrammar().MatchString(string(s)) {
		return 0, false
	}
	var b builtin.Bytes
	digits := strings.TrimRight(strings.ToUpper(string(s)), "B")
	if unit := strings.TrimLeft(digits, "0123456789"); unit == "E" {
		return 0, false
	}
	return int64(b), b.UnmarshalText([]byte(digits)) == nil
}

// checkSettings refuses what cannot be, or must not be: a mark of nixmox that
// somebody else wrote would have it destroy what is not its own.
func checkSettings(what string, settings map[string]Setting) error {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		var n PropertyName
		if err := n.UnmarshalText([]byte(name)); err != nil {
			return builtin.Faultf(builtin.Invalid, "%s", what).Because(err).Hinting("the properties are those of zfsprops(7); one's own have a colon in their names")
		}
		if err := notAMark(what, n); err != nil {
			return err
		}
	}
	return nil
}

func notAMark(what string, n PropertyName) error {
	if !strings.HasPrefix(string(n), "nixmox:") {
		return nil
	}
	return builtin.Faultf(builtin.Invalid, "%s", what).Saying(string(n) + " is the mark by which nixmox knows what it made").Hinting("take a name with another word before the colon")
}

// settingArguments are name=value, each one argument, sorted by name.
func settingArguments(option string, settings map[string]Setting) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		if option != "" {
			out = append(out, option)
		}
		out = append(out, name+"="+string(settings[name]))
	}
	return out
}

// SetArgs are the arguments of set.
type SetArgs struct {
	Dataset    Dataset            `name:"dataset" scope:"dataset" doc:"the file system or volume"`
	Properties map[string]Setting `name:"properties" default:"" rest:"" doc:"their values, as arguments of their own names too: compression = \"lz4\", quota = \"50G\""`
}

func (a SetArgs) what() string {
	return "setting " + some(slices.Sorted(maps.Keys(a.Properties))) + " of " + string(a.Dataset)
}

func (a SetArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// SetResult is what set left.
type SetResult struct {
	Dataset    Dataset             `name:"dataset" doc:"the file system or volume"`
	Properties map[string]Property `name:"properties" doc:"what was set, as it was read back"`
}

// checkSet looks at what is to be set, and at how it stands now.
func (c client) checkSet(ctx context.Context, a SetArgs) error {
	if len(a.Properties) == 0 {
		return builtin.Faultf(builtin.Invalid, "setting properties of %s: none is named", a.Dataset).Hinting("zfs.set(\"rpool/data\", compression = \"lz4\"), say")
	}
	if err := checkSettings(a.what(), a.Properties); err != nil {
		return err
	}
	now, err := c.properties(ctx, PropertiesArgs{Target: Target(a.Dataset), Names: a.names()})
	if err != nil {
		return err
	}
	// ZFS cuts a volume short without a word, and what stood there is gone.
	if size, isSize := a.Properties["volsize"].bytes(); isSize {
		if before, err := readInt([]byte(now["volsize"].Value), "volsize"); err != nil || size < before {
			return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(fmt.Sprintf("it has %d bytes, and a smaller size would destroy what stands at its end", before)).
				Hinting("make a smaller volume and copy what is to stay; or by hand: zfs set volsize=…")
		}
	} else if _, asked := a.Properties["volsize"]; asked {
		return builtin.Faultf(builtin.Invalid, "%s", a.what()).Saying(string(a.Properties["volsize"]) + " is no size").Hinting("give bytes, or a whole number with K, M, G or T")
	}
	return nil
}

func (a SetArgs) names() []PropertyName {
	var out []PropertyName
	for name := range a.Properties {
		out = append(out, PropertyName(name))
	}
	return out
}

// previewSet: ZFS has no dry run of it. Sizes come out in bytes, other words as
// they go in, with few exceptions.
func (c client) previewSet(ctx context.Context, a SetArgs) (SetResult, error) {
	if err := c.checkSet(ctx, a); err != nil {
		return SetResult{}, err
	}
	out := SetResult{Dataset: a.Dataset, Properties: map[string]Property{}}
	for name, value := range a.Properties {
		if n, isSize := value.bytes(); isSize && !PropertyName(name).own() && value != "none" {
			value = Setting(fmt.Sprint(n))
		}
		out.Properties[name] = Property{Value: string(value), Source: "local"}
		if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
			planned.Add(plannedPropertyChanges, propertyChange{dataset: a.Dataset, name: name, to: value})
		}
	}
	planDatasets(ctx, func(list []DatasetInfo) []DatasetInfo {
		for i := range list {
			if list[i].Name == a.Dataset {
				list[i].with(a.Properties)
			}
		}
		return list
	})
	return out, nil
}

func (c client) set(ctx context.Context, a SetArgs) (SetResult, error) {
	if err := c.checkSet(ctx, a); err != nil {
		return SetResult{}, err
	}
	argv := append([]string{"zfs", "set"}, settingArguments("", a.Properties)...)
	if _, err := c.output(ctx, a.what(), append(argv, string(a.Dataset))...); err != nil {
		return SetResult{}, err
	}
	out, differs, err := c.readSet(ctx, a)
	if err == nil && differs != "" {
		f := builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done, and " + differs).Hinting("does something else set it? zpool history -i says what was done")
		f.Partial, err = out, f
	}
	return out, err
}

// readSet reads back what was set. What ZFS writes in words of its own (on for
// what it then names) cannot be compared; sizes and one's own properties can.
func (c client) readSet(ctx context.Context, a SetArgs) (out SetResult, differs string, err error) {
	now, err := c.getProperties(ctx, "zfs", string(a.Dataset), a.names())
	if err != nil {
		return SetResult{}, "", err
	}
	for _, name := range slices.Sorted(maps.Keys(a.Properties)) {
		want, have := a.Properties[name], now[name]
		n, isSize := want.bytes()
		same := string(want) == have.Value
		if m, isNumber := Setting(have.Value).bytes(); isSize && isNumber && !PropertyName(name).own() {
			same = n == m
		} else if !PropertyName(name).own() {
			same = true
		}
		if !same && differs == "" {
			differs = fmt.Sprintf("%s is %q", name, have.Value)
		}
	}
	return SetResult{Dataset: a.Dataset, Properties: now}, differs, nil
}

// settleSet: what is set already need not be set again, and to set it again
// does no harm.
func (c client) settleSet(ctx context.Context, a SetArgs, _ string) (builtin.Settlement[SetResult], error) {
	out, _, err := c.readSet(ctx, a)
	if err != nil {
		return builtin.Settlement[SetResult]{}, err
	}
	for name, want := range a.Properties {
		if string(want) != out.Properties[name].Value {
			return builtin.Settlement[SetResult]{State: builtin.NotDone}, nil
		}
	}
	return builtin.Settlement[SetResult]{State: builtin.Done, Result: out}, nil
}

// InheritArgs are the arguments of inherit.
type InheritArgs struct {
	Dataset   Dataset      `name:"dataset" scope:"dataset" doc:"the file system or volume"`
	Property  PropertyName `name:"property" doc:"which is to be as above it again, or as by default"`
	Recursive bool         `name:"recursive" default:"false" deep:"true" doc:"and that of all below it"`
}

func (a InheritArgs) what() string {
	return fmt.Sprintf("inheriting %s of %s", a.Property, a.Dataset)
}

func (a InheritArgs) keys() []string { return poolKeys([]Dataset{a.Dataset}) }

// InheritResult is what inherit did.
type InheritResult struct {
	Dataset  Dataset      `name:"dataset" doc:"the file system or volume"`
	Property PropertyName `name:"property" doc:"the property"`
	Changed  []Dataset    `name:"changed" doc:"those that had a value of their own, and have it no more"`
}

// ownValue lists the datasets that have a value of their own for the property.
func (c client) ownValue(ctx context.Context, a InheritArgs) ([]Dataset, error) {
	real, err := c.realName(ctx, a.Dataset)
	if err != nil || real == "" {
		return []Dataset{}, err
	}
	argv := []string{"zfs", "get", "-Hp", "-s", "local,received", "-t", "filesystem,volume", "-o", "name"}
	if a.Recursive {
		argv = append(argv, "-r")
	}
	out := []Dataset{}
	err = c.rows(ctx, a.what(), 1, func(row [][]byte) error {
		out = append(out, a.Dataset+Dataset(row[0][len(real):]))
		return nil
	}, append(argv, string(a.Property), string(real))...)
	return out, err
}

func (c client) previewInherit(ctx context.Context, a InheritArgs) (InheritResult, error) {
	if err := notAMark(a.what(), a.Property); err != nil {
		return InheritResult{}, err
	}
	own, err := c.ownValue(ctx, a)
	if err != nil {
		return InheritResult{}, err
	}
	if planned := builtin.CallFrom(ctx).Run.Planned; planned != nil {
		for _, d := range own {
			planned.Add(plannedPropertyChanges, propertyChange{dataset: d, name: string(a.Property), inherit: true})
		}
	}
	return InheritResult{a.Dataset, a.Property, own}, nil
}

func (c client) inherit(ctx context.Context, a InheritArgs) (InheritResult, error) {
	if err := notAMark(a.what(), a.Property); err != nil {
		return InheritResult{}, err
	}
	own, err := c.ownValue(ctx, a)
	if err != nil {
		return InheritResult{}, err
	}
	if err := builtin.Hold(ctx, strings.Join(texts(own), "\n")); err != nil {
		return InheritResult{}, err
	}
	argv := []string{"zfs", "inherit"}
	if a.Recursive {
		argv = append(argv, "-r")
	}
	if _, err := c.output(ctx, a.what(), append(argv, string(a.Property), string(a.Dataset))...); err != nil {
		return InheritResult{}, err
	}
	left, err := c.ownValue(ctx, a)
	if err != nil {
		return InheritResult{}, err
	}
	if len(left) > 0 {
		return InheritResult{}, builtin.Faultf(builtin.Failed, "%s", a.what()).Saying("ZFS said that it was done, and" + of(left) + " there is a value still").
			Hinting("does something else set it? zpool history -i says what was done")
	}
	return InheritResult{a.Dataset, a.Property, own}, nil
}

// settleInherit: the handle says which had values of their own. Who has none
// has nothing to lose by doing it again.
func (c client) settleInherit(ctx context.Context, a InheritArgs, handle string) (builtin.Settlement[InheritResult], error) {
	left, err := c.ownValue(ctx, a)
	if err != nil {
		return builtin.Settlement[InheritResult]{}, err
	}
	if len(left) > 0 || handle == "" {
		return builtin.Settlement[InheritResult]{State: builtin.NotDone}, nil
	}
	out := InheritResult{a.Dataset, a.Property, []Dataset{}}
	for name := range strings.SplitSeq(handle, "\n") {
		out.Changed = append(out.Changed, Dataset(name))
	}
	return builtin.Settlement[InheritResult]{State: builtin.Done, Result: out}, nil
}
