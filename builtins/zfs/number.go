package zfs

import (
	"fmt"
	"strconv"
	"time"

	"nixmox/engine/builtin"
)

// With -p the commands write exact numbers, and - for what a thing does not
// have. A number that cannot be read is an error: 0 would be a lie.

func readInt(column []byte, of string) (int64, error) {
	if len(column) == 1 && column[0] == '-' {
		return 0, nil
	}
	n, err := strconv.ParseInt(string(column), 10, 64)
	if err != nil {
		return 0, builtin.Faultf(builtin.Invalid, "reading a list of ZFS").Saying(fmt.Sprintf("%q is no number (%s)", column, of)).
			Hinting("nixmox follows OpenZFS 2.1 to 2.3; zfs version says which this is")
	}
	return n, nil
}

func readTxg(column []byte) (uint64, error) {
	n, err := strconv.ParseUint(string(column), 10, 64)
	if err != nil {
		return 0, builtin.Faultf(builtin.Invalid, "reading a list of ZFS").Saying(fmt.Sprintf("%q is no transaction", column)).
			Hinting("nixmox follows OpenZFS 2.1 to 2.3; zfs version says which this is")
	}
	return n, nil
}

// readTime is of seconds since 1970; the zero time for none.
func readTime(column []byte, of string) (time.Time, error) {
	n, err := readInt(column, of)
	if err != nil || n == 0 {
		return time.Time{}, err
	}
	return time.Unix(n, 0).UTC(), nil
}

// text is a column, or "" for the - of what a thing does not have.
func text(column []byte) string {
	if len(column) == 1 && column[0] == '-' {
		return ""
	}
	return string(column)
}
