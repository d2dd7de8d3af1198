package playtest

import (
	"strings"

	godiff "github.com/rogpeppe/go-internal/diff"
)

// diff is the unified line diff of two texts.
func diff(oldName, oldText, newName, newText string) string {
	end := func(s string) []byte {
		if s == "" || strings.HasSuffix(s, "\n") {
			return []byte(s)
		}
		return []byte(s + "\n")
	}
	text := string(godiff.Diff(oldName, end(oldText), newName, end(newText)))
	// Its first line is a command line that nobody ran.
	_, text, _ = strings.Cut(text, "\n")
	return text
}
