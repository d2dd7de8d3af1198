package zfs

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// nice is a number in at most five characters, as zfs shows sizes and counts.
func nice(n uint64, bytes bool) string {
	index, v := 0, n
	for v >= 1024 {
		v /= 1024
		index++
	}
	unit := ""
	if index > 0 {
		unit = "KMGTPE"[index-1 : index]
	} else if bytes {
		unit = "B"
	}
	if index == 0 || n%(1<<(10*index)) == 0 {
		return strconv.FormatUint(v, 10) + unit
	}
	value := float64(n) / float64(uint64(1)<<(10*index))
	for digits := 2; ; digits-- {
		s := strconv.FormatFloat(value, 'f', digits, 64) + unit
		if len(s) <= 5 || digits == 0 {
			return s
		}
	}
}

// size is a size in bytes, exact or in at most five characters.
func size(n int64, exact bool) string {
	if n < 0 {
		n = 0
	}
	if exact {
		return strconv.FormatInt(n, 10)
	}
	return nice(uint64(n), true)
}

// parseNumber reads a number with an optional unit: 10G, 1.5T, 512b, 16KiB. An
// error is zfs's word for it.
func parseNumber(s string) (uint64, error) {
	digits := strings.TrimLeft(s, "0123456789.")
	number, unit := s[:len(s)-len(digits)], digits
	if number == "" || strings.Count(number, ".") > 1 || number[0] == '.' {
		return 0, fmt.Errorf("bad numeric value '%s'", s)
	}
	shift := 0
	if u := strings.ToUpper(unit); u != "" {
		shift = 10 * strings.IndexByte("BKMGTPEZ", u[0])
		rest := u[1:]
		if shift < 0 || (rest != "" && rest != "B" && rest != "IB") || (u[0] == 'B' && rest != "") {
			return 0, fmt.Errorf("invalid numeric suffix '%s'", unit)
		}
	}
	if strings.Contains(number, ".") {
		f, err := strconv.ParseFloat(number, 64)
		f *= math.Pow(2, float64(shift))
		if err != nil || f >= math.MaxUint64 {
			return 0, fmt.Errorf("numeric value is too large")
		}
		return uint64(f), nil
	}
	n, err := strconv.ParseUint(number, 10, 64)
	if err != nil || shift >= 64 || n > math.MaxUint64>>shift {
		return 0, fmt.Errorf("numeric value is too large")
	}
	return n << shift, nil
}

// date is a moment as lists show it to people.
func date(unix int64) string {
	t := time.Unix(unix, 0).UTC()
	return t.Format("Mon Jan _2 ") + fmt.Sprintf("%2d", t.Hour()) + t.Format(":04 2006")
}
