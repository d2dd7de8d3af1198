package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// forger is a process in the place of the evaluator. It can say anything.
type forger struct {
	*conn
	load, main *frame
}

// raw sends a frame whose text is no matter of json.Marshal.
func (f forger) raw(k kind, id uint64, text string) { _ = f.send(k, id, json.RawMessage(text)) }

// bytes sends what may be no frame at all.
func (f forger) bytes(b ...byte) { _, _ = f.w.Write(b) }

func (f forger) loaded(body loadedBody) { _ = f.send(kindLoaded, f.load.id, body) }

// honest is what an evaluator would say of the playbook.
func (f forger) honest() loadedBody {
	return loadedBody{Needs: []policy.Need{{Module: "box", What: "change"}}, Files: []string{"play.fake"}}
}

func (f forger) call(place, call, args string) {
	f.raw(kindCall, 7, fmt.Sprintf(`{"place":%q,"call":%q,"args":%s,"at":{"file":"books/play.fake","line":1}}`, place, call, args))
}

// asks asks for a file and tells whether it got one, by saying so in an error.
func (f forger) asks(name string) {
	_ = f.send(kindFile, 9, fileBody{Name: name})
	answer, err := f.receive()
	var a answerBody
	if err == nil {
		err = answer.decode(&a)
	}
	f.loaded(loadedBody{Error: fmt.Sprintf("got %q, %s, %v", a.Text, a.Error, err)})
}

// forgery is one kind of nonsense. Where load is nil it is honest, and main is
// the nonsense.
type forgery struct {
	load, main func(forger)
	kind       builtin.StopKind // of the stop that ends the run; "" for another error
	says       string           // what the error has in it
}

const fillArgs = `{"box":"a1","guest":100,"amount":1,"after":""}`

func repeat(n int, say func(i int)) {
	for i := range n {
		say(i)
	}
}

func ends(body string) func(forger) { return func(f forger) { f.raw(kindEnded, f.main.id, body) } }

func asking(name string) forgery {
	return forgery{load: func(f forger) { f.asks(name) }, says: `got "", `}
}

