package sandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"

	"nixmox/engine/builtin"
	"nixmox/engine/source"
)

// stream is a conversation whose other end says what it was told to.
type stream struct {
	io.Reader
	io.Writer
}

// frames are some that an evaluator says, one after another.
func frames(parts ...any) []byte {
	var out bytes.Buffer
	c := newConn(stream{nil, &out}, maxFrame, maxFrame)
	for i := 0; i < len(parts); i += 2 {
		if err := c.send(parts[i].(kind), uint64(i/2+1), parts[i+1]); err != nil {
			panic(err)
		}
	}
	return out.Bytes()
}

// FuzzReceive: whatever comes, the decoder ends, and what it takes for a frame
// is written as the same bytes.
func FuzzReceive(f *testing.F) {
	f.Add(frames(kindReady, readyBody{}, kindCall, callBody{Place: "1", Call: "box.fill"}))
	f.Add([]byte{255, 255, 255, 255, 'l', 0, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{100, 0, 0, 0, 'l', 0, 0, 0, 0, 0, 0, 0, 0, '{'})
	f.Fuzz(func(t *testing.T, said []byte) {
		c := newConn(stream{bytes.NewReader(said), io.Discard}, maxFrame, maxSaid)
		at := 0
		for {
			got, err := c.receive()
			if err != nil {
				return
			}
			var head [4 + frameHead]byte
			binary.LittleEndian.PutUint32(head[:], uint32(frameHead+len(got.body)))
			head[4] = byte(got.kind)
			binary.LittleEndian.PutUint64(head[5:], got.id)
			again := append(head[:], got.body...)
			if !bytes.Equal(again, said[at:at+len(again)]) {
				t.Fatalf("%q was read as %q", said[at:], again)
			}
			at += len(again)
			bounded := got.bounded() == nil
			var v any
			if got.decode(&v) == nil && bounded && depth(v) > maxDeep {
				t.Fatalf("it is nested %d deep", depth(v))
			}
		}
	})
}

func depth(v any) int {
	deepest := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
		return deepest + 1
	case map[string]any:
		for _, e := range v {
			deepest = max(deepest, depth(e))
		}
		return deepest + 1
	}
	return 0
}

// FuzzSession: whatever an evaluator says, the engine does not panic, performs
// nothing that the needs do not cover, and gives no file that is not the
// playbook's.
func FuzzSession(f *testing.F) {
	honest := callBody{Place: "1", Call: "box.fill", Args: json.RawMessage(`{"box":"a1","guest":100,"amount":1}`)}
	f.Add(frames(kindCall, honest, kindLog, logBody{Level: "info", Text: "x"}, kindEnded, endedBody{}), true)
	f.Add(frames(kindFile, fileBody{Name: "play.fake"}, kindFile, fileBody{Name: "../secret.fake"}, kindLoaded, loadedBody{Files: []string{"play.fake"}}), false)
	f.Add(frames(kindLock, lockBody{Place: "1", Keys: []string{"k"}}, kindUnlock, struct{}{}, kindDefer, deferBody{}, kindEnded, endedBody{Stop: builtin.Stopf("x", "y")}), true)
	honest.Args = json.RawMessage(`{"box":"b1"}`)
	f.Add(frames(kindCall, honest), true)
	ended := exec.Command("true") // a process that is gone can be killed without harm
	if err := ended.Run(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, said []byte, running bool) {
		p := newPlayed(nil)
		inner := p.run.Perform
		p.run.Perform = func(ctx context.Context, call builtin.Call) (any, error) {
			if !validPlace(call.Place) || call.Func.Effect == builtin.Pure {
				t.Errorf("a call of %s at %q", call.Func.QualifiedName(), call.Place)
			}
			return inner(ctx, call)
		}
		var answers bytes.Buffer
		c := newConn(stream{bytes.NewReader(said), &answers}, maxFrame, maxSaid)
		gone := &process{conn: c, died: make(chan struct{}), cmd: ended}
		s := &session{process: gone, definitions: p.defs, ending: ".fake", files: map[string]*source.File{}, shown: map[string]bool{"": true},
			roots:   source.Roots{Playbook: fstest.MapFS{"play.fake": {Data: []byte("x")}, "notes.txt": {Data: []byte("private")}}},
			waiting: map[uint64]chan *frame{}}
		answer := make(chan *frame, 1)
		if running {
			s.begin(t.Context(), p.run)
			s.waiting[3] = answer
		}
		for {
			frame, err := c.receive()
			if err != nil || frame.bounded() != nil || s.frame(frame) != nil {
				break
			}
		}
		if running {
			s.performing.Wait()
			select {
			case frame := <-answer:
				_, _ = s.ended(frame)
			default:
			}
			s.settle(nil)
		}
		for _, call := range p.calls {
			if !strings.Contains(call, " a") {
				t.Errorf("performed: %s", call)
			}
		}
		if strings.Contains(answers.String(), "private") || !running && len(p.calls)+len(p.logs)+len(p.locks) > 0 {
			t.Errorf("answers %q, calls %q, logs %q, locks %q", answers.String(), p.calls, p.logs, p.locks)
		}
	})
}
