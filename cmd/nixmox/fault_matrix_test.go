package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins"
	"nixmox/builtins/lab"
	"nixmox/builtins/vzdump/archive"
	"nixmox/cmd/nixmox/playtest"
	"nixmox/engine"
	"nixmox/engine/builtin"
	"nixmox/engine/event"
	"nixmox/engine/journal"
	"nixmox/stdlib"
)

// The fault matrix: backup.star is run once undisturbed, and each request that
// it sent and each call that it made is noted. Then it is run again and again,
// each time with one thing going wrong at one of those. What became of it is
// read from the lab's world and never from nixmox's words: see (*faultWorld).judge.

// backedUp are the guests of the matrix: a VM with an agent, and two
// containers on another node. All three have a history to prune.
var backedUp = []string{"100", "101", "105"}

// faultCell is one fault at one place.
type faultCell struct {
	fault string // a row of the table: what goes wrong, and for how long
	at    string // a request or a call of the undisturbed run
	// strikes says what goes wrong with what, once the cell is armed.
	strikes lab.Fault
	request string // "METHOD /PATH" with what differs from run to run taken out, that is struck
	nth     int    // which of those requests, from 1
	call    builtin.Place
	ever    bool // from there on for ever, not once
	moveOn  bool // what hangs goes on once the run has ended; else it is stopped
	lock    int  // the guest that another hand locks, or 0
	ticket  bool // nixmox logs in with a password
}

func (c faultCell) String() string { return c.fault + " at " + c.at }

// All cells are run with -whole; else a sample, a smaller one with -race.
func TestFaultMatrix(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as main does
	small := smallLab(t)
	calm := newFaultWorld(t, small, faultCell{})
	first := calm.run()
	if first.Exit != 0 {
		t.Fatalf("the undisturbed run: exit %d\n%s", first.Exit, calm.words(first))
	}
	want := calm.look()
	if len(want.gone) < 3 || len(want.fresh) != len(backedUp) {
		t.Fatalf("the undisturbed run removed %v and made %d archives: that shows too little", want.gone, len(want.fresh))
	}
	var cells []faultCell
	for _, at := range calm.requests {
		cells = append(cells, requestFaults(at)...)
	}
	for _, at := range calm.calls {
		cells = append(cells, callFaults(at)...)
	}
	all := len(cells)
	switch {
	case raceDetector:
		cells = sampled(cells, all/25)
	case !*whole:
		cells = sampled(cells, all/7)
	}
	ends := &endTable{}
	t.Run("cells", func(t *testing.T) {
		for _, c := range cells {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				newFaultWorld(t, small, c).judge(want, calm.done, ends)
			})
		}
	})
	t.Logf("%d requests and %d calls make %d cells, of which %d were run:\n%s", len(calm.requests), len(calm.calls), all, len(cells), ends)
}

// The whole matrix takes some two minutes.
var whole = flag.Bool("whole", false, "run every cell of the fault matrix")

// sampled are n of the cells, the same ones each time.
func sampled(cells []faultCell, n int) []faultCell {
	var out []faultCell
	for _, i := range rand.New(rand.NewPCG(sampleSeed, 0)).Perm(len(cells))[:n] {
		out = append(out, cells[i])
	}
	return out
}

const sampleSeed = 5

// requestAt is a request of the undisturbed run.
type requestAt struct {
	request string
	nth     int
}

// callAt is a call of the undisturbed run.
type callAt struct {
	place builtin.Place
	name  string
}

func requestFaults(at requestAt) []faultCell {
	var out []faultCell
	for _, kind := range []string{"595", "596", "500", "403", "401", "drop"} {
		for _, ever := range []bool{false, true} {
			out = append(out, faultCell{
				fault: "api=" + kind + howLong(ever), at: fmt.Sprintf("%s, %d", at.request, at.nth),
				strikes: lab.Fault{Target: "api", Kind: kind}, request: at.request, nth: at.nth, ever: ever,
			})
		}
	}
	return out
}

