package lab

import (
	"encoding/json"
	"fmt"
	"strings"
)

// apiError is an answer that says no. Proxmox puts the words into the status
// line, and that is where clients look for them.
type apiError struct {
	Status  int
	Reason  string
	Errors  map[string]string // of a 400: what is wrong with which parameter
	NoBody  bool
	NoBreak bool // the message in the body ends without a line break
}

func (e *apiError) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Reason) }

// serverError is Proxmox's way to say nearly everything, "no such VM" included.
func serverError(format string, a ...any) *apiError {
	return &apiError{Status: 500, Reason: fmt.Sprintf(format, a...)}
}

func forbidden(path, privs string) *apiError {
	return &apiError{Status: 403, Reason: fmt.Sprintf("Permission check failed (%s, %s)", path, privs)}
}

func badParameter(name, format string, a ...any) *apiError {
	return &apiError{Status: 400, Reason: "Parameter verification failed.", Errors: map[string]string{name: fmt.Sprintf(format, a...)}}
}

func unauthorized(reason string) *apiError {
	return &apiError{Status: 401, Reason: reason, NoBody: true}
}

func notImplemented(method, path string) *apiError {
	return &apiError{Status: 501, Reason: fmt.Sprintf("Method '%s %s' not implemented", method, path), NoBreak: true}
}

// body is the answer's body as recorded.
func (e *apiError) body() []byte {
	if e.NoBody {
		return nil
	}
	message := e.Reason
	if !e.NoBreak {
		message += "\n"
	}
	b := map[string]any{"data": nil, "message": message}
	if e.Errors != nil {
		b["errors"] = e.Errors
	}
	return encode(b)
}

// statusReason is the reason as it can stand in a status line.
func (e *apiError) statusReason() string {
	return strings.NewReplacer("\r", " ", "\n", " ").Replace(e.Reason)
}

// listed is a list of which only a part is shown. Proxmox leaves total out
// where it is nothing.
type listed struct {
	data  any
	total int
}

func encodeAnswer(data any) []byte {
	if a, ok := data.(attributed); ok {
		b := obj{"data": a.data}
		for k, v := range a.beside {
			b[k] = v
		}
		return encode(b)
	}
	if l, ok := data.(listed); ok {
		b := map[string]any{"data": l.data}
		if l.total > 0 {
			b["total"] = l.total
		}
		return encode(b)
	}
	return encode(map[string]any{"data": data})
}

// encode writes JSON without escaping <, > and &, as Proxmox does.
func encode(v any) []byte {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // only what the lab itself built gets here
	}
	return []byte(strings.TrimSuffix(b.String(), "\n"))
}

// obj is a JSON object under construction.
type obj = map[string]any

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}