// deep is a value nested n deep.
func deep(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

// forgeries by name. The engine performs calls of box.fill on boxes a*.
var forgeries = map[string]forgery{
	// Frames that are none.
	"no length":        {load: func(f forger) { f.bytes(make([]byte, 13)...) }, kind: builtin.Died, says: "0 bytes"},
	"huge length":      {load: func(f forger) { f.bytes(255, 255, 255, 255, 'l', 0, 0, 0, 0, 0, 0, 0, 0) }, kind: builtin.Died, says: "4294967295 bytes"},
	"length above":     {load: func(f forger) { f.bytes(1, 0, 64, 0, 'l', 0, 0, 0, 0, 0, 0, 0, 0) }, kind: builtin.Died, says: "bytes"},
	"cut short":        {load: func(f forger) { f.bytes(100, 0, 0, 0, 'l', 1, 0, 0, 0, 0, 0, 0, 0, '{'); os.Exit(0) }, kind: builtin.Died},
	"no JSON":          {load: func(f forger) { f.bytes(10, 0, 0, 0, 'l', 1, 0, 0, 0, 0, 0, 0, 0, '{') }, says: "JSON"},
	"huge frame":       {load: func(f forger) { _ = f.send(kindLoaded, f.load.id, loadedBody{Doc: strings.Repeat("x", 2*maxSaid)}) }, kind: builtin.Died, says: "bytes"},
	"nested":           {load: func(f forger) { f.raw(kindLoaded, f.load.id, deep(1000)) }, says: "nested"},
	"a million values": {load: func(f forger) { f.raw(kindLoaded, f.load.id, `{"uses":[{}`+strings.Repeat(",{}", 1<<20)+`]}`) }, says: "values"},

	// Loading.
	"wrong kind for load":    {load: func(f forger) { f.raw(kindEnded, f.load.id, `{}`) }, kind: builtin.Died, says: "it answered"},
	"unknown kind":           {load: func(f forger) { f.raw('?', 1, `{}`) }, kind: builtin.Died, says: `'?'`},
	"ready again":            {load: func(f forger) { f.raw(kindReady, 1, `{}`) }, kind: builtin.Died, says: `'r'`},
	"the engine's own kind":  {load: func(f forger) { f.raw(kindAnswer, 1, `{}`) }, kind: builtin.Died, says: `'A'`},
	"loaded with unknown id": {load: func(f forger) { f.raw(kindLoaded, 999, `{}`) }, kind: builtin.Died, says: "an answer to nothing"},
	"loaded twice":           {load: func(f forger) { f.loaded(f.honest()); f.loaded(f.honest()) }, kind: builtin.Died, says: "an answer to nothing"},
	"call while loading":     {load: func(f forger) { f.call("1", "box.fill", fillArgs) }, kind: builtin.Died, says: "while the playbook loads"},
	"log while loading":      {load: func(f forger) { f.raw(kindLog, 0, `{"level":"info"}`) }, kind: builtin.Died, says: "while the playbook loads"},
	"lock while loading":     {load: func(f forger) { f.raw(kindLock, 5, `{"keys":["a"]}`) }, kind: builtin.Died, says: "while the playbook loads"},
	"a problem that is none": {load: func(f forger) { f.raw(kindLoaded, f.load.id, `{"problems":[null]}`) }, says: "a problem that is none"},
	"files it was not given": {load: func(f forger) { b := f.honest(); b.Files = []string{"/etc/passwd", "play.fake"}; f.loaded(b) }, says: "which it was not given"},
	"no files":               {load: func(f forger) { f.loaded(loadedBody{}) }, says: "did not load"},
	"another main":           {load: func(f forger) { f.raw(kindLoaded, f.load.id, `{"files":[]}`) }, says: "did not load"},
	"a type that is none":    {load: func(f forger) { b := f.honest(); b.Params = []paramBody{{Name: "n", Type: "socket"}}; f.loaded(b) }, says: `"socket"`},
	"two parameters": {load: func(f forger) {
		b := f.honest()
		b.Params = []paramBody{{Name: "n", Type: "int"}, {Name: "n", Type: "int"}}
		f.loaded(b)
	}, says: `called "n"`},
	"a parameter's name": {load: func(f forger) { b := f.honest(); b.Params = []paramBody{{Name: "a=\x1b", Type: "int"}}; f.loaded(b) }, says: "a parameter is called"},
	"a default of no type": {load: func(f forger) {
		b := f.honest()
		b.Params = []paramBody{{Name: "n", Type: "int", Default: json.RawMessage(`{"a":[]}`)}}
		f.loaded(b)
	}, says: "n: "},
	"file ..":                 asking("../secret.fake"),
	"file far ..":             asking("x/../../secret.fake"),
	"file absolute":           asking("/etc/passwd"),
	"file absolute as it is":  asking("/secret.fake"),
	"file of a process":       asking("/proc/self/environ"),
	"file of a process, near": asking("../../../../../../proc/self/environ"),
	"file through a link":     asking("link.fake"),
	"folder through a link":   asking("linked/secret.fake"),
	"file of no name":         asking(""),
	"file with a zero":        asking("play.fake\x00.fake"),
	"file that is a folder":   asking("folder.fake"),
	"file that is a pipe":     asking("pipe.fake"),
	"file that is large":      asking("large.fake"),
	"file of another ending":  asking("notes.txt"),
	"library ..":              asking("@std//../play.fake"),
	"library absolute":        asking("@std///etc/passwd"),
	"asking for ever": {load: func(f forger) {
		repeat(100_000, func(int) { _ = f.send(kindFile, 9, fileBody{Name: "gone.fake"}) })
	}, says: "files"},

	// Running.
	"a file after load":       {main: func(f forger) { _ = f.send(kindFile, 9, fileBody{Name: "play.fake"}) }, kind: builtin.Died, says: "after the playbook had loaded"},
	"wrong kind for main":     {main: func(f forger) { f.raw(kindLoaded, f.main.id, `{}`) }, kind: builtin.Died, says: "it answered"},
	"ended with unknown id":   {main: func(f forger) { f.raw(kindEnded, 999, `{}`) }, kind: builtin.Died, says: "an answer to nothing"},
	"ended is no object":      {main: ends(`[]`), kind: builtin.Died, says: "how the evaluator says that it ended"},
	"ended before its calls":  {main: func(f forger) { f.call("1", "box.fill", `{"box":"a1","amount":-9}`); f.raw(kindEnded, f.main.id, `{}`) }, kind: builtin.Died, says: "of its calls had not"},
	"an unknown stop":         {main: ends(`{"stop":{"Kind":"fine"}}`), kind: builtin.Died, says: "was stopped"},
	"a stop of the engine's":  {main: ends(`{"stop":{"Kind":"in_doubt","What":"x"}}`), kind: builtin.Died, says: "was stopped"},
	"cancelled by nobody":     {main: ends(`{"stop":{"Kind":"cancelled","What":"x"}}`), kind: builtin.Died, says: "was stopped"},
	"a plan that is none":     {main: ends(`{"stop":{"Kind":"plan_ends","What":"x"}}`), kind: builtin.Died, says: "this is none"},
	"a limit without a place": {main: ends(`{"stop":{"Kind":"limit","What":"steps","At":{"file":"/etc/passwd"}}}`), kind: builtin.Limit, says: "steps"},
	"a long error":            {main: ends(`{"stop":{"Kind":"limit","What":"` + strings.Repeat("x", 1<<20) + `"}}`), kind: builtin.Limit, says: "KiB"},
	"a fault that is none":    {main: ends(`{"fault":[1]}`), says: "cannot unmarshal"},
	"an unknown module":       {main: func(f forger) { f.call("1", "disk.wipe", `{}`) }, kind: builtin.Died, says: `"disk.wipe"`},
	"an unknown function":     {main: func(f forger) { f.call("1", "box.wipe", `{}`) }, kind: builtin.Died, says: `"box.wipe"`},
	"a pure function":         {main: func(f forger) { f.call("1", "box.double", `{"n":1}`) }, kind: builtin.Died, says: `"box.double"`},
	"a function at hand":      {main: func(f forger) { f.call("1", "with_lock", `{"keys":[]}`) }, kind: builtin.Died, says: `"with_lock"`},
	"no function":             {main: func(f forger) { f.call("1", "", `{}`) }, kind: builtin.Died, says: "a call of"},
	"no place":                {main: func(f forger) { f.call("", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"a place of words":        {main: func(f forger) { f.call("1.x", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"place zero":              {main: func(f forger) { f.call("0", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"one written otherwise":   {main: func(f forger) { f.call("01", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"a negative place":        {main: func(f forger) { f.call("-1", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"a long place":            {main: func(f forger) { f.call(strings.Repeat("1.", 200)+"1", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"a place used twice":      {main: func(f forger) { f.call("1", "box.fill", fillArgs); f.call("1", "box.fill", fillArgs) }, kind: builtin.Died, says: "the place"},
	"a position elsewhere":    {main: func(f forger) { f.raw(kindCall, 1, `{"place":"1","call":"box.fill","at":{"file":"/etc/shadow"}}`) }, kind: builtin.Died, says: "/etc/shadow"},
	"a level that is none":    {main: func(f forger) { f.raw(kindLog, 0, `{"level":"\u001b[2J"}`) }, kind: builtin.Died, says: "a line of the level"},
	"a long line of no level": {main: func(f forger) { f.raw(kindLog, 0, `{"level":"x","text":"`+strings.Repeat("x", maxLine+1)+`"}`) }, kind: builtin.Died, says: "a line of the level"},
	"a flood of lines":        {main: func(f forger) { repeat(10_000_000, func(int) { f.raw(kindLog, 0, `{"level":"info","text":"x"}`) }) }, kind: builtin.Limit, says: "logs more than"},
	"a flood of long lines": {main: func(f forger) {
		repeat(1000, func(int) { f.raw(kindLog, 0, `{"level":"info","text":"`+strings.Repeat("x", 1<<20)+`"}`) })
	}, kind: builtin.Limit, says: "logs more than"},
	"10^6 calls": {main: func(f forger) {
		go func() {
			for {
				if _, err := f.receive(); err != nil {
					os.Exit(0)
				}
			}
		}()
		repeat(1_000_000, func(i int) { f.call(strconv.Itoa(i+1), "box.fill", `{"box":"b1"}`) })
	}, says: "more than"},
	"10^6 calls, hearing nothing": {main: func(f forger) {
		repeat(1_000_000, func(i int) { f.call(strconv.Itoa(i+1), "box.fill", `{"box":"b1"}`) })
	}, says: "more than"},
	"large arguments": {main: func(f forger) {
		repeat(100, func(i int) {
			f.call(strconv.Itoa(i+1), "box.fill", `{"box":"a1","amount":-9,"after":"`+strings.Repeat("x", 3<<20)+`"}`)
		})
	}, kind: builtin.Limit, says: "MiB"},
	"nested arguments": {main: func(f forger) { f.call("1", "box.fill", `{"box":`+deep(500)+`}`) }, kind: builtin.Limit, says: "nested"},
	"many locks": {main: func(f forger) {
		repeat(100_000, func(i int) { f.raw(kindLock, uint64(i), fmt.Sprintf(`{"place":"%d","keys":["%d"]}`, i+1, i)) })
	}, kind: builtin.Limit, says: "locks more than"},
	"a long key":             {main: func(f forger) { f.raw(kindLock, 1, `{"place":"1","keys":["`+strings.Repeat("k", 1<<20)+`"]}`) }, kind: builtin.Limit, says: "locks more than"},
	"a lock that it has":     {main: func(f forger) { repeat(2, func(int) { f.raw(kindLock, 1, `{"place":"1","keys":["k"]}`) }) }, kind: builtin.Died, says: "locks at the place"},
	"a lock nowhere":         {main: func(f forger) { f.raw(kindLock, 1, `{"keys":["k"]}`) }, kind: builtin.Died, says: "locks at the place"},
	"a flood of functions":   {main: func(f forger) { repeat(1_000_000, func(i int) { f.raw(kindDefer, uint64(i), `{}`) }) }, kind: builtin.Limit, says: "defers more than"},
	"unlocking what is not":  {main: func(f forger) { repeat(1000, func(i int) { f.raw(kindUnlock, uint64(i), `{}`) }); f.raw('!', 0, `{}`) }, kind: builtin.Died, says: `'!'`},
	"words of its own":       {main: func(forger) { _, _ = os.Stderr.WriteString(strings.Repeat("\x1b[2Jfake\n", 1<<20)); os.Exit(1) }, kind: builtin.Died, says: "fake"},
	"out of memory, it says": {main: func(forger) { _, _ = os.Stderr.WriteString("fatal error: out of memory"); os.Exit(2) }, kind: builtin.Limit, says: "64 MiB"},
}

// refused are calls that are answered with a fault or a stop, and not made.
var refused = map[string]string{
	"an empty name":            `{"box":"","guest":100}`,
	"guest 0":                  `{"box":"a1","guest":0}`,
	"a guest below 100":        `{"box":"a1","guest":1}`,
	"a name against grammar":   `{"box":"a1;rm -rf /","guest":100}`,
	"a name like an option":    `{"box":"-a1"}`,
	"a path for a name":        `{"box":"a/../../b"}`,
	"a name with a line break": `{"box":"a1\n"}`,
	"a value to come, no plan": `{"box":"a1","after":{"known_after":"1"}}`,
	"no box":                   `{}`,
	"an unknown argument":      `{"box":"a1","force":true}`,
	"a list for a name":        `{"box":["a1"]}`,
	"a number too large":       `{"box":"a1","amount":99999999999999999999999999}`,
	"a fraction":               `{"box":"a1","amount":1.5}`,
	"null":                     `null`,
	"a list":                   `[]`,
	"not among the needs":      `{"box":"b1","guest":100}`,
}

// forge is the life of a process that forges: it says that the kernel has no
// moon, asks for its playbook, whose text names the forgery, and does that.
func forge(limit string) {
	addressSpace, err := strconv.ParseUint(limit, 10, 64)
	if err != nil {
		panic(err)
	}
	if _, err := lockDown(addressSpace + 1<<30); err != nil {
		panic(err)
	}
	f := forger{conn: newConn(os.NewFile(conversation, "engine"), 1<<30, 1<<30)}
	if err := f.send(kindReady, 0, readyBody{Missing: []string{"moon"}}); err != nil {
		return
	}
	receive := func() *frame {
		for {
			got, err := f.receive()
			if err != nil {
				os.Exit(0)
			}
			if got.kind != kindCancel {
				return got
			}
		}
	}
	f.load = receive()
	_ = f.send(kindFile, 1, fileBody{Name: "play.fake"})
	var a answerBody
	if err := receive().decode(&a); err != nil {
		panic(err)
	}
	if args, ok := refused[string(a.Text)]; ok {
		f.loaded(f.honest())
		f.main = receive()
		f.call("1", "box.fill", args)
		var answer answerBody
		if err := receive().decode(&answer); err != nil {
			panic(err)
		}
		if answer.Fault == nil && answer.Stop == nil {
			panic("it was performed")
		}
		f.raw(kindEnded, f.main.id, `{"fault":`+string(mustJSON(map[string]string{"kind": "failed", "what": "refused"}))+`}`)
	} else if forged := forgeries[string(a.Text)]; forged.load != nil {
		forged.load(f)
	} else {
		f.loaded(f.honest())
		f.main = receive()
		forged.main(f)
	}
	for {
		receive()
	}
}

// folder is a playbook's folder beside things that are not its own.
func folder(t *testing.T, text string) source.Roots {
	t.Helper()
	dir := t.TempDir()
	books := filepath.Join(dir, "books")
	for _, err := range []error{
		os.MkdirAll(filepath.Join(books, "folder.fake"), 0o700),
		os.WriteFile(filepath.Join(dir, "secret.fake"), []byte("secret"), 0o600),
		os.WriteFile(filepath.Join(books, "notes.txt"), []byte("private"), 0o600),
		os.WriteFile(filepath.Join(books, "large.fake"), bytes.Repeat([]byte("x"), source.MaxFile+1), 0o600),
		os.WriteFile(filepath.Join(books, "play.fake"), []byte(text), 0o600),
		os.Symlink("../secret.fake", filepath.Join(books, "link.fake")),
		os.Symlink("..", filepath.Join(books, "linked")),
		mkfifo(filepath.Join(books, "pipe.fake")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	roots, _, err := source.Dir(filepath.Join(books, "play.fake"), fstest.MapFS{"std.fake": {Data: []byte("x")}})
	if err != nil {
		t.Fatal(err)
	}
	roots.Shown = "books/"
	t.Cleanup(func() {
		if err := roots.Close(); err != nil {
			t.Error(err)
		}
	})
	return roots
}

// peak is the most memory that this process has had resident since resetPeak.
func peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.Atoi(string(regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

func resetPeak(t *testing.T) {
	t.Helper()
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// mayGrow is by how much the engine's memory may grow, whatever is said to it.
const mayGrow = 64 << 20

func runForged(t *testing.T, name string) (*played, error) {
	t.Helper()
	p := newPlayed(nil)
	p.run.Log = func(_ builtin.Call, level, text string) {
		if len(text) > maxLine+8 {
			t.Errorf("a line of %d bytes", len(text))
		}
	}
	var playbook *language.Playbook
	resetPeak(t)
	before := peak(t)
	playbook, err := p.loadFrom(t, Options{Memory: 512<<20 + forging}, folder(t, name))
	if err == nil {
		p.run.Perform = gated(p)
		err = playbook.Main(builtin.WithBranch(t.Context(), builtin.NewBranch()), p.run, map[string]any{})
		if closeErr := playbook.Close(); closeErr != nil {
			t.Error(closeErr)
		}
	}
	if grown := peak(t) - before; grown > mayGrow && !raceDetector {
		t.Errorf("the engine's memory grew by %d MiB", grown>>20)
	}
	return p, err
}

func TestForged(t *testing.T) {
	for name, forged := range forgeries {
		t.Run(name, func(t *testing.T) {
			p, err := runForged(t, name)
			if err == nil {
				t.Fatal("the run is done")
			}
			if kind := stopKind(err); forged.kind != "" && kind != forged.kind {
				t.Errorf("the run ended as %q, want %q: %.300v", kind, forged.kind, err)
			}
			if !strings.Contains(err.Error(), forged.says) && !strings.Contains(err.Error(), strings.ReplaceAll(forged.says, "64 MiB", "512 MiB")) {
				t.Errorf("it ended with %.300v, want something with %q", err, forged.says)
			}
			for _, call := range p.calls {
				if !strings.Contains(call, " a1 ") {
					t.Errorf("performed: %s", call)
				}
			}
		})
	}
}

func TestForgedCallsAreRefused(t *testing.T) {
	for name := range refused {
		t.Run(name, func(t *testing.T) {
			p, err := runForged(t, name)
			var fault *builtin.Fault
			if !errors.As(err, &fault) || fault.What != "refused" {
				t.Errorf("the run ended with %v", err)
			}
			if len(p.calls) > 0 {
				t.Errorf("performed: %q", p.calls)
			}
		})
	}
}
