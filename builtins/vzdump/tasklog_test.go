package vzdump

import (
	"encoding/json"
	"fmt"
	"path"
	"reflect"
	"strings"
	"testing"
	"time"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

func readLog(lines ...string) *taskLog {
	l := &taskLog{}
	for _, line := range lines {
		l.Line(line)
	}
	return l
}

// meaning is all that a log was understood to say, a line a guest.
func meaning(l *taskLog) string {
	var b strings.Builder
	if l.Command != "" {
		b.WriteString("$ " + strings.Fields(l.Command)[0] + "\n")
	}
	for _, g := range l.Guests {
		fmt.Fprintf(&b, "%d %s", g.ID, g.Kind)
		if g.Mode != "" {
			fmt.Fprintf(&b, " mode=%s %s", g.Mode, g.Consistency())
		}
		if g.Target != "" {
			fmt.Fprintf(&b, " %s %s", path.Base(g.Target), g.Size)
		}
		if g.Finished {
			b.WriteString(" finished")
		}
		if g.Unmarked {
			b.WriteString(" unmarked")
		}
		if g.Failed != "" {
			b.WriteString(" FAILED: " + g.Failed)
		}
		for _, x := range g.LeftOut {
			b.WriteString("\n  left out: " + x)
		}
		b.WriteString("\n")
	}
	for _, w := range l.Warnings {
		b.WriteString("warning: " + w + "\n")
	}
	for _, e := range l.Errors {
		b.WriteString("error: " + e + "\n")
	}
	return b.String()
}

func TestWhatALogMeans(t *testing.T) {
	start := []string{
		"INFO: starting new backup job: vzdump 101",
		"INFO: Starting Backup of VM 101 (qemu)", "INFO: status = running", "INFO: backup mode: snapshot",
		"INFO: creating vzdump archive '/d/vzdump-qemu-101-x.vma.zst'",
	}
	end := []string{"INFO: archive file size: 1.50GB", "INFO: Finished Backup of VM 101 (00:00:05)"}
	freeze, thaw, qmp := "INFO: issuing guest-agent 'fs-freeze' command", "INFO: issuing guest-agent 'fs-thaw' command", "INFO: starting backup via QMP command"
	started := "INFO: started backup task 'x'"
	const archive = " vzdump-qemu-101-x.vma.zst 1.50GB finished\n"
	for name, c := range map[string]struct {
		middle []string
		want   string
	}{
		"no agent":       {[]string{qmp, started}, "101 vm mode=snapshot crash" + archive},
		"agent disabled": {[]string{"INFO: skipping guest filesystem freeze - disabled in VM options", qmp, started}, "101 vm mode=snapshot crash" + archive},
		"agent down, 7":  {[]string{"INFO: skipping guest-agent 'fs-freeze', agent configured but not running?", started}, "101 vm mode=snapshot crash" + archive + "warning: guest 101: its file systems were not frozen: agent configured but not running?\n"},
		"frozen":         {[]string{freeze, qmp, thaw, started}, "101 vm mode=snapshot filesystem" + archive},
		"frozen, 7":      {[]string{freeze, thaw, started}, "101 vm mode=snapshot filesystem" + archive},
		"frozen before":  {[]string{"INFO: skipping guest filesystem freeze - already frozen", qmp, started}, "101 vm mode=snapshot filesystem" + archive},
		"freeze failed": {[]string{freeze, "ERROR: VM 101 qmp command 'guest-fsfreeze-freeze' failed - got timeout", qmp, thaw, started},
			"101 vm mode=snapshot crash" + archive + "warning: guest 101: freezing its file systems failed: VM 101 qmp command 'guest-fsfreeze-freeze' failed - got timeout\n"},
		"thaw failed": {[]string{freeze, qmp, thaw, "ERROR: VM 101 qmp command 'guest-fsfreeze-thaw' failed - got timeout", started},
			"101 vm mode=snapshot filesystem" + archive + "warning: guest 101: thawing its file systems may have failed (look with: qm guest cmd 101 fsfreeze-status): VM 101 qmp command 'guest-fsfreeze-thaw' failed - got timeout\n"},
		"left out": {[]string{"INFO: exclude disk 'scsi1' 'rpool:vm-101-disk-1' (backup=no)", "INFO: exclude disk 'scsi1' 'rpool:vm-101-disk-1' (backup=no)",
			"INFO: excluding bind mount point mp0 ('/srv') from backup (not a volume)", "INFO: skip unused drive 'x:y' (not included into backup)"},
			"101 vm mode=snapshot crash" + archive[:len(archive)-1] + "\n  left out: exclude disk 'scsi1' 'rpool:vm-101-disk-1' (backup=no)" +
				"\n  left out: excluding bind mount point mp0 ('/srv') from backup (not a volume)\n  left out: skip unused drive 'x:y' (not included into backup)\n"},
		"notes not written": {[]string{"INFO: adding notes to backup", "WARN: unable to add notes - no space"},
			"101 vm mode=snapshot crash" + archive[:len(archive)-1] + " unmarked\nwarning: guest 101: unable to add notes - no space\n"},
		"a line that only looks like one": {[]string{"INFO: tar: Finished Backup of VM 101 (", "INFO: x creating vzdump archive 'y'", "garbage", "", ": ", "INFO: "},
			"101 vm mode=snapshot crash" + archive},
	} {
		lines := append(append(append([]string{}, start...), c.middle...), end...)
		if got := meaning(readLog(lines...)); got != "$ vzdump\n"+c.want {
			t.Errorf("%s:\n got %q\nwant %q", name, got, "$ vzdump\n"+c.want)
		}
	}
}

func TestWaitingForTheLock(t *testing.T) {
	l := readLog("INFO: trying to get global lock - waiting...")
	if !l.Waiting || l.Command != "" {
		t.Errorf("waiting: %+v", l)
	}
	l.Line("INFO: got global lock")
	l.Line("INFO: starting new backup job: vzdump 200 --node pve1")
	if l.Waiting || l.Command != "vzdump 200 --node pve1" {
		t.Errorf("got the lock: %+v", l)
	}
}

func TestErrorOutsideAnyGuest(t *testing.T) {
	l := readLog("ERROR: can't acquire lock '/var/run/vzdump.lock' - got timeout", "ERROR: Backup of VM 999 failed - unable to find VM '999'", "ERROR: Backup job failed - x")
	want := "999  FAILED: unable to find VM '999'\nerror: can't acquire lock '/var/run/vzdump.lock' - got timeout\nerror: Backup job failed - x\n"
	if got := meaning(l); got != want {
		t.Errorf("got %q", got)
	}
}

func TestProgress(t *testing.T) {
	for line, want := range map[string]builtin.Progress{
		"INFO: 37% (11.9 GiB of 32.0 GiB) in 1m 5s, read: 512.0 MiB/s, write: 452.0 KiB/s": {
			Percent: 37, Done: 12777527705, Total: 32 << 30, Rate: 512 << 20, Subject: "101", Step: "guest 101 (1 of 2): 37% (11.9 GiB of 32.0 GiB) in 1m 5s, read: 512.0 MiB/s, write: 452.0 KiB/s"},
		"INFO: status: 12% (120/1000), sparse 0% (0), duration 3, read/write 1/1 MB/s": {
			Percent: 12, Done: 120, Total: 1000, Subject: "101", Step: "guest 101 (1 of 2): status: 12% (120/1000), sparse 0% (0), duration 3, read/write 1/1 MB/s"},
		"INFO: Total bytes written: 2396160 (2.3MiB, 275MiB/s)": {
			Percent: 100, Done: 2396160, Total: 2396160, Rate: 275 << 20, Subject: "101", Step: "guest 101 (1 of 2): Total bytes written: 2396160 (2.3MiB, 275MiB/s)"},
		"INFO: Finished Backup of VM 101 (00:00:05)":        {Subject: "101", Step: "guest 101 (1 of 2): finished", Ended: builtin.SubjectDone, Elapsed: 5 * time.Second},
		"ERROR: Backup of VM 101 failed - it would not end": {Subject: "101", Step: "guest 101 (1 of 2): failed: it would not end", Ended: builtin.SubjectFailed},
	} {
		l := &taskLog{want: 2}
		if p, ok := l.Line("INFO: Starting Backup of VM 101 (qemu)"); !ok || p.Step != "guest 101 (1 of 2): started" {
			t.Errorf("start: %+v, %v", p, ok)
		}
		if p, ok := l.Line(line); !ok || !reflect.DeepEqual(p, want) {
			t.Errorf("%s\n got %+v, %v\nwant %+v", line, p, ok, want)
		}
	}
}

func TestRoundedSize(t *testing.T) {
	for size, want := range map[int64]string{40156: "39KB", 1404358: "1MB", 2396160: "2MB", 3 << 29: "1.50GB", 5 << 40: "5.00TB", 0: "0KB"} {
		if got := roundedSize(size); got != want {
			t.Errorf("%d is %q, want %q", size, got, want)
		}
	}
}

// Every vzdump log that a real Proxmox VE 9.2.11 wrote, and what it means.
func TestRecordedLogs(t *testing.T) {
	const job = "$ vzdump\n"
	const qmeventd = "FAILED: unable to connect to qmeventd socket (vmid: 101) - Connection refused\n"
	want := map[string]string{
		"vzdump snapshot agent down": job + "101 vm mode=snapshot crash vzdump-qemu-101-2026_11_23-12_06_59.vma.zst 39KB finished\n" +
			"warning: guest 101: its file systems were not frozen: agent configured but not running?\n",
		"vzdump snapshot": job + "101 vm mode=snapshot filesystem vzdump-qemu-101-2026_11_23-12_07_11.vma.zst 39KB finished\n",
		"vzdump suspend":  job + "101 vm mode=suspend suspended vzdump-qemu-101-2026_11_23-12_07_12.vma.lzo 77KB finished\n",
		"vzdump stop (running VM is shut down and started again)": job + "101 vm mode=stop stopped vzdump-qemu-101-2026_11_23-12_07_18.vma.gz 50KB finished\n",
		"vzdump several, one missing": job + "100 vm mode=stop stopped vzdump-qemu-100-2026_11_23-12_07_21.vma.zst 35KB finished\n" +
			"200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_22.tar.zst 1MB finished\n" +
			"999  FAILED: unable to find VM '999'\n",
		"vzdump all": job + "101 vm mode=snapshot crash vzdump-qemu-101-2026_11_23-12_07_22.vma.zst  " + qmeventd +
			"200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_23.tar.zst 1MB finished\n",
		"vzdump unknown storage": "",
		"vzdump json booleans":   job + "200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_24.tar 2MB finished\n",
		"vzdump prune":           job + "200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_24.tar.zst 1MB finished\n",
		"stopped vzdump":         job + "101 vm mode=snapshot crash vzdump-qemu-101-2026_11_23-12_07_30.vma  " + qmeventd,
		"second vzdump":          job + "200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_33.tar 2MB finished\n",
		"priv: vzdump ok": job + "101 vm mode=snapshot crash vzdump-qemu-101-2026_11_23-12_07_38.vma.zst  " + strings.TrimSuffix(qmeventd, "\n") +
			"\n  left out: snapshots found (not included into backup)\n",
		"priv: vzdump other vm": job,
		"lxc vzdump snapshot falls back to suspend": job + "200 container mode=suspend suspended vzdump-lxc-200-2026_11_23-12_07_51.tar.zst 1MB finished\n" +
			"warning: guest 200: backed up in suspend mode instead: some volumes do not support snapshots\n",
		"vzdump with warnings": job + "200 container mode=stop stopped vzdump-lxc-200-2026_11_23-12_07_55.tar.zst 1MB finished unmarked\n" +
			"warning: guest 200: unable to add notes - close (rename) atomic file '/var/lib/vz/dump/vzdump-lxc-200-2026_11_23-12_07_55.tar.zst.notes' failed: Is a directory\n",
	}
	seen := map[string]bool{}
	for _, r := range pvetest.Recorded(t) {
		label, isLog := strings.CutSuffix(r.Label, " / log")
		if !isLog || !strings.Contains(r.Request.Path, ":vzdump:") {
			continue
		}
		var body struct {
			Data []struct {
				T string `json:"t"`
			} `json:"data"`
		}
		if err := json.Unmarshal(r.Response.Body, &body); err != nil {
			t.Fatal(err)
		}
		l := &taskLog{}
		for _, line := range body.Data {
			l.Line(line.T)
		}
		seen[label] = true
		if meant, known := want[label]; !known {
			t.Errorf("nobody has said what %q means; it is read as\n%s", label, meaning(l))
		} else if got := meaning(l); got != meant {
			t.Errorf("%s:\n got %q\nwant %q", label, got, meant)
		}
	}
	for label := range want {
		if !seen[label] {
			t.Errorf("there is no recording %q", label)
		}
	}
}

func FuzzTaskLog(f *testing.F) {
	f.Add("INFO: Starting Backup of VM 101 (qemu)\nINFO: backup mode: snapshot\nINFO: 100% (1.0 GiB of 1.0 GiB) in 2s, read: 512.0 MiB/s, write: 452.0 KiB/s\nERROR: Backup of VM 101 failed - x")
	f.Add("ERROR: Backup of VM 999999999 failed - \nINFO: status: 999% (99999999999999999999/0)\nWARN: ")
	f.Fuzz(func(t *testing.T, text string) {
		l := &taskLog{want: 3}
		for line := range strings.SplitSeq(text, "\n") {
			if p, ok := l.Line(line); ok && (p.Done < 0 || p.Total < 0 || p.Rate < 0 || p.Step == "") {
				t.Fatalf("%q gave %+v", line, p)
			}
		}
		for _, g := range l.Guests {
			if g.ID < 100 || g.ID > 999999999 || g.Consistency() == "" {
				t.Fatalf("guest %+v", g)
			}
			if (g.Finished || g.Failed != "") && !strings.Contains(text, g.ID.String()) {
				t.Fatalf("guest %d came from nowhere", g.ID)
			}
		}
	})
}
