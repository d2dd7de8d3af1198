package zfs

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"nixmox/engine/builtin"
)

// short says of a status what the tests look at, in a line.
func short(s PoolStatus) string {
	scan := func(s Scan) string {
		out := s.Kind + " " + s.State
		for _, part := range []struct {
			name  string
			value any
			is    bool
		}{
			{"device", s.Device, s.Device != ""}, {"began", s.Began.Format(time.DateTime), !s.Began.IsZero()}, {"ended", s.Ended.Format(time.DateTime), !s.Ended.IsZero()},
			{"errors", s.Errors, s.Errors > 0}, {"repaired", s.Repaired, s.Repaired > 0}, {"percent", s.Percent, s.Percent > 0}, {"left", s.Left, s.Left > 0},
		} {
			if part.is {
				out += fmt.Sprintf(" %s=%v", part.name, part.value)
			}
		}
		return out
	}
	out := fmt.Sprintf("%s %s [%s]", s.Pool, s.State, scan(s.Scan))
	for _, r := range s.Rebuilds {
		out += fmt.Sprintf(" rebuild [%s]", scan(r))
	}
	for _, d := range s.Devices {
		out += fmt.Sprintf("\n%s%s %s %s %d/%d/%d", strings.Repeat(".", int(d.Depth)), d.Role, d.Name, d.State, d.Read, d.Write, d.Checksum)
		if d.Note != "" {
			out += " (" + d.Note + ")"
		}
	}
	out += "\n" + s.Errors
	for _, d := range s.Damaged {
		out += fmt.Sprintf("\n%q", d)
	}
	return out
}

