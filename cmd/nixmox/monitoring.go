package main

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"

	"nixmox/engine"
	"nixmox/engine/event"
)

// monitoringFlag has a run end and speak as the plugins of Nagios, Icinga and
// Checkmk do (Monitoring Plugins Development Guidelines): one line with the
// state, what is behind it below, and the state as exit code.
const monitoringFlag = "monitoring"

// The states of a monitoring plugin are its exit codes.
const (
	monitoringOK = iota
	monitoringWarning
	monitoringCritical
	monitoringUnknown
)

var monitoringStates = [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}

// monitored is what a run said, kept until its state is known.
type monitored struct {
	playbook string
	warnings []string
	lines    []string // what the playbook wrote besides
}

func (m *monitored) event(e event.Event) {
	switch {
	case e.Type == event.RunBegan:
		m.playbook = e.Playbook
	case e.Type != event.Logged || e.Level == "debug":
	case e.Level == "info":
		m.lines = append(m.lines, clean(e.Text))
	default:
		m.warnings = append(m.warnings, clean(e.Text))
	}
}

// monitor runs the command line without the flag and tells its end to a
// monitoring system. A playbook that failed is critical, one that warned a
// warning; where it could not be seen what is so, nobody knows.
func (a *app) monitor(args []string) int {
	var said bytes.Buffer
	m := &monitored{playbook: "nixmox"}
	inner := &app{stdout: io.Discard, stderr: &said, monitored: m}
	code := inner.main(args)
	state := monitoringUnknown
	switch {
	case code == engine.ExitDone && len(m.warnings) == 0:
		state = monitoringOK
	case code == engine.ExitDone:
		state = monitoringWarning
	case code == engine.ExitFailed:
		state = monitoringCritical
	}
	// What comes first is the line that people are woken with.
	lines := slices.Concat(strings.Split(strings.TrimSpace(clean(said.String())), "\n"), m.warnings, m.lines)
	if state == monitoringOK && len(m.lines) > 0 {
		lines = slices.Concat(m.lines[len(m.lines)-1:], m.lines[:len(m.lines)-1])
	}
	lines = slices.DeleteFunc(lines, func(s string) bool { return s == "" })
	if len(lines) == 0 {
		lines = []string{"done"}
	}
	// A | begins the figures of a plugin, which these are not.
	text := strings.ReplaceAll(strings.Join(lines, "\n"), "|", "/")
	if _, err := fmt.Fprintf(a.stdout, "%s - %s: %s\n", monitoringStates[state], m.playbook, strings.TrimPrefix(text, m.playbook+": ")); err != nil {
		return monitoringUnknown // nobody read it
	}
	return state
}