func howLong(ever bool) string {
	if ever {
		return " for ever"
	}
	return " once"
}

func callFaults(at callAt) []faultCell {
	var out []faultCell
	add := func(c faultCell) {
		c.at, c.call = string(at.place)+" "+at.name, at.place
		out = append(out, c)
	}
	strike := func(ever bool, f lab.Fault) {
		name := f
		if slices.Contains(backedUp, f.ID) {
			name.ID = "VMID"
		}
		add(faultCell{fault: name.String() + howLong(ever), strikes: f, ever: ever, ticket: f.Target == "ticket"})
	}
	for _, id := range backedUp {
		for _, kind := range []string{"fail", "warnings", "hang", "truncate", "flip", "deny"} {
			strike(true, lab.Fault{Target: "vzdump", ID: id, Kind: kind})
		}
		strike(false, lab.Fault{Target: "vzdump", ID: id, Kind: "text", Text: "job errors"})
		add(faultCell{fault: "vzdump:VMID=hang, and goes on", strikes: lab.Fault{Target: "vzdump", ID: id, Kind: "hang"}, moveOn: true})
		number := 0
		_, _ = fmt.Sscan(id, &number)
		add(faultCell{fault: "guest:VMID=locked", lock: number})
	}
	for _, kind := range []string{"late", "down", "freeze", "thaw"} {
		for _, ever := range []bool{false, true} {
			strike(ever, lab.Fault{Target: "agent", ID: "100", Kind: kind})
		}
	}
	for _, ever := range []bool{false, true} {
		strike(ever, lab.Fault{Target: "storage", ID: "backup", Kind: "full"})
		strike(ever, lab.Fault{Target: "storage", ID: "backup", Kind: "offline"})
		strike(ever, lab.Fault{Target: "token", Kind: "expired"})
		strike(ever, lab.Fault{Target: "ticket", Kind: "expired"})
		strike(ever, lab.Fault{Target: "list", ID: "guests", Kind: "fail"})
		for _, privilege := range []string{"VM.Audit", "VM.Backup", "Datastore.AllocateSpace"} {
			strike(ever, lab.Fault{Target: "privilege", ID: privilege, Kind: "missing"})
		}
	}
	return out
}

// faultWorld is a lab in which one thing goes wrong, and nixmox beside it in
// the same process. Whatever waits, waits in the lab's time.
type faultWorld struct {
	t        *testing.T
	cell     faultCell
	lab      *lab.Lab
	dir      string
	endpoint lab.Endpoint
	old      []lab.ArchiveState

	mu       sync.Mutex
	end      context.CancelCauseFunc // of the run that goes on
	seen     map[string]int
	requests []requestAt // in order of arrival
	calls    []callAt
	done     []string // changes that Proxmox made because nixmox asked
	armed    bool
	struck   int
}

