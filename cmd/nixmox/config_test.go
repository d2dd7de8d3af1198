package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"nixmox/builtins"
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
	ours := filepath.Join(t.TempDir(), "nixmox.toml") // whatever the mode of the example
	if err := os.WriteFile(ours, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err = readConfigFile(ours); err != nil {
		t.Fatal(err)
	}
	rules, err := c.policy()
	if err != nil {
		t.Fatal(err)
	}
	e, err := definitions()
	if err != nil {
		t.Fatal(err)
	}
	if err := checkRules(rules, e.Modules); err != nil {
		t.Error(err)
	}
	if own := rules.For("backup"); len(own) != 2 || !own[1].Bounded || len(own[1].Deny) != 1 || rules.Limits.Memory != 512<<20 || rules.Limits.Timeout != 12*time.Hour {
		t.Errorf("read the policy %+v", rules)
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

// Where the credentials stand, and what is refused: never with a secret in the
// words.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"secret": 0o600, "open": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(planted+"\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	read := func(keys string, mode os.FileMode) (*config, error) {
		t.Helper()
		file := filepath.Join(dir, "nixmox.toml")
		if err := os.RemoveAll(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("[proxmox]\nurl = \"https://pve1\"\n"+keys), mode); err != nil {
			t.Fatal(err)
		}
		return readConfigFile(file)
	}
	const token, user = "token_id = \"a@pve!b\"\n", "user = \"root@pam\"\n"
	for keys, want := range map[string]string{
		token + "token = \"" + planted + "\"":   "",
		token + "token_file = \"secret\"":       "",
		user + "password = \"" + planted + "\"": "",
		user + "password_file = \"secret\"":     "",
		token:                                   "neither token nor token_file",
		user:                                    "neither password nor password_file",
		user + "password_file = \"open\"":       "lets others read",
		user + "password_file = \"gone\"":       "no such file",
		user + "password = \"" + planted + "\"\npassword_file = \"secret\"":  "both password and password_file",
		token + "token = \"" + planted + "\"\ntoken_file = \"secret\"":       "both token and token_file",
		"password = \"" + planted + "\"":                                     "no user",
		token + user + "token_file = \"secret\"\npassword_file = \"secret\"": "both a token and a user",
	} {
		c, err := read(keys, 0o600)
		if err != nil {
			t.Errorf("%s: %v", keys, err)
			continue
		}
		p, err := c.proxmox()
		if want == "" {
			isUser := strings.HasPrefix(keys, "user")
			if err != nil || isUser != (p.Password == builtins.NewSecret(planted)) || isUser == (p.Token == builtins.NewSecret(planted)) {
				t.Errorf("%s: %+v, %v", keys, p, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), planted) {
			t.Errorf("%s: %v, want %s", keys, err, want)
		}
	}
	if _, err := read(user+"password = \""+planted+"\"", 0o644); err == nil || !strings.Contains(err.Error(), "holds a secret") {
		t.Error("a password that others can read:", err)
	}
}
