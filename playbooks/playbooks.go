// Package playbooks holds the shipped playbooks, embedded: what a bare name
// after `nixmox run` means. It must know nothing but their files.
package playbooks

import "embed"

// FS has every shipped playbook at its root.
//
//go:embed *.star
var FS embed.FS
