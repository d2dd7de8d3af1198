package pve

import (
	"encoding/json"
	"fmt"
	"io"
)

// Secret is the secret of an API token, or a password. Nothing prints it: not
// %v, %#v, %x, JSON, nor a logger. It leaves this package for the host only.
type Secret struct{ text string }

// NewSecret makes a secret of its text.
func NewSecret(text string) Secret { return Secret{text} }

const redacted = "…"

func (Secret) String() string { return redacted }

// GoString keeps %#v from looking inside.
func (Secret) GoString() string { return redacted }

// Format answers every verb alike.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// MarshalText keeps TOML, YAML and loggers from looking inside.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON does the same for JSON.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(redacted) }
