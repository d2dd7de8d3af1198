package sandbox

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"nixmox/engine/builtin"
	"nixmox/engine/language"
	"nixmox/engine/policy"
	"nixmox/engine/source"
)

// A frame is 4 bytes of length, 1 of kind, 8 of id, little-endian, and a JSON
// text. The length counts what follows it. Answers bear the id of what they
// answer, so that any number may be under way at once.
const (
	frameHead = 1 + 8
	// maxFrame bounds a frame to the evaluator: a list of some ten thousand
	// guests has a few MiB.
	maxFrame = 64 << 20
	// What the evaluator may say in one frame. The engine's memory for it is
	// some hundred bytes a value at most.
	maxSaid   = 4 << 20
	maxValues = 1 << 18
	maxDeep   = 128 // a language hands over values nested 64 deep
)

// kind says what a frame is.
type kind byte

// From the evaluator, and, below, from the engine.
const (
	kindReady  kind = 'r' // it is locked down, and what the kernel could not give
	kindFile   kind = 'f' // asks for a file of the playbook
	kindLoaded kind = 'l' // the playbook has loaded, or does not check
	kindCall   kind = 'c' // asks for a call
	kindLog    kind = 'g' // writes into the run's log
	kindLock   kind = 'k' // asks for locks
	kindUnlock kind = 'u' // gives locks back; no answer
	kindDefer  kind = 'd' // keeps a function for the end of the run; no answer
	kindEnded  kind = 'e' // main, or a function that was kept, has ended

	kindLoad   kind = 'L' // a playbook to load
	kindMain   kind = 'M' // run main
	kindKept   kind = 'K' // run a function that was kept for the end
	kindAnswer kind = 'A' // of file or lock, and of a call that failed
	kindResult kind = 'R' // of a call: its result, and nothing around it
	kindCancel kind = 'X' // what runs is to stop
)

type frame struct {
	kind   kind
	id     uint64
	body   []byte
	values int // by the count of bounded
}

// decode reads the body; what is too much or missing in it is an error where
// that matters, by the checks of whoever asked.
func (f *frame) decode(v any) error {
	if err := json.Unmarshal(f.body, v); err != nil {
		return fmt.Errorf("a frame of kind %q: %w", f.kind, err)
	}
	return nil
}

// bounded holds that what the evaluator says can be read with little memory:
// values and nesting are counted before anything is made of them.
func (f *frame) bounded() *builtin.Stop {
	f.values = 0
	deep, quoted := 0, false
	for i := 0; i < len(f.body); i++ {
		switch c := f.body[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			f.values++
			if deep++; deep > maxDeep {
				return builtin.Stopf(builtin.Limit, "the playbook hands over what is nested more than %d deep", maxDeep)
			}
		case c == '}' || c == ']':
			deep--
		case c == ',':
			f.values++
		}
		if f.values > maxValues {
			return builtin.Stopf(builtin.Limit, "the playbook hands over more than %d values at once", maxValues)
		}
	}
	return nil
}

// What the frames say.
type (
	readyBody struct {
		Missing []string `json:"missing,omitempty"`
	}
	loadBody struct {
		File      string          `json:"file"`
		Libraries []string        `json:"libraries,omitempty"` // names in the standard library
		Shown     string          `json:"shown"`               // how a person names the playbook's folder
		Limits    language.Limits `json:"limits"`
	}
	fileBody struct {
		Name string `json:"name"`
	}
	loadedBody struct {
		Doc      string          `json:"doc,omitempty"`
		Needs    []policy.Need   `json:"needs,omitempty"`
		Params   []paramBody     `json:"params,omitempty"`
		Files    []string        `json:"files,omitempty"` // in the order of the graph
		Uses     []language.Used `json:"uses,omitempty"`
		Problems source.Problems `json:"problems,omitempty"`
		Error    string          `json:"error,omitempty"`
	}
	mainBody struct {
		Run      string          `json:"run"`
		Playbook string          `json:"playbook"`
		Plan     bool            `json:"plan,omitempty"`
		Params   json.RawMessage `json:"params"`
	}
	callBody struct {
		Place    builtin.Place    `json:"place"`
		Call     string           `json:"call"`
		Args     json.RawMessage  `json:"args,omitempty"` // comes last
		At       builtin.Position `json:"at"`
		ReadOnly bool             `json:"read_only,omitempty"`
		Depth    int              `json:"depth,omitempty"`
		Held     []string         `json:"held,omitempty"` // keys that an enclosing with_lock holds
	}
	answerBody struct {
		Result json.RawMessage `json:"-"` // in a frame of its own kind
		Fault  json.RawMessage `json:"fault,omitempty"`
		Stop   *builtin.Stop   `json:"stop,omitempty"`
		Text   []byte          `json:"text,omitempty"`   // of a file
		Absent bool            `json:"absent,omitempty"` // there is no such file
		Error  string          `json:"error,omitempty"`  // why there is no text
	}
	logBody struct {
		Place builtin.Place    `json:"place,omitempty"`
		At    builtin.Position `json:"at"`
		Level string           `json:"level"`
		Text  string           `json:"text"`
	}
	lockBody struct {
		Place builtin.Place    `json:"place"`
		At    builtin.Position `json:"at"`
		Keys  []string         `json:"keys"`
	}
	deferBody struct {
		Place builtin.Place    `json:"place"`
		At    builtin.Position `json:"at"`
	}
	keptBody struct {
		Kept   uint64              `json:"kept"`
		Branch builtin.BranchState `json:"branch"`
	}
	endedBody struct {
		Fault  json.RawMessage     `json:"fault,omitempty"`
		Stop   *builtin.Stop       `json:"stop,omitempty"`
		Branch builtin.BranchState `json:"branch,omitzero"`
	}
)

