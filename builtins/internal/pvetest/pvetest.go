// Package pvetest lets tests hold requests and answers against Proxmox VE's own
// API schema, and against recordings of a real Proxmox VE.
//
// Both lie beside the repository, in ../shared/pve, and are no part of it; where
// they are missing, the tests that need them are skipped. The package must know
// nothing of nixmox's client, nor of the lab: it judges both.
package pvetest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// dir finds the folder with the schemas and recordings.
func dir() (string, error) {
	if d := os.Getenv("NIXMOX_PVE"); d != "" {
		return d, nil
	}
	d, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(d, "go.mod")); err == nil {
			return filepath.Join(d, "..", "shared", "pve"), nil
		}
		up := filepath.Dir(d)
		if up == d {
			return "", fmt.Errorf("no go.mod above the working directory")
		}
		d = up
	}
}

// open opens one of the files, or skips the test.
func open(t testing.TB, name string) *os.File {
	t.Helper()
	d, err := dir()
	if err != nil {
		t.Skipf("Proxmox's schemas and recordings are not here: %v (set NIXMOX_PVE to their folder)", err)
	}
	f, err := os.Open(filepath.Join(d, name))
	if os.IsNotExist(err) {
		t.Skipf("%s is not here (set NIXMOX_PVE to the folder that has it)", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // it was only read
	return f
}

// Schema loads the API schema of a version: "9.2.11" or "8.4.5". All tests of a
// process share it: reading one takes longer than most tests do.
func Schema(t testing.TB, version string) *API {
	t.Helper()
	open(t, schemaFile(version)) // skips where it is not
	load := schemas[version]
	if load == nil {
		t.Fatalf("there is no schema of version %s", version)
	}
	a, err := load()
	if err != nil {
		t.Fatalf("the schema of %s: %v", version, err)
	}
	return a
}

var schemas = map[string]func() (*API, error){"9.2.11": schemaOnce("9.2.11"), "8.4.5": schemaOnce("8.4.5")}

func schemaFile(version string) string { return "schema-" + version + ".json" }

func schemaOnce(version string) func() (*API, error) {
	return sync.OnceValues(func() (*API, error) {
		d, err := dir()
		if err != nil {
			return nil, err
		}
		text, err := os.ReadFile(filepath.Join(d, schemaFile(version)))
		if err != nil {
			return nil, err
		}
		var file struct {
			Tree []node `json:"tree"`
		}
		if err := json.Unmarshal(text, &file); err != nil {
			return nil, err
		}
		a := &API{version: version}
		a.add(file.Tree)
		return a, nil
	})
}

// Recording is one request to a real Proxmox VE, and its answer.
type Recording struct {
	N       int    `json:"n"`
	Label   string `json:"label"`
	Request struct {
		Method string          `json:"method"`
		Path   string          `json:"path"` // with /api2/json and the query
		Params json.RawMessage `json:"params"`
		JSON   bool            `json:"json"`
		Auth   string          `json:"auth"` // none, token or ticket
	} `json:"request"`
	Response struct {
		Status int             `json:"status"`
		Reason string          `json:"reason"`
		Body   json.RawMessage `json:"body"`
	} `json:"response"`
	MS int `json:"ms"`
}

// Recorded loads the recordings of 9.2.11, in the order they happened.
func Recorded(t testing.TB) []Recording {
	t.Helper()
	var out []Recording
	lines := bufio.NewScanner(open(t, "recorded-9.2.11.jsonl"))
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r Recording
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			t.Fatalf("recording %d: %v", len(out)+1, err)
		}
		out = append(out, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// Find gives the first recording with the label.
func Find(t testing.TB, all []Recording, label string) Recording {
	t.Helper()
	for _, r := range all {
		if r.Label == label {
			return r
		}
	}
	t.Fatalf("no recording is labelled %q", label)
	panic("unreachable")
}
