package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pelletier/go-toml/v2"

	"nixmox/builtins"
	"nixmox/engine/builtin"
)

// config is the configuration file. Every key is in the example that
// `nixmox help config` prints and docs/nixmox.toml holds; a test reads it.
type config struct {
	State   string                  `toml:"state"`
	Proxmox *proxmoxConfig          `toml:"proxmox"`
	Secrets map[string]secretConfig `toml:"secrets"`
	Lab     *labConfig              `toml:"lab"`
	// What playbooks may do at most: here, or in a file of its own.
	Policy     *policyConfig `toml:"policy"`
	PolicyFile string        `toml:"policy_file"`

	file string // where it was read from
}

type proxmoxConfig struct {
	URL          string            `toml:"url"`
	TokenID      string            `toml:"token_id"`
	Token        plainSecret       `toml:"token"`
	TokenFile    string            `toml:"token_file"`
	User         string            `toml:"user"`
	Password     plainSecret       `toml:"password"`
	PasswordFile string            `toml:"password_file"`
	Fingerprint  string            `toml:"fingerprint"`
	CAFile       string            `toml:"ca_file"`
	LocalNode    string            `toml:"local_node"`
	Mounts       map[string]string `toml:"mounts"`
}

// secretConfig says where a secret that a playbook names is read from.
type secretConfig struct {
	File       string `toml:"file"`
	Credential string `toml:"credential"` // a systemd credential (LoadCredential=)
}

// labConfig is what `nixmox lab up` writes: whose clock counts, and which
// programs are started, and no others.
type labConfig struct {
	Dir      string `toml:"dir"`
	Clock    string `toml:"clock"`    // real or auto
	Commands string `toml:"commands"` // a folder; the one in dir if empty
}

// plainSecret is a secret that stands in the configuration file itself.
type plainSecret struct{ text string }

func (s *plainSecret) UnmarshalText(text []byte) error { s.text = string(text); return nil }
func (plainSecret) String() string                     { return "…" }
func (plainSecret) GoString() string                   { return "…" }

// configPaths are where the configuration is looked for, the first that
// exists, unless --config or NIXMOX_CONFIG names it.
func configPaths() []string {
	var paths []string
	if dir, err := os.UserConfigDir(); err == nil {
		paths = append(paths, filepath.Join(dir, "nixmox", "nixmox.toml"))
	}
	return append(paths, "/etc/nixmox/nixmox.toml")
}

// readConfig reads the configuration; without any it is empty.
func readConfig(named string) (*config, error) {
	if named == "" {
		named = os.Getenv("NIXMOX_CONFIG")
	}
	if named != "" {
		return readConfigFile(named)
	}
	for _, path := range configPaths() {
		c, err := readConfigFile(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
	}
	return &config{}, nil
}

func readConfigFile(path string) (*config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, usage(fmt.Errorf("configuration: %w", err), "--config FILE names another")
	}
	c := &config{file: path}
	decoder := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields()
	if err := decoder.Decode(c); err != nil {
		return nil, tomlError(path, err)
	}
	if c.Proxmox != nil && (c.Proxmox.Token.text != "" || c.Proxmox.Password.text != "") {
		if err := onlyOurs(path); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// tomlError says where the file is wrong, without quoting from it: the line
// may hold a secret.
func tomlError(path string, err error) error {
	const hint = "docs/nixmox.toml is a commented example"
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok {
		e := strict.Errors[0]
		row, _ := e.Position()
		return usagef(hint, "%s:%d: there is no key %q", path, row, strings.Join(e.Key(), "."))
	}
	if e, ok := errors.AsType[*toml.DecodeError](err); ok {
		row, column := e.Position()
		return usagef(hint, "%s:%d:%d: %s", path, row, column, strings.TrimPrefix(e.Error(), "toml: "))
	}
	return usagef(hint, "%s: %v", path, err)
}

// onlyOurs refuses a file with a secret that others can read.
func onlyOurs(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return usage(err, "")
	}
	if info.Mode().Perm()&0o077 != 0 {
		return usagef("chmod 600 "+path, "%s holds a secret, and its mode %04o lets others read it", path, info.Mode().Perm())
	}
	return nil
}

// readSecretFile reads a file that holds one secret, without the line end.
func readSecretFile(path string) (string, error) {
	if err := onlyOurs(path); err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", usage(err, "")
	}
	return strings.TrimRight(string(text), "\r\n"), nil
}

// proxmox is what the modules need to know, or nil if no host is configured.
func (c *config) proxmox() (*builtins.Proxmox, error) {
	p := c.Proxmox
	if p == nil {
		return nil, nil
	}
	out := &builtins.Proxmox{URL: p.URL, TokenID: p.TokenID, User: p.User, Fingerprint: p.Fingerprint, CAFile: c.relative(p.CAFile),
		Mounts: p.Mounts, LocalNode: p.LocalNode}
	hasPassword := p.Password.text != "" || p.PasswordFile != ""
	if p.User == "" {
		if hasPassword {
			return nil, usagef("user = \"USER@REALM\" names whose it is", "%s: [proxmox] has a password, but no user", c.file)
		}
		secret, err := c.oneSecret("token", p.Token, p.TokenFile)
		out.Token = builtins.NewSecret(secret)
		return out, err
	}
	if p.TokenID != "" || p.Token.text != "" || p.TokenFile != "" {
		return nil, usagef("keep one of them; a token is the better", "%s: [proxmox] has both a token and a user", c.file)
	}
	secret, err := c.oneSecret("password", p.Password, p.PasswordFile)
	out.Password = builtins.NewSecret(secret)
	return out, err
}

// oneSecret takes a secret from where the configuration has it: as key itself,
// or in the file that key_file names.
func (c *config) oneSecret(key string, inPlace plainSecret, file string) (string, error) {
	switch {
	case inPlace.text != "" && file != "":
		return "", usagef("keep one of them", "%s: [proxmox] has both %s and %s_file", c.file, key, key)
	case file != "":
		return readSecretFile(c.relative(file))
	case inPlace.text == "":
		return "", usagef(key+"_file names a file with the "+key, "%s: [proxmox] has neither %s nor %s_file", c.file, key, key)
	}
	return inPlace.text, nil
}

// relative paths in the configuration are relative to its own folder.
func (c *config) relative(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.file), path)
}

// secret reveals a secret that a playbook names.
func (c *config) secret(name string) (string, error) {
	s, ok := c.Secrets[name]
	if !ok {
		return "", builtin.Faultf(builtin.NotFound, "secret %q", name).Hinting("name it in the [secrets] table of the configuration")
	}
	path := c.relative(s.File)
	if s.Credential != "" {
		path = filepath.Join(os.Getenv("CREDENTIALS_DIRECTORY"), filepath.Base(s.Credential))
	}
	text, err := readSecretFile(path)
	if err != nil {
		return "", builtin.Faultf(builtin.Failed, "secret %q", name).Because(err)
	}
	return text, nil
}

// stateDir is where runs, locks and the lab are kept.
func (c *config) stateDir(named string) (string, error) {
	for _, dir := range []string{named, os.Getenv("NIXMOX_STATE"), c.relative(c.State)} {
		if dir != "" {
			return filepath.Abs(dir)
		}
	}
	if os.Geteuid() == 0 {
		return "/var/lib/nixmox", nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "nixmox"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", usage(err, "--state DIR names the state folder")
	}
	return filepath.Join(home, ".local", "state", "nixmox"), nil
}
