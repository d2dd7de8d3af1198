package zfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// readLinks reads (+1).
func readLinks(column string) (int64, error) {
	inner, ok := strings.CutPrefix(column, "(")
	inner, closed := strings.CutSuffix(inner, ")")
	n, err := strconv.ParseInt(inner, 10, 32)
	if !ok || !closed || err != nil || inner[0] != '+' && inner[0] != '-' {
		return 0, fmt.Errorf("%q is no number of links", column)
	}
	return n, nil
}

// readStamp reads seconds since 1970 and nine digits of a fraction.
func readStamp(column string) (time.Time, error) {
	seconds, fraction, ok := strings.Cut(column, ".")
	s, err := strconv.ParseUint(seconds, 10, 40) // until the year 36812
	n, err2 := strconv.ParseUint(fraction, 10, 32)
	if !ok || err != nil || err2 != nil || len(fraction) != 9 {
		return time.Time{}, fmt.Errorf("%q is no time", column)
	}
	return time.Unix(int64(s), int64(n)).UTC(), nil
}

// unescape makes of paths as zfs diff writes them (stream_bytes of libzfs) what
// they are, if that is text.
func (ch *Change) unescape() error {
	path, err := unescapePath(ch.Path)
	if err != nil {
		return err
	}
	moved, err := unescapePath(ch.NewPath)
	if err != nil {
		return err
	}
	if !utf8.ValidString(path) || !utf8.ValidString(moved) {
		// The signs are ASCII; where a later OpenZFS leaves other bytes as they
		// are (zfs diff -h), they are escaped here.
		ch.Path, ch.NewPath, ch.Escaped = escapePath(path), escapePath(moved), true
		return nil
	}
	ch.Path, ch.NewPath = path, moved
	return nil
}

func unescapePath(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !found {
			return b.String(), nil
		}
		if len(rest) < 4 {
			return "", fmt.Errorf("the path ends within an escape")
		}
		c, err := strconv.ParseUint(rest[:4], 8, 8)
		if err != nil {
			return "", fmt.Errorf("%q is no escape", `\`+rest[:4])
		}
		b.WriteByte(byte(c))
		s = rest[4:]
	}
}

// escapePath writes a path as zfs diff does.
func escapePath(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c > ' ' && c != '\\' && c < 0x7f {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, `\%04o`, c)
		}
	}
	return b.String()
}
