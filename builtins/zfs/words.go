package zfs

import (
	"fmt"
	"strconv"
	"strings"
)

func number(n int) string { return strconv.Itoa(n) }

// texts are names as arguments.
func texts[T ~string](names []T) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	return out
}

// of says in a message of what: " of a, b and 3 more"; "" for no names.
func of[T ~string](names []T) string {
	const few = 4
	switch {
	case len(names) == 0:
		return ""
	case len(names) <= few:
		return " of " + strings.Join(texts(names), ", ")
	}
	return " of " + strings.Join(texts(names[:few]), ", ") + fmt.Sprintf(" and %d more", len(names)-few)
}

// compareNames orders datasets as a tree: what is below one comes right after it.
func compareNames(a, b Dataset) int {
	return strings.Compare(strings.ReplaceAll(string(a), "/", "\x00"), strings.ReplaceAll(string(b), "/", "\x00"))
}
