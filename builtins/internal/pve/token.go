package pve

import (
	"encoding/json"
	"fmt"
	"io"
)

// Token is the secret of an API token. Nothing prints it: not %v, %#v, %x,
// JSON, nor a logger. It leaves this package in the Authorization header only.
type Token struct{ text string }

// NewToken makes a token of its text.
func NewToken(text string) Token { return Token{text} }

const redacted = "…"

func (Token) String() string { return redacted }

// GoString keeps %#v from looking inside.
func (Token) GoString() string { return redacted }

// Format answers every verb alike.
func (Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps TOML, YAML and loggers from looking inside.
func (Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON does the same for JSON.
func (Token) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
