package retention

import "fmt"

// keepNewestVerified keeps the newest candidate that is marked verified. The rules may have passed it over for younger ones that
// nobody has read; if those turn out bad, this is the last good copy.
//
// A protected one that is verified and newer does not make it superfluous: whoever protected that one may also remove it.
func keepNewestVerified(candidates []*entry) {
	for _, c := range candidates {
		if !c.item.Verified {
			continue
		}
		if !c.keep {
			c.keep, c.reason = true, "newest verified"
		}
		return
	}
}

// keepMinimum adds the newest of what would go until so many stay. The newest of all needs no guard of its own: the first rule
// with a count has kept it already.
func keepMinimum(candidates []*entry, minimum int) {
	kept := 0
	for _, c := range candidates {
		if c.keep {
			kept++
		}
	}
	for _, c := range candidates {
		if kept >= minimum {
			return
		}
		if !c.keep {
			kept++
			c.keep, c.reason = true, fmt.Sprintf("minimum, %d of %d", kept, minimum)
		}
	}
}
