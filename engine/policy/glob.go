package policy

import (
	"errors"
	"path"
	"slices"
	"strings"
)

// A glob matches one name: a guest's id, a storage, a volume, a dataset.
//
// It is one of path.Match: * is any run of characters, ? any one, [a-z] one of
// these, and none of them crosses a /, so that rpool/* are the datasets right
// below rpool. A /** at the end means what stands before it and everything
// below: rpool/data/** are rpool/data, rpool/data/vm and rpool/data/vm/disk.
// * or ** alone is everything.

// below is the end of a glob that means everything below, too.
const below = "/**"

// validGlob says what is wrong with a glob.
func validGlob(glob string) error {
	base, _ := strings.CutSuffix(glob, below)
	if glob == "**" {
		return nil
	}
	if strings.Contains(base, "**") {
		return errors.New("** stands at the end, after a /, and means everything below")
	}
	_, err := path.Match(base, "")
	return err
}

// all reports whether a glob matches whatever there is.
func all(glob string) bool { return glob == "" || glob == "*" || glob == "**" }

// matchGlob reports whether a glob matches a name. A broken glob matches none.
func matchGlob(glob, name string) bool {
	if all(glob) {
		return true
	}
	base, deep := strings.CutSuffix(glob, below)
	if validGlob(glob) != nil {
		return false
	}
	// A call that also reaches what is below a name has the name with /** (see
	// the tag deep): only a glob that reaches there, too, covers it.
	name, reaches := strings.CutSuffix(name, below)
	if reaches && !deep {
		return false
	}
	if ok, _ := path.Match(base, name); ok || !deep { // it is valid
		return ok
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return false // it is not below what it seems to be
	}
	for i := range name {
		if name[i] == '/' {
			if ok, _ := path.Match(base, name[:i]); ok { // it is valid
				return true
			}
		}
	}
	return false
}

// touches reports whether a call on a name concerns something that the glob
// matches: the name itself or, where the call reaches what is below it,
// anything there that the glob could match. It errs on the side of yes.
func touches(glob, name string) bool {
	top, reaches := strings.CutSuffix(name, below)
	if matchGlob(glob, top) || !reaches {
		return matchGlob(glob, top)
	}
	fixed := glob
	if i := strings.IndexAny(glob, `*?[\`); i >= 0 {
		fixed = glob[:i]
	}
	return strings.HasPrefix(fixed, top+"/") || strings.HasPrefix(top+"/", fixed) && fixed != glob
}

// literal reports whether a glob matches one name only, itself.
func literal(glob string) bool {
	return glob != "" && !strings.HasPrefix(glob, "$") && !strings.ContainsAny(glob, `*?[\`)
}
