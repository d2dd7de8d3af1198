package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nixmox/builtins/doctor"
	"nixmox/engine"
	"nixmox/engine/journal"
	"nixmox/engine/sandbox"
)

// examineConfig reads the configuration as a run would, secrets too. Without
// an error among the findings it leads to a Proxmox host.
func examineConfig(f *engineFlags) (*config, []doctor.Finding) {
	findings := []doctor.Finding{{Check: "nixmox", Subject: "version", Level: doctor.OK, Found: version}}
	ok := func(subject, found string) {
		findings = append(findings, doctor.Finding{Check: "configuration", Subject: subject, Level: doctor.OK, Found: found})
	}
	if f.lab != "" && f.config == "" {
		ok("the lab", "it needs none")
		return &config{}, findings
	}
	c, err := readConfig(f.config)
	switch {
	case err != nil:
		return &config{}, append(findings, configError("configuration", err))
	case c.file == "" && f.lab == "":
		return c, append(findings, doctor.Finding{Check: "configuration", Subject: "nixmox.toml", Level: doctor.Error,
			Found: "there is none: looked for " + strings.Join(configPaths(), " and "),
			Cure:  "make one, after the commented example docs/nixmox.toml, and name it with --config or put it there; nixmox doctor --lab looks at the simulated estate"})
	case c.Proxmox == nil && f.lab == "":
		return c, append(findings, doctor.Finding{Check: "configuration", Subject: c.file, Level: doctor.Error,
			Found: "it names no Proxmox host", Cure: "add the table [proxmox] with url, token_id and token_file, as in docs/nixmox.toml"})
	}
	switch host, err := c.proxmox(); {
	case err != nil:
		findings = append(findings, configError(c.file, err))
	case host == nil: // the lab is one
		ok(c.file, "it is read")
	default:
		ok(c.file, "it is read, and the token's secret is at hand")
	}
	for _, name := range slices.Sorted(maps.Keys(c.Secrets)) {
		findings = append(findings, examineSecret(c, name))
	}
	return c, findings
}

func configError(subject string, err error) doctor.Finding {
	what, _, hint := describe(err)
	if hint == "" {
		hint = "correct the configuration; docs/nixmox.toml is a commented example"
	}
	return doctor.Finding{Check: "configuration", Subject: subject, Level: doctor.Error, Found: what, Cure: hint}
}

func examineSecret(c *config, name string) doctor.Finding {
	x := doctor.Finding{Check: "secrets", Subject: name, Level: doctor.OK, Found: "it can be read"}
	if credential := c.Secrets[name].Credential; credential != "" && os.Getenv("CREDENTIALS_DIRECTORY") == "" {
		x.Level, x.Found = doctor.Note, "not checked: systemd hands its credential to a unit only"
		x.Cure = "systemd-run --pipe -p LoadCredential=" + credential + ":FILE nixmox doctor"
		return x
	}
	if _, err := c.secret(name); err != nil {
		var hint string
		x.Level = doctor.Error
		if x.Found, _, hint = describe(err); hint == "" {
			_, _, hint = describe(errors.Unwrap(err))
		}
		if x.Cure = hint; hint == "" {
			x.Cure = fmt.Sprintf("put it there, mode 0600, or correct %s in [secrets]", name)
		}
	}
	return x
}

// examineSandbox has an evaluator lock itself down.
func examineSandbox() doctor.Finding {
	x := doctor.Finding{Check: "sandbox", Subject: "this kernel", Level: doctor.OK, Found: "it locks the processes of playbooks down wholly"}
	missing, err := sandbox.Missing(sandbox.Options{Memory: engine.DefaultLimits.Memory})
	switch {
	case err != nil:
		x.Level, x.Found = doctor.Error, err.Error()
		x.Cure = "no playbook can run here; nixmox must be able to start itself (/proc mounted, no noexec) and to use seccomp"
	case len(missing) > 0:
		x.Level, x.Found = doctor.Warning, "it does not have "+strings.Join(missing, ", ")
		x.Cure = "a kernel from 6.1 on with lsm=landlock among its boot parameters; --sandbox=require refuses to run without"
	}
	return x
}

// Below these the next run may not be recorded.
const (
	littleRoom = 256 << 20
	noRoom     = 16 << 20
)

// distant are file systems on which locks and SQLite's log are not sound
// (statfs(2), https://sqlite.org/wal.html).
var distant = map[int64]string{unix.NFS_SUPER_MAGIC: "NFS", unix.SMB_SUPER_MAGIC: "SMB", 0xff534d42: "CIFS", 0xfe534d42: "SMB", unix.V9FS_MAGIC: "9p", unix.AFS_SUPER_MAGIC: "AFS", unix.CODA_SUPER_MAGIC: "Coda"}

