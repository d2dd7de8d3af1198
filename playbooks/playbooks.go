// Package playbooks holds the shipped playbooks, embedded: what a bare name
// after `nixmox run` means. It must know nothing but their files.
package playbooks

import "embed"

// FS has every shipped playbook at its root. They are named one by one because
// no pattern leaves out their tests; a test holds that none is missing.
//
//go:embed backup.star restore.star snapshot.star snapshot_guests.star
var FS embed.FS
