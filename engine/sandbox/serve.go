package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/source"
)

// Loader loads a playbook in its language.
type Loader func(ctx context.Context, d language.Definitions, roots source.Roots, file string) (*language.Playbook, error)

// Serve is the life of an evaluator: this process locks itself down, loads the
// playbook that it is sent, and runs it until the conversation ends. It never
// returns. args are what follows Argument on the command line.
func Serve(args []string, d language.Definitions, load Loader) {
	if err := serve(args, d, load); !errors.Is(err, io.EOF) {
		_, _ = fmt.Fprintln(os.Stderr, "evaluator:", err) // the parent reads it, if it is there
		os.Exit(1)
	}
	os.Exit(0)
}

func serve(args []string, d language.Definitions, load Loader) error {
	if len(args) != 1 {
		return errors.New("it is started by nixmox itself, not by hand")
	}
	addressSpace, err := strconv.ParseUint(args[0], 10, 64)
	if err != nil {
		return err
	}
	// One thread at a time: there is little to compute, calls are answered
	// sooner where none have to be woken, and the other cores are the engine's.
	runtime.GOMAXPROCS(1)
	if err := unix.SetNonblock(conversation, true); err != nil { // so that waiting for it holds no thread
		return err
	}
	engine := os.NewFile(conversation, "engine")
	missing, err := lockDown(addressSpace)
	if err != nil {
		return err
	}
	e := &evaluator{conn: newConn(engine, maxSaid, maxFrame), definitions: d, load: load, asked: map[uint64]chan *frame{}}
	if err := e.conn.send(kindReady, 0, readyBody{Missing: missing}); err != nil {
		return err
	}
	return e.receiveAll()
}

// evaluator is the child's side.
type evaluator struct {
	conn        *conn
	definitions language.Definitions
	load        Loader
	playbook    *language.Playbook

	ids   atomic.Uint64
	mu    sync.Mutex // of what follows
	asked map[uint64]chan *frame
	run   *builtin.Run
	kept  map[uint64]builtin.Callback
	stop  context.CancelCauseFunc
}

func (e *evaluator) receiveAll() error {
	for {
		f, err := e.conn.receive()
		if err != nil {
			return err
		}
		switch f.kind {
		case kindAnswer, kindResult:
			e.mu.Lock()
			answer := e.asked[f.id]
			delete(e.asked, f.id)
			e.mu.Unlock()
			if answer != nil {
				answer <- f
			}
		case kindLoad:
			go func() { e.say(kindLoaded, f.id, e.loaded(f)) }()
		case kindMain:
			go func() { e.say(kindEnded, f.id, e.main(f)) }()
		case kindKept:
			go func() { e.say(kindEnded, f.id, e.runKept(f)) }()
		case kindCancel:
			e.mu.Lock()
			if e.stop != nil {
				e.stop(builtin.Stopf(builtin.Cancelled, "the run is over"))
			}
			e.mu.Unlock()
		}
	}
}

// say sends; when nobody listens any more there is nothing left to do.
func (e *evaluator) say(k kind, id uint64, body any) {
	if err := e.conn.send(k, id, body); err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "evaluator:", err)
		os.Exit(1)
	}
}

// ask sends and waits for the answer.
func (e *evaluator) ask(ctx context.Context, k kind, body any) (answerBody, error) {
	id := e.ids.Add(1)
	return e.askAs(ctx, id, k, body)
}

func (e *evaluator) askAs(ctx context.Context, id uint64, k kind, body any) (answerBody, error) {
	answer := make(chan *frame, 1)
	e.mu.Lock()
	e.asked[id] = answer
	e.mu.Unlock()
	if err := e.conn.send(k, id, body); err != nil {
		return answerBody{}, builtin.Stopf(builtin.Limit, "%v", err)
	}
	select {
	case f := <-answer:
		if f.kind == kindResult {
			return answerBody{Result: f.body}, nil
		}
		var a answerBody
		if err := f.decode(&a); err != nil {
			return a, err
		}
		if a.Stop != nil {
			return a, a.Stop
		}
		return a, nil
	case <-ctx.Done():
		return answerBody{}, context.Cause(ctx)
	}
}

// files are the roots of the playbook, which only the parent can open.
type files struct {
	e         *evaluator
	prefix    string // source.Std or ""
	libraries []string
}

func (r files) Open(name string) (fs.File, error) {
	a, err := r.e.ask(context.Background(), kindFile, fileBody{Name: r.prefix + name})
	if err == nil && a.Absent {
		err = fs.ErrNotExist
	} else if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{Reader: bytes.NewReader(a.Text), name: name, size: int64(len(a.Text))}, nil
}

// Glob lists the standard library, whatever the pattern.
func (r files) Glob(string) ([]string, error) {
	names := make([]string, len(r.libraries))
	for i, name := range r.libraries {
		names[i] = strings.TrimPrefix(name, source.Std)
	}
	return names, nil
}

// file is one that was read to its end by the parent.
type file struct {
	*bytes.Reader
	name string
	size int64
}

func (f *file) Close() error               { return nil }
func (f *file) Stat() (fs.FileInfo, error) { return f, nil }
func (f *file) Name() string               { return f.name }
func (f *file) Size() int64                { return f.size }
func (f *file) Mode() fs.FileMode          { return 0o444 }
func (f *file) ModTime() time.Time         { return time.Time{} }
func (f *file) IsDir() bool                { return false }
func (f *file) Sys() any                   { return nil }

