// Package pve is the one way to Proxmox VE's HTTP API: an API token or a user
// who logs in, one host, JSON in and out, and tasks that are waited for until
// they have ended.
//
// It sits on go-proxmox, whose own logins, error handling, decoding, retries
// and task waiting are left unused: below it stands our RoundTripper
// (transport.go), which signs requests, logs in where it must (login.go), and
// lets nothing but a whole 2xx answer through, and above it our own decoding
// (envelope.go, records.go), UPIDs and waiting. docs/traps.md says why. What Proxmox really answers, and the recordings the tests
// replay, come from Proxmox VE 9.2.11.
//
// The package knows nodes, storages, volumes, guests and tasks, because every
// module needs them. It must not know what a backup or a playbook is, and it
// makes no change that its caller did not ask for in so many words: a POST, PUT
// or DELETE is sent once and never again.
package pve
