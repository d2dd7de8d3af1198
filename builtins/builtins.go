// Package builtins puts the modules together: the explicit list of what
// playbooks can call. It must know nothing of languages and the engine.
package builtins

import (
	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/run"
	"nixmox/builtins/proxmox"
	"nixmox/builtins/vzdump"
	"nixmox/builtins/zfs"
	"nixmox/engine/builtin"
)

// Config is what the modules need to reach the estate.
type Config struct {
	Proxmox *Proxmox // nil: none is configured; the definitions are there all the same
	// Commands is the folder of the only programs that may be started, as in the
	// lab; "" takes the machine's PATH.
	Commands string
}

// Proxmox says which Proxmox VE host, and as whom.
type Proxmox = pve.Config

// Secret is the secret of an API token, or a password; nothing prints it.
type Secret = pve.Secret

// NewSecret makes a secret of its text.
func NewSecret(text string) Secret { return pve.NewSecret(text) }

// All makes every module. close lets their connections go.
func All(cfg Config) (modules []builtin.Module, closeAll func() error, err error) {
	var client *pve.Client
	closeAll = func() error { return nil }
	if cfg.Proxmox != nil {
		if client, err = pve.New(*cfg.Proxmox); err != nil {
			return nil, nil, err
		}
		closeAll = client.Close
	}
	runner := &run.Runner{Folder: cfg.Commands}
	return []builtin.Module{proxmox.Module(client), vzdump.Module(client), zfs.Module(runner)}, closeAll, nil
}

// NeedsProxmox reports whether a module works through a Proxmox VE host.
func NeedsProxmox(module string) bool { return module == "proxmox" || module == "vzdump" }