func (e *evaluator) loaded(f *frame) (l loadedBody) {
	var asked loadBody
	if err := f.decode(&asked); err != nil {
		return loadedBody{Error: err.Error()}
	}
	d := e.definitions
	d.Limits = asked.Limits
	roots := source.Roots{Playbook: files{e: e}, Shown: asked.Shown, Std: files{e, source.Std, asked.Libraries}}
	p, err := e.load(context.Background(), d, roots, asked.File)
	if problems, ok := errors.AsType[source.Problems](err); ok {
		return loadedBody{Problems: problems}
	}
	if problem, ok := errors.AsType[*source.Problem](err); ok {
		return loadedBody{Problems: source.Problems{problem}}
	}
	if err != nil {
		return loadedBody{Error: err.Error()}
	}
	e.playbook = p
	l = loadedBody{Doc: p.Doc, Needs: p.Needs, Uses: p.Uses()}
	for _, file := range p.Graph.Files {
		l.Files = append(l.Files, file.Name)
	}
	for i := range p.Params {
		body, err := bodyOf(&p.Params[i])
		if err != nil {
			return loadedBody{Error: err.Error()}
		}
		l.Params = append(l.Params, body)
	}
	return l
}

func (e *evaluator) main(f *frame) endedBody {
	var asked mainBody
	if err := f.decode(&asked); err != nil {
		return ended(err)
	}
	values := map[string]any{}
	var params map[string]json.RawMessage
	if err := json.Unmarshal(asked.Params, &params); err != nil {
		return ended(err)
	}
	for i := range e.playbook.Params {
		p := &e.playbook.Params[i]
		v, err := p.Decode(params[p.Name])
		if err != nil {
			return ended(err)
		}
		values[p.Name] = v
	}
	run := &builtin.Run{
		ID: asked.Run, Playbook: asked.Playbook, Now: func() time.Time { return time.Time{} },
		Perform: e.perform, Log: e.log, Lock: e.lock, Defer: e.keep,
	}
	if asked.Plan {
		run.Planned = &builtin.Overlay{}
	}
	ctx, done := e.begin()
	defer done()
	e.mu.Lock()
	e.run, e.kept = run, map[uint64]builtin.Callback{}
	e.mu.Unlock()
	return ended(e.playbook.Main(builtin.WithBranch(ctx, builtin.NewBranch()), run, values))
}

// begin makes a context that the parent can cancel.
func (e *evaluator) begin() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stop = cancel
	return ctx, func() { cancel(nil) }
}

func (e *evaluator) runKept(f *frame) endedBody {
	var asked keptBody
	if err := f.decode(&asked); err != nil {
		return ended(err)
	}
	e.mu.Lock()
	fn := e.kept[asked.Kept]
	e.mu.Unlock()
	if fn == nil {
		return ended(fmt.Errorf("no function %d was kept", asked.Kept))
	}
	ctx, done := e.begin()
	defer done()
	branch := builtin.BranchAt(asked.Branch)
	_, err := fn.Call(builtin.WithBranch(ctx, branch))
	body := ended(err)
	body.Branch = branch.State()
	return body
}

func ended(err error) endedBody {
	if err == nil {
		return endedBody{}
	}
	if stop, ok := errors.AsType[*builtin.Stop](err); ok {
		return endedBody{Stop: stop}
	}
	fault := builtin.AsFault(err)
	if fault == nil {
		return endedBody{Stop: builtin.Stopf(builtin.Cancelled, "%v", err)}
	}
	text, err := (*builtin.Func)(nil).EncodeFault(fault)
	if err != nil {
		return endedBody{Stop: builtin.Stopf(builtin.Died, "%v", err)}
	}
	return endedBody{Fault: text}
}

// perform asks the parent for a call.
func (e *evaluator) perform(ctx context.Context, call builtin.Call) (any, error) {
	body := callBody{Place: call.Place, Call: call.Func.QualifiedName(), At: call.At}
	if call.Branch != nil {
		body.ReadOnly, body.Depth = call.Branch.ReadOnly, call.Branch.Depth
	}
	body.Held, _ = builtin.HeldFrom(ctx)
	// The arguments may be a list of thousands, which json.Marshal would read
	// once more to put it into the body.
	text, err := json.Marshal(body)
	if err == nil {
		text, err = (builtin.Typed{Type: call.Func.Args, Value: call.Args}).AppendJSON(append(text[:len(text)-1], `,"args":`...))
	}
	if err != nil {
		return nil, builtin.Faultf(builtin.Invalid, "%s", call.Func.QualifiedName()).Because(err)
	}
	a, err := e.askAs(ctx, e.ids.Add(1), kindCall, json.RawMessage(append(text, '}')))
	if err != nil {
		return nil, err
	}
	if a.Fault != nil {
		fault, err := call.Func.DecodeFault(a.Fault)
		if err != nil {
			return nil, err
		}
		return nil, fault
	}
	return call.Func.Result.Decode(a.Result)
}

func (e *evaluator) log(call builtin.Call, level, text string) {
	e.say(kindLog, 0, logBody{Place: call.Place, At: call.At, Level: level, Text: text})
}

func (e *evaluator) lock(ctx context.Context, call builtin.Call, keys []string) (release func(), err error) {
	id := e.ids.Add(1)
	a, err := e.askAs(ctx, id, kindLock, lockBody{Place: call.Place, At: call.At, Keys: keys})
	if err == nil && a.Fault != nil {
		var fault *builtin.Fault
		if fault, err = (*builtin.Func)(nil).DecodeFault(a.Fault); err == nil {
			err = fault
		}
	}
	if err != nil {
		return nil, err
	}
	return func() { e.say(kindUnlock, id, struct{}{}) }, nil
}

func (e *evaluator) keep(call builtin.Call, fn builtin.Callback) {
	id := e.ids.Add(1)
	e.mu.Lock()
	e.kept[id] = fn
	e.mu.Unlock()
	e.say(kindDefer, id, deferBody{Place: call.Place, At: call.At})
}
