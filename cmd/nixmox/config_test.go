package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// The commented example is read as it stands, and shows every key there is.
func TestExampleConfiguration(t *testing.T) {
	const example = "../../docs/nixmox.toml"
	c, err := readConfigFile(example)
	if err != nil {
		t.Fatal(err)
	}
	if c.Proxmox.TokenID != "nixmox@pve!runs" || c.Proxmox.Mounts["pve2/local"] != "/mnt/pve2-local" || c.Secrets["ntfy"].Credential != "ntfy" {
		t.Errorf("read %+v", c)
	}
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keysOf(reflect.TypeFor[config]()) {
		if !strings.Contains(string(text), key) {
			t.Errorf("the example does not show %s", key)
		}
	}
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("toml")
		if key == "" {
			continue
		}
		keys = append(keys, key)
		inner := f.Type
		if inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Map {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct && inner.Name() != "plainSecret" {
			keys = append(keys, keysOf(inner)...)
		}
	}
	return keys
}

func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("good", planted+"\n", 0o600)
	write("open", planted+"\n", 0o644)
	write("credential", "of systemd", 0o400)
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	c := &config{file: filepath.Join(dir, "nixmox.toml"), Secrets: map[string]secretConfig{
		"good": {File: "good"}, "open": {File: "open"}, "gone": {File: "gone"}, "systemd": {Credential: "credential"}, "sneaky": {Credential: "../good"}}}
	for name, want := range map[string]string{"good": planted, "systemd": "of systemd", "sneaky": planted} {
		if got, err := c.secret(name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{"open": "chmod|lets others", "gone": "no such file", "unknown": "secret \"unknown\""} {
		_, err := c.secret(name)
		if err == nil || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := false
		for alternative := range strings.SplitSeq(want, "|") {
			found = found || strings.Contains(err.Error(), alternative)
		}
		if !found {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}
