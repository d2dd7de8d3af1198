package zfs

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// The text of zpool status is that of status_callback in OpenZFS's
// cmd/zpool/zpool_main.c, whose 2.1, 2.2 and 2.3 differ in words that are not
// read here. Machines can read it from 2.3 on only (-j).

// parseStatus reads the status of one pool. A key stands at the start of a
// line, after spaces; what belongs to it goes on in lines that begin with a tab.
func parseStatus(all string) (PoolStatus, error) {
	s := PoolStatus{Scan: Scan{State: "none"}, Rebuilds: []Scan{}, Devices: []Device{}, Damaged: []string{}}
	lines := strings.Split(all, "\n")
	for i := 0; i < len(lines); {
		key, value, ok := statusKey(lines[i])
		i++
		if !ok {
			continue
		}
		if key == "errors" { // the last there is
			s.Errors, s.Damaged = damaged(value, lines[i:])
			break
		}
		from := i
		for i < len(lines) && (lines[i] == "" || lines[i][0] == '\t') {
			i++
		}
		more := lines[from:i]
		words := strings.Join(strings.Fields(value+" "+strings.Join(more, " ")), " ")
		switch key {
		case "pool":
			if s.Pool != "" {
				return s, fmt.Errorf("it is of several pools: %s and %s", s.Pool, value)
			}
			s.Pool = Pool(value)
		case "state":
			s.State = value
		case "status":
			s.Status = words
		case "action":
			s.Action = words
		case "see":
			s.See = value
		case "scan":
			scan := parseScan(value, more)
			scan.Text = words
			if scan.Device != "" {
				s.Rebuilds = append(s.Rebuilds, scan)
			} else {
				s.Scan = scan
			}
		case "remove":
			s.Removal = words
		case "checkpoint":
			s.Checkpoint = words
		case "expand":
			s.Expansion = words
		case "config":
			var err error
			if s.Devices, err = parseDevices(more); err != nil {
				return s, err
			}
		}
	}
	if s.Pool == "" || s.State == "" {
		return s, fmt.Errorf("it has no pool or no state: %s", quoted([]byte(all)))
	}
	return s, nil
}

var statusKeys = []string{"pool", "state", "status", "action", "see", "scan", "scan warning", "remove", "checkpoint", "expand", "config", "errors", "comment", "dedup"}

func statusKey(line string) (key, value string, ok bool) {
	if strings.HasPrefix(line, "\t") {
		return "", "", false
	}
	key, value, ok = strings.Cut(strings.TrimLeft(line, " "), ":")
	return key, strings.TrimPrefix(value, " "), ok && slices.Contains(statusKeys, key)
}

// damaged reads the list below errors:, whose lines have eight spaces before
// what is damaged. A line without them goes on with a name that has a line
// break in it.
func damaged(value string, lines []string) (string, []string) {
	out := []string{}
	for len(lines) > 0 && lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for _, line := range lines {
		name, isName := strings.CutPrefix(line, "        ")
		switch {
		case isName:
			out = append(out, name)
		case len(out) > 0:
			out[len(out)-1] += "\n" + line
		}
	}
	return value, out
}

// parseDevices reads the table below config:. Names may have spaces; the head
// of the table says where they end.
func parseDevices(lines []string) ([]Device, error) {
	out := []Device{}
	column, role := -1, "data"
	for _, line := range lines {
		line = strings.TrimPrefix(line, "\t")
		trimmed := strings.TrimSpace(line)
		switch {
		case trimmed == "":
		case column < 0:
			if column = strings.Index(line, "  STATE"); column < 0 || !strings.HasPrefix(line, "NAME") {
				return nil, fmt.Errorf("its configuration has no table: %s", quoted([]byte(line)))
			}
		case slices.Contains([]string{"special", "dedup", "logs", "cache", "spares"}, trimmed):
			role = trimmed
		default:
			d, err := parseDevice(line, column)
			if err != nil {
				return nil, err
			}
			d.Role = role
			out = append(out, d)
		}
	}
	return out, nil
}

func parseDevice(line string, column int) (Device, error) {
	spaces := len(line) - len(strings.TrimLeft(line, " "))
	name, rest, ok := strings.Cut(line[spaces:], "  ")
	if len(line) > column && column > spaces && strings.HasPrefix(line[column:], "  ") {
		name, rest, ok = strings.TrimRight(line[spaces:column], " "), line[column:], true
	}
	d := Device{Name: name, Depth: int64(spaces / 2)}
	d.State, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	if !ok || d.State == "" {
		return d, fmt.Errorf("the device %s has no state", quoted([]byte(line)))
	}
	for _, n := range []*int64{&d.Read, &d.Write, &d.Checksum} {
		word, after, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
		if n == &d.Read && (word == "" || strings.Trim(word, "0123456789") != "") {
			break // a spare has no counts
		}
		count, err := strconv.ParseInt(word, 10, 64)
		if err != nil {
			return d, fmt.Errorf("the device %s: %q is no count of errors", name, word)
		}
		*n, rest = count, after
	}
	d.Note = strings.TrimSpace(rest)
	return d, nil
}