// smallLab is the folder of a lab with few archives, to be copied: to make one
// takes longer than to run a cell in it.
func smallLab(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(testFolder(t), "lab")
	l, err := lab.Open(lab.Options{Dir: dir, Clock: lab.ClockAuto, Begin: playtest.Begin, Brief: true})
	if err != nil {
		t.Fatal(err)
	}
	all, err := l.Archives("backup")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if slices.Contains(backedUp, fmt.Sprint(a.Guest)) && a.Begin.After(playtest.Begin.AddDate(0, 0, -6)) {
			continue
		}
		if err := l.RemoveArchive(a.VolID); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func newFaultWorld(t *testing.T, small string, c faultCell) *faultWorld {
	t.Helper()
	w := &faultWorld{t: t, cell: c, dir: testFolder(t), seen: map[string]int{}}
	if err := os.CopyFS(filepath.Join(w.dir, "lab"), os.DirFS(small)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(w.dir, "lab"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := lab.Open(lab.Options{Dir: filepath.Join(w.dir, "lab"), Clock: lab.ClockAuto, Begin: playtest.Begin, Brief: true, Strike: w.strike, Observe: w.observe})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	w.lab = l
	if w.endpoint, err = l.Start(); err != nil {
		t.Fatal(err)
	}
	w.old = w.archives()
	return w
}

// testFolder is in memory where there is some: a lab is many small files.
func testFolder(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "nixmox-test-"); err == nil {
		t.Cleanup(func() {
			if err := os.RemoveAll(dir); err != nil {
				t.Error(err)
			}
		})
		return dir
	}
	return t.TempDir()
}

var (
	aTask    = regexp.MustCompile(`UPID:([^:]+):[^:]+:[^:]+:[^:]+:([^:]+):[^/]*`)
	ofNixmox = regexp.MustCompile(`run=(01[0-9A-Z]{24})`)
)

// sameEachRun takes out of a request what differs from run to run.
func sameEachRun(request string) string {
	return aTask.ReplaceAllString(stamp.ReplaceAllString(request, "DATE"), "TASK $1 $2")
}

// strike is the lab's Strike.
func (w *faultWorld) strike(target, id string, kinds []string) *lab.Fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &w.cell
	if target == "api" {
		request := sameEachRun(id)
		w.seen[request]++
		w.requests = append(w.requests, requestAt{request, w.seen[request]})
		if len(w.requests) == tooManyRequests {
			w.t.Errorf("it asks without end; the last: %v", w.requests[len(w.requests)-12:])
			w.end(builtin.Stopf(builtin.Cancelled, "it asks without end"))
		}
		if request == c.request && (w.seen[request] == c.nth || c.ever && w.seen[request] > c.nth) {
			return w.hit()
		}
		return nil
	}
	if !w.armed || c.strikes.Target != target || c.strikes.ID != "" && c.strikes.ID != id || !slices.Contains(kinds, c.strikes.Kind) {
		return nil
	}
	if !c.ever && w.struck > 0 {
		return nil
	}
	return w.hit()
}

func (w *faultWorld) hit() *lab.Fault {
	w.struck++
	f := w.cell.strikes
	return &f
}

// observe notes the changes that were made, answered or not.
func (w *faultWorld) observe(x lab.Exchange) {
	if x.Method == http.MethodGet || x.Path == "/access/ticket" || x.Status != 200 && x.Status != 596 && x.Status != 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, x.Method+" "+sameEachRun(x.Path))
}

// event arms the cell when its call begins.
func (w *faultWorld) event(e event.Event) {
	if e.Type != event.CallBegan || e.Effect == builtin.Pure.String() {
		return
	}
	w.mu.Lock()
	w.calls = append(w.calls, callAt{e.Place, e.Call})
	arm := e.Place == w.cell.call && !w.armed && w.cell.call != ""
	w.armed = w.armed || arm
	w.mu.Unlock()
	if arm && w.cell.lock != 0 {
		w.lockGuest("backup")
	}
}

func (w *faultWorld) lockGuest(lock string) {
	if err := w.lab.ChangeGuest(w.cell.lock, lab.GuestChange{Lock: &lock}); err != nil {
		w.t.Error(err)
	}
}

// tooManyRequests is far beyond what the runs of a cell need.
const tooManyRequests = 20000

// timeout is the --timeout of every run, in the lab's time.
const timeout = 4 * time.Hour

// clock is the lab's; its time ends the run.
func (w *faultWorld) clock(end context.CancelCauseFunc) engine.Clock {
	deadline := w.lab.Now().Add(timeout)
	now := func() time.Time {
		at := w.lab.Now()
		if at.After(deadline) {
			end(builtin.Stopf(builtin.TimedOut, "the run took longer than --timeout %s", timeout))
		}
		return at
	}
	return engine.Clock{Now: now, Sleep: func(ctx context.Context, d time.Duration) error {
		w.lab.Advance(d)
		now()
		return ctx.Err()
	}}
}