func readStatus(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "status", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseStatus(t *testing.T) {
	mirror := func(states ...string) string {
		return "\ndata mir " + states[0] + "\n.data mirror-0 " + states[1] + "\n..data /v/m1 " + states[2] + "\n..data /v/m2 " + states[3] + "\n"
	}
	fine := mirror("ONLINE 0/0/0", "ONLINE 0/0/0", "ONLINE 0/0/0", "ONLINE 0/0/0") + "No known data errors"
	tests := []struct{ name, want string }{
		{"2.3.9-never-scrubbed", "mir ONLINE [ none]" + fine},
		{"2.3.9-scrubbing", "mir ONLINE [scrub scanning began=2026-11-24 03:25:36 percent=16.05 left=5s]" + fine},
		{"2.3.9-paused", "mir ONLINE [scrub paused began=2026-11-24 03:25:19 ended=2026-11-24 03:25:24]" + fine},
		{"2.3.9-canceled", "mir ONLINE [scrub canceled ended=2026-11-24 03:25:30]" + fine},
		{"2.3.9-offline", "mir DEGRADED [scrub finished began=2026-11-24 03:25:41 ended=2026-11-24 03:25:43 percent=100]" +
			mirror("DEGRADED 0/0/0", "DEGRADED 0/0/0", "ONLINE 0/0/0", "OFFLINE 0/0/0") + "No known data errors"},
		{"2.3.9-repaired", "mir ONLINE [scrub finished began=2026-11-24 03:26:12 ended=2026-11-24 03:26:16 repaired=142606336 percent=100]" +
			mirror("ONLINE 0/0/0", "ONLINE 0/0/0", "ONLINE 0/0/0", "ONLINE 0/0/1177") + "No known data errors"},
		{"2.3.9-damaged", "mir ONLINE [scrub finished began=2026-11-24 03:26:30 ended=2026-11-24 03:26:33 errors=124 repaired=199680 percent=100]" +
			mirror("ONLINE 0/0/0", "ONLINE 0/0/0", "ONLINE 0/0/329", "ONLINE 0/0/329") +
			"Permanent errors have been detected in the following files:\n\"/mir/a/f\"\n\"mir/a@s:/f\""},
		{"2.3.9-missing", "mir DEGRADED [ none]\ndata mir DEGRADED 0/0/0\n.data mirror-0 DEGRADED 0/0/0\n..data /v/n1 ONLINE 0/0/0\n" +
			"..data 9508622429128787082 UNAVAIL 0/0/0 (was /v/n2)\nNo known data errors"},
		{"2.3.9-replaced", "mir DEGRADED [resilver finished began=2026-11-24 03:26:56 ended=2026-11-24 03:26:57 repaired=223232 percent=100]\n" +
			"data mir DEGRADED 0/0/0\n.data mirror-0 DEGRADED 0/0/0\n..data /v/n1 ONLINE 0/0/0\n..data replacing-1 DEGRADED 0/0/0\n" +
			"...data 9508622429128787082 UNAVAIL 0/0/0 (was /v/n2)\n...data /v/n3 ONLINE 0/0/0\nNo known data errors"},
		{"2.3.9-removed", "mir ONLINE [resilver finished began=2026-11-24 03:27:02 ended=2026-11-24 03:27:03 repaired=273408 percent=100]\n" +
			"data mir ONLINE 0/0/0\n.data mirror-0 ONLINE 0/0/0\n..data /v/n1 ONLINE 0/0/0\n..data /v/n3 ONLINE 0/0/0\nNo known data errors"},
		{"2.3.9-resilvering", "mir ONLINE [resilver scanning began=2026-11-24 03:27:34]" + fine},
		{"written-suspended", "tank SUSPENDED [error scrub scanning began=2026-11-24 03:25:36 percent=33.33]\n" +
			"data tank UNAVAIL 0/0/0 (insufficient replicas)\n.data /dev/sdb REMOVED 0/0/0\n"},
		{"written-all", "tank DEGRADED [scrub finished began=2026-10-29 21:57:58 ended=2026-11-01 01:02:03 errors=7 repaired=1572864 percent=100] " +
			"rebuild [resilver finished device=draid1:2d:6c:1s-0 began=2026-11-02 00:52:03 ended=2026-11-02 01:02:03 repaired=21689584844 percent=100]\n" +
			"data tank DEGRADED 0/0/0\n.data draid1:2d:6c:1s-0 DEGRADED 0/0/0\n..data /dev/disk/by-id/a b FAULTED 8/126/0 (too many errors)\n" +
			"..data spare-1 ONLINE 0/0/0\n...data /dev/sdb ONLINE 0/0/0 ((resilvering))\n...data draid1-0-0 ONLINE 0/0/0\n" +
			".dedup mirror-1 ONLINE 0/0/0\n.special /dev/sde ONLINE 0/0/0 (block size: 512B configured, 4096B native)\n.logs /dev/sdf ONLINE 0/0/0\n" +
			".cache /dev/sdg ONLINE 0/0/0\n.spares draid1-0-0 INUSE 0/0/0 (currently in use)\n.spares /dev/sdh AVAIL 0/0/0\n" +
			"Permanent errors have been detected in the following files:\n\"<metadata>:<0x3c>\"\n\"tank/vm-100-disk-0:<0x1>\"\n" +
			"\"/srv/a file\\nwith a line break\"\n\"tank/data@auto:/  spaces\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := parseStatus(readStatus(t, tt.name))
			if err != nil {
				t.Fatal(err)
			}
			if got := short(s); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestParseStatusWords(t *testing.T) {
	s, err := parseStatus(readStatus(t, "written-all"))
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		s.Status:           "One or more devices are faulted in response to persistent errors. Sufficient replicas exist for the pool to continue functioning in a degraded state.",
		s.Action:           "Replace the faulted device, or use 'zpool clear' to mark the device repaired.",
		s.Checkpoint:       "created Tue Nov 3 01:02:03 2026, consumes 1.20G",
		s.Expansion:        "expanded raidz1-0-0 copied 1.02M in 00:00:01, on Tue Nov 3 01:02:03 2026",
		s.Rebuilds[0].Text: "resilvered (draid1:2d:6c:1s-0) 20.2G in 00:10:00 with 0 errors on Mon Nov 2 01:02:03 2026",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if s, err = parseStatus(readStatus(t, "2.3.9-removed")); err != nil || s.Removal != "Removal of vdev 1 copied 0 in 0h0m, completed on Tue Nov 24 03:27:10 2026" {
		t.Errorf("%q, %v", s.Removal, err)
	}
	if s, err = parseStatus(readStatus(t, "2.3.9-damaged")); err != nil || s.See != "https://openzfs.github.io/openzfs-docs/msg/ZFS-8000-8A" {
		t.Errorf("%q, %v", s.See, err)
	}
}

func TestParseScan(t *testing.T) {
	tests := []struct {
		lines []string
		want  string
	}{
		{[]string{"none requested"}, " none"},
		{[]string{"scrub repaired 0B in 00:00:01 with 0 errors on Mon Nov  2 01:02:03 2026"}, "scrub finished"},
		{[]string{"scrubbed 3 error blocks in 0 days 00:00:07 on Mon Nov  2 01:02:03 2026"}, "error scrub finished"},
		{[]string{"error scrub paused since Mon Nov  2 01:02:03 2026", "\terror scrub started on Mon Nov  2 01:02:00 2026", "\t33.33% done, issued I/O for 4 error blocks"}, "error scrub paused"},
		{[]string{"resilver (mirror-0) canceled on Mon Nov  2 01:02:03 2026"}, "resilver canceled"},
		{[]string{"resilver (a (b) c) in progress since Mon Nov  2 01:02:03 2026"}, "resilver scanning"},
		{[]string{"something that a later version says"}, " unknown"},
		{[]string{"scrub in progress since some other clock"}, " unknown"},
	}
	for _, tt := range tests {
		if s := parseScan(tt.lines[0], tt.lines[1:]); s.Kind+" "+s.State != tt.want {
			t.Errorf("%q is %q, want %q", tt.lines, s.Kind+" "+s.State, tt.want)
		}
	}
	if s := parseScan("resilver (a (b) c) in progress since Mon Nov  2 01:02:03 2026", []string{"\t1.2G / 3G scanned, 1G / 3G issued at 40M/s", "\t1.50K resilvered, 33.3% done, 1 days 00:00:10 to go"}); s.Device != "a (b) c" ||
		s.Repaired != 1536 || s.Percent != 33.3 || s.Left != builtin.Duration(24*time.Hour+10*time.Second) {
		t.Errorf("%+v", s)
	}
	if s := parseScan("scrub paused since Mon Nov  2 01:02:03 2026", []string{"\tscrub started on Sun Nov  1 01:02:03 2026"}); !s.Began.Equal(time.Date(2026, 11, 1, 1, 2, 3, 0, time.UTC)) {
		t.Errorf("%+v", s)
	}
}

func TestShownBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0B": 0, "1023B": 1023, "1K": 1024, "1.50M": 3 << 19, "20.2G": 21689584844, "16E": 1<<63 - 1, "": 0, "-": 0, "-1K": 0, "NaN": 0, "K": 0, "1KK": 1024, "7": 7,
	} {
		if got := shownBytes(text); got != want {
			t.Errorf("%q is %d, want %d", text, got, want)
		}
	}
}

func TestParseStatusRefuses(t *testing.T) {
	table := "  pool: tank\n state: ONLINE\nconfig:\n\n\tNAME        STATE     READ WRITE CKSUM\n"
	for name, text := range map[string]string{
		"nothing":                "",
		"no state":               "  pool: tank\n",
		"two pools":              "  pool: tank\n state: ONLINE\n\n  pool: other\n state: ONLINE\n",
		"no table":               "  pool: tank\n state: ONLINE\nconfig:\n\n\tThe configuration cannot be determined.\n",
		"a device and no state":  table + "\ttank\n",
		"counts that are none":   table + "\ttank        ONLINE       0     x     0\n",
		"a count without an end": table + "\ttank        ONLINE       99999999999999999999     0     0\n",
	} {
		if s, err := parseStatus(text); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// TestStatusRoundTrip writes statuses as zpool does, and reads them back.
func TestStatusRoundTrip(t *testing.T) {
	word := rapid.StringMatching(`[A-Za-z/][A-Za-z0-9/._:-]{0,20}( [A-Za-z0-9._-]{1,8}){0,2}`)
	count := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 1<<40))
	rapid.Check(t, func(t *rapid.T) {
		want := PoolStatus{Pool: "tank", State: "ONLINE", Scan: Scan{State: "none"}, Rebuilds: []Scan{}, Damaged: []string{}, Devices: []Device{}, Errors: "No known data errors"}
		roles := []string{"data", "dedup", "special", "logs", "cache", "spares"}
		role, depth := 0, int64(0)
		n := rapid.IntRange(1, 12).Draw(t, "devices")
		for i := range n {
			d := Device{Name: word.Draw(t, "name"), State: rapid.SampledFrom([]string{"ONLINE", "DEGRADED", "UNAVAIL"}).Draw(t, "state")}
			if i > 0 {
				if next := rapid.IntRange(role, len(roles)-1).Draw(t, "role"); next > role {
					role, depth = next, 1
				} else {
					depth = rapid.Int64Range(1, depth+1).Draw(t, "depth")
				}
			}
			d.Role, d.Depth = roles[role], depth
			if d.Role == "spares" {
				d.State = "AVAIL"
			} else {
				d.Read, d.Write, d.Checksum = count.Draw(t, "read"), count.Draw(t, "write"), count.Draw(t, "checksum")
				d.Note = rapid.SampledFrom([]string{"", "too many errors", "(resilvering)", "was /dev/disk/by-id/x y"}).Draw(t, "note")
			}
			want.Devices = append(want.Devices, d)
		}
		if rapid.Bool().Draw(t, "damaged") {
			want.Errors = "Permanent errors have been detected in the following files:"
			want.Damaged = rapid.SliceOfN(rapid.StringMatching(`[/<][a-z <>:@]{0,20}(\n[a-z]{1,4})?[a-z]`), 1, 4).Draw(t, "files")
		}
		got, err := parseStatus(writeStatus(want))
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nwant\n%+v\nof\n%s", got, want, writeStatus(want))
		}
	})
}

// writeStatus writes a status as status_callback and print_status_config do.
func writeStatus(s PoolStatus) string {
	var b strings.Builder
	fmt.Fprintf(&b, "  pool: %s\n state: %s\nconfig:\n\n", s.Pool, s.State)
	width := 10
	for _, d := range s.Devices {
		width = max(width, len(d.Name)+2*int(d.Depth))
	}
	fmt.Fprintf(&b, "\t%-*s  %-8s %5s %5s %5s\n", width, "NAME", "STATE", "READ", "WRITE", "CKSUM")
	role := "data"
	for _, d := range s.Devices {
		if d.Role != role {
			role = d.Role
			fmt.Fprintf(&b, "\t%s", role)
			if !slices.Contains([]string{"cache", "spares"}, role) {
				b.WriteByte('\t')
			}
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "\t%*s%-*s  %-8s", 2*int(d.Depth), "", width-2*int(d.Depth), d.Name, d.State)
		if role != "spares" {
			fmt.Fprintf(&b, " %5d %5d %5d", d.Read, d.Write, d.Checksum)
		}
		if d.Note != "" {
			fmt.Fprintf(&b, "  %s", d.Note)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "\nerrors: %s\n", s.Errors)
	if len(s.Damaged) > 0 {
		b.WriteByte('\n')
	}
	for _, d := range s.Damaged {
		fmt.Fprintf(&b, "%7s %s\n", "", d)
	}
	return b.String()
}

// FuzzParseStatus: whatever a status says, it is read or refused; and what is
// read can be handed to a playbook.
func FuzzParseStatus(f *testing.F) {
	files, err := filepath.Glob(filepath.Join("testdata", "status", "*.txt"))
	if err != nil || len(files) == 0 {
		f.Fatal(err, files)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	states := []string{"none", "scanning", "paused", "finished", "canceled", "unknown"}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseStatus(text)
		if err != nil {
			return
		}
		if s.Pool == "" || s.State == "" || !slices.Contains(states, s.Scan.State) || s.Scan.Repaired < 0 || s.Scan.Errors < 0 || s.Scan.Percent < 0 || s.Scan.Left < 0 {
			t.Errorf("%+v", s)
		}
		for _, d := range s.Devices {
			if d.Depth < 0 || d.State == "" {
				t.Errorf("%+v", d)
			}
		}
		if s.Scan.Device != "" {
			t.Errorf("a rebuild among the scans of the pool: %+v", s.Scan)
		}
	})
}