const (
	scanDate = `(\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4})`
	scanTook = `(?:(\d+) days )?(\d+):(\d\d):(\d\d)`
)

var (
	scanGoing    = pattern.Of(`^(scrub|resilver|error scrub)(?: \((.+)\))? (in progress since|paused since|canceled on) ` + scanDate + `$`)
	scanFinished = pattern.Of(`^(scrub repaired|resilvered)(?: \((.+)\))? (\S+) in ` + scanTook + ` with (\d+) errors on ` + scanDate + `$`)
	scanBlocks   = pattern.Of(`^scrubbed \d+ error blocks in ` + scanTook + ` on ` + scanDate + `$`)
	scanStarted  = pattern.Of(`^(?:error )?scrub started on ` + scanDate + `$`)
	scanDone     = pattern.Of(`^(?:(\S+) (?:repaired|resilvered), )?(\d+\.\d+)% done(?:, ` + scanTook + ` to go)?`)
)

// parseScan reads print_scan_scrub_resilver_status, print_err_scrub_status and
// print_rebuild_status_impl.
func parseScan(first string, more []string) Scan {
	s := Scan{State: "unknown"}
	switch {
	case first == "none requested":
		s.State = "none"
	case scanGoing().MatchString(first):
		m := scanGoing().FindStringSubmatch(first)
		s.Kind, s.Device = m[1], m[2]
		switch m[3] {
		case "in progress since":
			s.State, s.Began = "scanning", scanTime(m[4])
		case "paused since":
			s.State, s.Ended = "paused", scanTime(m[4])
		default:
			s.State, s.Ended = "canceled", scanTime(m[4])
		}
	case scanFinished().MatchString(first):
		m := scanFinished().FindStringSubmatch(first)
		s.Kind, s.Device, s.Repaired = "scrub", m[2], shownBytes(m[3])
		if m[1] == "resilvered" {
			s.Kind = "resilver"
		}
		s.finished(m[4:8], m[9])
		s.Errors, _ = strconv.ParseInt(m[8], 10, 64) // digits, by the expression
	case scanBlocks().MatchString(first):
		m := scanBlocks().FindStringSubmatch(first)
		s.Kind = "error scrub"
		s.finished(m[1:5], m[5])
	}
	for _, line := range more {
		line = strings.TrimSpace(line)
		if m := scanStarted().FindStringSubmatch(line); m != nil {
			s.Began = scanTime(m[1])
		}
		if m := scanDone().FindStringSubmatch(line); m != nil {
			s.Repaired, s.Left = shownBytes(m[1]), builtin.Duration(scanSpan(m[3:7]))
			s.Percent, _ = strconv.ParseFloat(m[2], 64)
		}
	}
	return s
}

func (s *Scan) finished(took []string, at string) {
	s.State, s.Percent, s.Ended = "finished", 100, scanTime(at)
	if !s.Ended.IsZero() {
		s.Began = s.Ended.Add(-scanSpan(took))
	}
}

// scanTime is of ctime(3), which the runner has in UTC; the zero time for no date.
func scanTime(text string) time.Time {
	t, err := time.Parse("Mon Jan _2 15:04:05 2006", text)
	if err != nil {
		return time.Time{}
	}
	return t.UTC()
}

// scanSpan is of days, hours, minutes and seconds.
func scanSpan(parts []string) time.Duration {
	var seconds int64
	for i, unit := range []int64{24 * 3600, 3600, 60, 1} {
		n, err := strconv.ParseInt(parts[i], 10, 64)
		if parts[i] != "" && (err != nil || n > 1e6) {
			return 0 // no scan takes that long
		}
		seconds += n * unit
	}
	return time.Duration(seconds) * time.Second
}

// shownBytes is of zfs_nicebytes: 0B, 1.50M, 12K.
func shownBytes(text string) int64 {
	digits := strings.TrimRight(text, "BKMGTPEZ")
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || math.IsNaN(n) || n < 0 {
		return 0
	}
	if unit := text[len(digits):]; unit != "" && unit != "B" {
		n *= math.Pow(1024, float64(1+strings.IndexByte("KMGTPEZ", unit[0])))
	}
	if n >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(n)
}