// conn sends and receives frames. Sending is safe for many goroutines.
type conn struct {
	mu sync.Mutex
	w  io.Writer
	r  *bufio.Reader
	// How long a frame of either direction may be.
	maxSent, maxReceived int
}

// newConn makes an end of a conversation; says is how long a frame of it may
// be, hears one of the other's.
func newConn(rw io.ReadWriter, says, hears int) *conn {
	return &conn{w: rw, r: bufio.NewReaderSize(rw, 64<<10), maxSent: says, maxReceived: hears}
}

// send writes a frame in one piece. A text that is there already is not looked at.
func (c *conn) send(k kind, id uint64, body any) error {
	if text, ok := body.(json.RawMessage); ok {
		return c.sendText(k, id, text)
	}
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("a frame of kind %q: %w", k, err)
	}
	return c.sendText(k, id, text)
}

func (c *conn) sendText(k kind, id uint64, text []byte) error {
	if len(text)+frameHead > c.maxSent {
		return fmt.Errorf("a frame of kind %q has %d bytes, more than %d", k, len(text), c.maxSent)
	}
	head := make([]byte, 4+frameHead, 4+frameHead+len(text))
	binary.LittleEndian.PutUint32(head, uint32(frameHead+len(text)))
	head[4] = byte(k)
	binary.LittleEndian.PutUint64(head[5:], id)
	c.mu.Lock()
	defer c.mu.Unlock()
	_, err := c.w.Write(append(head, text...))
	return err
}

// receive reads the next frame. A length that cannot be is an error before
// anything is set aside for it, and a long frame is read piece by piece.
func (c *conn) receive() (*frame, error) {
	var head [4 + frameHead]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	if n < frameHead || uint64(n) > uint64(c.maxReceived) {
		return nil, fmt.Errorf("a frame says it has %d bytes", n)
	}
	f := &frame{kind: kind(head[4]), id: binary.LittleEndian.Uint64(head[5:])}
	left := int(n) - frameHead
	f.body = make([]byte, 0, min(left, 64<<10))
	for left > 0 {
		piece := min(left, max(cap(f.body)-len(f.body), 64<<10))
		start := len(f.body)
		f.body = append(f.body, make([]byte, piece)...)
		if _, err := io.ReadFull(c.r, f.body[start:]); err != nil {
			return nil, fmt.Errorf("a frame is cut short: %w", err)
		}
		left -= piece
	}
	return f, nil
}

// paramBody is a parameter of main on its way.
type paramBody struct {
	Name     string           `json:"name"`
	Type     string           `json:"type"`
	Doc      string           `json:"doc,omitempty"`
	Env      string           `json:"env,omitempty"`
	Required bool             `json:"required,omitempty"`
	Default  json.RawMessage  `json:"default,omitempty"`
	At       builtin.Position `json:"at"`
}

func (b *paramBody) param() (builtin.Param, error) {
	p := builtin.Param{Name: b.Name, Type: language.TypeNamed(b.Type), Doc: b.Doc, Env: b.Env, Required: b.Required, At: b.At}
	if p.Type == nil {
		return p, fmt.Errorf("the evaluator says that parameter %q is a %q", b.Name, b.Type)
	}
	if b.Default == nil {
		return p, nil
	}
	var err error
	p.Default, err = p.Decode(b.Default)
	return p, err
}

func bodyOf(p *builtin.Param) (paramBody, error) {
	b := paramBody{Name: p.Name, Type: language.TypeWord(p.Type), Doc: p.Doc, Env: p.Env, Required: p.Required, At: p.At}
	if p.Default == nil {
		return b, nil
	}
	var err error
	b.Default, err = p.Encode(p.Default)
	return b, err
}