// with makes an engine as nixmox does, but for the clock, and uses it.
func (w *faultWorld) with(use func(context.Context, *engine.Engine) engine.Report) engine.Report {
	w.t.Helper()
	ctx, end := context.WithCancelCause(w.t.Context())
	defer end(nil)
	w.mu.Lock()
	w.end = end
	w.mu.Unlock()
	clock := w.clock(end)
	host := labProxmox(w.endpoint)
	host.Now, host.Sleep = clock.Now, clock.Sleep
	if w.cell.ticket {
		host.TokenID, host.Token = "", builtins.Secret{}
		host.User, host.Password = "root@pam", builtins.NewSecret(w.endpoint.RootPassword)
	}
	modules, closeAll, err := builtins.All(builtins.Config{Proxmox: host, Commands: w.endpoint.Commands})
	if err != nil {
		w.t.Fatal(err)
	}
	db, err := journal.Open(filepath.Join(w.dir, "state"))
	if err != nil {
		w.t.Fatal(err)
	}
	e := &engine.Engine{Modules: modules, Std: stdlib.FS, Sink: w.event, Clock: clock, Limits: engine.DefaultLimits, Reserved: reservedFlags(),
		LockDir: filepath.Join(w.dir, "locks"), LockWait: time.Second, Journal: func() (*journal.DB, error) { return db, nil }}
	report := use(ctx, e)
	for _, err := range []error{e.Close(), closeAll(), db.Close()} {
		if err != nil {
			w.t.Error(err)
		}
	}
	return report
}

func (w *faultWorld) run() engine.Report {
	w.t.Helper()
	return w.with(func(ctx context.Context, e *engine.Engine) engine.Report {
		p, err := loadPlaybook(ctx, e, "backup")
		if err != nil {
			w.t.Fatal(err)
		}
		values := map[string]any{}
		for i := range p.Params {
			values[p.Params[i].Name] = p.Params[i].Default
		}
		guests := []any{}
		for _, id := range backedUp {
			guests = append(guests, id)
		}
		values["guests"] = guests
		values["keep_daily"], values["keep_weekly"], values["keep_monthly"] = int64(1), int64(0), int64(0)
		return e.Run(ctx, p, engine.Options{Params: values, Kept: json.RawMessage("{}")})
	})
}

func (w *faultWorld) resume(id string) engine.Report {
	w.t.Helper()
	return w.with(func(ctx context.Context, e *engine.Engine) engine.Report {
		db, err := e.Journal()
		if err != nil {
			w.t.Fatal(err)
		}
		record, err := db.Resume(id)
		if err != nil {
			w.t.Fatal(err)
		}
		report, err := e.Resume(ctx, record, engine.ResumeOptions{})
		if err != nil {
			w.t.Fatal(err)
		}
		return report
	})
}

// words are what nixmox says at the end.
func (w *faultWorld) words(r engine.Report) string {
	var out bytes.Buffer
	(&app{stdout: &out, stderr: &out}).lastLines(&out, style{}, "backup", false, r)
	return out.String()
}

// mend ends what goes wrong.
func (w *faultWorld) mend() {
	w.mu.Lock()
	w.cell.request, w.cell.call, w.armed = "", "", false
	w.mu.Unlock()
	if w.cell.lock != 0 {
		w.lockGuest("")
		w.cell.lock = 0
	}
}

