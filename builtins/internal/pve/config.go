package pve

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nixmox/builtins/internal/pattern"
	"nixmox/engine/builtin"
)

// Config says which Proxmox VE host, and as whom: by an API token, or as a user
// with a password.
type Config struct {
	URL         string // https://host:8006, the port may be left out
	TokenID     string // USER@REALM!NAME
	Token       Secret // its secret
	User        string // USER@REALM, instead of a token
	Password    Secret
	Fingerprint string // SHA-256 of the host's certificate, as Proxmox shows it
	CAFile      string // PEM file; with neither of the two: the system's roots
	// Mounts are local folders where a storage's files are (the folder that
	// has dump/ in it), by "storage" or "node/storage".
	Mounts map[string]string
	// LocalNode is the node that this machine is; "" finds out.
	LocalNode string
	// Poll is the first pause between two looks at a task, 250 ms by default.
	// The pauses grow to 2 s.
	Poll time.Duration

	// Sleep and Now are the clock; nil is the machine's. The lab's may run
	// faster, a test's not at all.
	Sleep func(context.Context, time.Duration) error
	Now   func() time.Time
}

const defaultPoll = 250 * time.Millisecond

var (
	// Proxmox: user ids are anything but white space, ':' and '/', before the
	// last '@'; realms and token names start with a letter.
	userGrammar    = pattern.Of(`^[^\s:/!]+@[A-Za-z][A-Za-z0-9._-]+$`)
	tokenIDGrammar = pattern.Of(`^[^\s:/!]+@[A-Za-z][A-Za-z0-9._-]+![A-Za-z][A-Za-z0-9._-]+$`)
	secretGrammar  = pattern.Of(`^[!-~]+$`)
)

// check fills in what was left out and returns the root of the API.
func (cfg *Config) check() (*url.URL, error) {
	bad := func(format string, args ...any) error {
		return builtin.Faultf(builtin.Invalid, "the configuration of Proxmox: "+format, args...)
	}
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "":
		return nil, bad("url = %q: want https://HOST:8006", redactUser(cfg.URL))
	case u.User != nil:
		return nil, bad("url holds a user or a password: they have keys of their own")
	case u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" && strings.Trim(u.Path, "/") != "api2/json":
		return nil, bad("url = %q: want https://HOST:8006 and nothing behind it", cfg.URL)
	case cfg.TokenID != "" && cfg.User != "":
		return nil, bad("token_id and user exclude each other")
	case cfg.User != "" && !userGrammar().MatchString(cfg.User):
		return nil, bad("user = %q: want USER@REALM, such as root@pam", cfg.User)
	case cfg.User != "" && cfg.Password.text == "":
		return nil, bad("the password of %s is empty", cfg.User)
	case cfg.User == "" && !tokenIDGrammar().MatchString(cfg.TokenID):
		return nil, bad("token_id = %q: want USER@REALM!NAME, such as nixmox@pve!runs", cfg.TokenID)
	case cfg.User == "" && !secretGrammar().MatchString(cfg.Token.text):
		return nil, bad("the secret of the token %s is empty or has characters that none has", cfg.TokenID)
	case cfg.Fingerprint != "" && cfg.CAFile != "":
		return nil, bad("fingerprint and ca_file exclude each other")
	}
	base := &url.URL{Scheme: "https", Host: u.Host, Path: "/api2/json"}
	if u.Port() == "" {
		base.Host = u.Host + ":8006"
	}
	for name, folder := range cfg.Mounts {
		node, storage, both := strings.Cut(name, "/")
		if !both {
			node, storage = "", name
		}
		if both && new(builtin.Node).UnmarshalText([]byte(node)) != nil || new(builtin.StorageID).UnmarshalText([]byte(storage)) != nil {
			return nil, bad("mounts: %q: want STORAGE or NODE/STORAGE", name)
		}
		if !filepath.IsAbs(folder) {
			return nil, bad("mounts: %s = %q: want the whole path of a folder", name, folder)
		}
	}
	if cfg.LocalNode != "" && new(builtin.Node).UnmarshalText([]byte(cfg.LocalNode)) != nil {
		return nil, bad("local_node = %q: want the name of a node", cfg.LocalNode)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = defaultPoll
	}
	if cfg.Sleep == nil {
		cfg.Sleep = sleep
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return base, nil
}

// redactUser keeps a password that was put into the URL out of the message.
func redactUser(text string) string {
	if i := strings.LastIndexByte(text, '@'); i >= 0 {
		return "…" + text[i:]
	}
	return text
}

// localNode is the node that this machine is, or "".
func (c *Client) localNode() string {
	if c.cfg.LocalNode != "" {
		return c.cfg.LocalNode
	}
	target, err := os.Readlink(c.localLink)
	if err != nil || filepath.Dir(target) != "nodes" {
		return ""
	}
	return filepath.Base(target)
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