// examineState looks at the folder of runs, locks and the journal. It makes
// none: a first run does. What it tries, it takes away again.
func examineState(f *engineFlags, c *config) []doctor.Finding {
	var findings []doctor.Finding
	dir, err := c.stateDir(f.state)
	add := func(level doctor.Level, found, cure string) {
		findings = append(findings, doctor.Finding{Check: "state", Subject: dir, Level: level, Found: found, Cure: cure})
	}
	if err != nil {
		add(doctor.Error, err.Error(), "--state DIR names the state folder")
		return findings
	}
	there := dir // or what is there of it
	for {
		if _, err := os.Stat(there); !errors.Is(err, fs.ErrNotExist) || there == filepath.Dir(there) {
			break
		}
		there = filepath.Dir(there)
	}
	if err := tryFolder(there); err != nil { // not access(2): root may all, and /proc takes nothing
		add(doctor.Error, "it cannot be written: "+err.Error(), "run nixmox as the user it belongs to, or name another: --state DIR, or state in the configuration")
		return findings
	}
	var on unix.Statfs_t
	if err := unix.Statfs(there, &on); err == nil && on.Blocks > 0 {
		room := int64(on.Bavail) * on.Bsize
		switch {
		case room < noRoom:
			add(doctor.Error, fmt.Sprintf("its file system has %d MiB left: runs cannot be recorded", room>>20), "make room, or name another: --state DIR")
		case room < littleRoom:
			add(doctor.Warning, fmt.Sprintf("its file system has %d MiB left", room>>20), "make room; nixmox runs prune forgets old runs")
		}
		if kind := distant[on.Type]; kind != "" {
			add(doctor.Warning, "it is on "+kind+", where locks and the journal are not sound", "name a folder on a local file system: state in the configuration, or --state DIR")
		}
	}
	if there != dir {
		add(doctor.OK, "it is not there yet; the first run makes it", "")
		return findings
	}
	if err := tryLocks(dir); err != nil {
		add(doctor.Error, "files in it cannot be locked: "+err.Error(), "name a folder on a local file system: state in the configuration, or --state DIR")
		return findings
	}
	if _, err := os.Stat(filepath.Join(dir, "journal.db")); errors.Is(err, fs.ErrNotExist) {
		add(doctor.OK, "it can be written, and has no journal yet", "")
		return findings
	}
	return append(findings, examineJournal(dir)...)
}

func tryFolder(dir string) error {
	made, err := os.MkdirTemp(dir, ".nixmox-doctor-*")
	if err != nil {
		return err
	}
	return os.Remove(made)
}

// tryLocks takes the two sorts of lock that nixmox uses.
func tryLocks(dir string) (err error) {
	file, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return err
	}
	return unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

func examineJournal(dir string) (findings []doctor.Finding) {
	add := func(level doctor.Level, subject, found, cure string) {
		findings = append(findings, doctor.Finding{Check: "state", Subject: subject, Level: level, Found: found, Cure: cure})
	}
	db, err := journal.Open(dir)
	if err != nil {
		add(doctor.Error, dir, err.Error(), journalCure(err))
		return findings
	}
	defer func() { _ = db.Close() }() // it was only read
	runs, err := db.Runs(journal.Filter{States: []journal.State{journal.Suspended, journal.InDoubt, journal.Running}})
	if err != nil {
		add(doctor.Error, dir, err.Error(), journalCure(err))
		return findings
	}
	waiting := 0
	for _, r := range runs {
		if r.Live {
			continue
		}
		waiting++
		state := strings.ReplaceAll(string(r.State), "_", " ")
		if r.State == journal.Running {
			state = "cut off"
		}
		add(doctor.Warning, "run "+r.ID, fmt.Sprintf("%s is %s since %s, and waits to be resumed", r.Playbook, state, r.Changed.Local().Format(time.DateTime)),
			"nixmox resume "+r.ID+", or: nixmox cancel "+r.ID)
	}
	if waiting == 0 {
		add(doctor.OK, dir, fmt.Sprintf("it can be written and locked; the journal has format %d, and no run waits to be resumed", journal.Format), "")
	}
	return findings
}

func journalCure(err error) string {
	if e, ok := errors.AsType[*journal.Error](err); ok && e.Hint != "" {
		return e.Hint
	}
	if _, ok := errors.AsType[*journal.NewerError](err); ok {
		return "use a nixmox at least as new as the one that wrote it"
	}
	return "move journal.db and its -wal out of the folder, keep them, and repair a copy: sqlite3 FILE .recover"
}