func (w *faultWorld) archives() []lab.ArchiveState {
	w.t.Helper()
	all, err := w.lab.Archives("backup")
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// seenWorld is what became of the archives and the guests.
type seenWorld struct {
	fresh   map[string][]freshArchive // by guest
	gone    []string                  // of those that were there before, sorted
	locked  []string
	frozen  []string
	running []string // tasks
}

type freshArchive struct {
	volid, run string
	damage     error // why it is not whole
	verified   bool  // marked so, with the right checksum
}

var markedSum = regexp.MustCompile(`verified=\S+ sha256=([0-9a-f]{64})`)

func (w *faultWorld) look() seenWorld {
	w.t.Helper()
	out := seenWorld{fresh: map[string][]freshArchive{}}
	there := map[string]bool{}
	was := map[string]bool{}
	for _, a := range w.old {
		was[a.VolID] = true
	}
	for _, a := range w.archives() {
		there[a.VolID] = true
		if was[a.VolID] {
			continue
		}
		x := freshArchive{volid: a.VolID}
		if m := ofNixmox.FindStringSubmatch(a.Notes); m != nil {
			x.run = m[1]
		}
		f, err := os.Open(a.File)
		if err != nil {
			w.t.Fatal(err)
		}
		report, err := archive.Verify(w.t.Context(), a.VolID, f, nil)
		x.damage = err
		_ = f.Close() // it was only read
		m := markedSum.FindStringSubmatch(a.Notes)
		x.verified = err == nil && m != nil && m[1] == report.SHA256
		if m != nil && !x.verified {
			w.t.Errorf("%s is marked as verified, and is not what was verified: %v", a.VolID, err)
		}
		id := fmt.Sprint(a.Guest)
		out.fresh[id] = append(out.fresh[id], x)
	}
	for _, a := range w.old {
		if !there[a.VolID] {
			out.gone = append(out.gone, a.VolID)
		}
	}
	slices.Sort(out.gone)
	text, err := w.lab.State()
	if err != nil {
		w.t.Fatal(err)
	}
	var state struct {
		Guests []struct {
			VMID   int
			Lock   string
			Frozen bool
		}
		Tasks []struct {
			Type, Node string
			End        time.Time
		}
	}
	if err := json.Unmarshal(text, &state); err != nil {
		w.t.Fatal(err)
	}
	for _, g := range state.Guests {
		if g.Lock != "" {
			out.locked = append(out.locked, fmt.Sprint(g.VMID))
		}
		if g.Frozen {
			out.frozen = append(out.frozen, fmt.Sprint(g.VMID))
		}
	}
	for _, task := range state.Tasks {
		if task.End.IsZero() {
			out.running = append(out.running, task.Type+" on "+task.Node)
		}
	}
	return out
}

// whole is the guest's archive of a run that is whole and marked so, if there
// is one; run "" is any.
func (s seenWorld) whole(guest, run string) bool {
	return slices.ContainsFunc(s.fresh[guest], func(a freshArchive) bool {
		return a.verified && (run == "" || a.run == run)
	})
}

// named are words that tell a person where to look: a guest, the storage, a
// node's or the cluster's part of the API.
var named = regexp.MustCompile(`\b(100|101|105)\b|the storage backup|storage 'backup'|/cluster/|/nodes|/storage|/access/`)

// judge runs the cell and holds what it did against what was promised.
func (w *faultWorld) judge(want seenWorld, wantDone []string, ends *endTable) {
	t := w.t
	r := w.run()
	said := w.words(r)
	now := w.look()
	w.mu.Lock()
	struck := w.struck > 0 || w.cell.lock != 0 && w.armed
	w.mu.Unlock()
	ends.add(w.cell.fault, r, struck)
	defer func() {
		if t.Failed() {
			t.Logf("exit %d\n%s", r.Exit, said)
		}
	}()
	w.promised(r, now, want)
	if r.Exit != 0 && !named.MatchString(said) {
		t.Errorf("the error names neither guest nor storage nor request")
	}
	suspended := r.End == engine.Suspended
	if suspended != strings.Contains(said, "go on with: nixmox resume "+r.ID) {
		t.Errorf("it ended %s, and does not say so", r.End)
	}
	if !suspended && len(now.running) > 0 && !strings.Contains(said, "UPID:") {
		t.Errorf("still running, and nobody says so: %v", now.running)
	}
	if len(now.running) == 0 {
		w.unlocked(now)
	}
	w.mend()
	stopped := suspended && w.cell.strikes.Kind == "hang" && !w.cell.moveOn
	if stopped {
		w.lab.StopTasks() // as an administrator would
	}
	w.lab.MoveOn()
	w.lab.Advance(time.Hour)
	if suspended {
		r = w.resume(r.ID)
		said += "resumed:\n" + w.words(r)
		now = w.look()
		w.promised(r, now, want)
		switch {
		case r.End == engine.Suspended || r.Exit != 0 && !stopped:
			t.Errorf("resumed: %s, exit %d", r.End, r.Exit)
		case r.Exit == 0:
			got := slices.Sorted(slices.Values(w.done))
			if wanted := slices.Sorted(slices.Values(wantDone)); !slices.Equal(got, wanted) {
				t.Errorf("asked of Proxmox:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(wanted, "\n  "))
			}
		}
	}
	if r.Exit != 0 {
		r = w.run()
		said += "once more:\n" + w.words(r)
		now = w.look()
		if r.Exit != 0 {
			t.Errorf("a new run after the fault is gone: exit %d", r.Exit)
		}
		w.promised(r, now, want)
	}
	now = w.look()
	w.unlocked(now)
	if len(now.running) > 0 {
		t.Errorf("still running at the end: %v", now.running)
	}
}

// promised: exit 0 only if each guest has a new archive of this run that is
// whole and marked as verified, and exactly what the rules let go is gone.
// Otherwise nothing is gone of a guest without a verified new archive.
func (w *faultWorld) promised(r engine.Report, now, want seenWorld) {
	w.t.Helper()
	for _, volid := range now.gone {
		guest := guestIn.FindStringSubmatch(volid)[1]
		if !slices.Contains(want.gone, volid) {
			w.t.Errorf("%s is gone, which the rules keep", volid)
		}
		if !now.whole(guest, "") {
			w.t.Errorf("%s is gone, and guest %s has no new archive that is whole and marked so", volid, guest)
		}
	}
	if r.Exit != 0 {
		return
	}
	for _, guest := range backedUp {
		if !now.whole(guest, r.ID) {
			w.t.Errorf("exit 0, and guest %s has no whole archive of this run that is marked so: %+v", guest, now.fresh[guest])
		}
	}
	if !slices.Equal(now.gone, want.gone) {
		w.t.Errorf("exit 0, and these are gone: %v; want: %v", now.gone, want.gone)
	}
	if len(now.frozen) > 0 && r.Warnings == 0 {
		w.t.Errorf("exit 0 without a warning, and frozen are: %v", now.frozen)
	}
}

var guestIn = regexp.MustCompile(`vzdump-(?:qemu|lxc)-(\d+)-`)

func (w *faultWorld) unlocked(now seenWorld) {
	w.t.Helper()
	for _, id := range now.locked {
		if w.cell.lock == 0 || id != fmt.Sprint(w.cell.lock) {
			w.t.Errorf("guest %s is left locked", id)
		}
	}
}

// endTable counts how the cells ended, by fault.
type endTable struct {
	mu   sync.Mutex
	rows map[string]*[4]int // done, failed, suspended, never struck
}

func (e *endTable) add(fault string, r engine.Report, struck bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rows == nil {
		e.rows = map[string]*[4]int{}
	}
	if e.rows[fault] == nil {
		e.rows[fault] = &[4]int{}
	}
	i := map[engine.End]int{engine.Done: 0, engine.Failed: 1, engine.Suspended: 2}[r.End]
	e.rows[fault][i]++
	if !struck {
		e.rows[fault][3]++
	}
}

func (e *endTable) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-44s %6s %6s %9s %12s\n", "fault", "done", "failed", "suspended", "never struck")
	for _, fault := range slices.Sorted(maps.Keys(e.rows)) {
		r := e.rows[fault]
		fmt.Fprintf(&b, "%-44s %6d %6d %9d %12d\n", fault, r[0], r[1], r[2], r[3])
	}
	return b.String()
}
