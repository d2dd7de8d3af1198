// Package pattern makes regular expressions that are compiled when they are
// first needed: the built-ins have some hundred of them, each process of
// nixmox starts with all, and a run needs few. It must not know what they are
// for.
package pattern

import (
	"regexp"
	"sync"
)

// Of gives the expression of a text, compiled at its first use, which panics
// if it is none.
func Of(text string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(text) })
}
