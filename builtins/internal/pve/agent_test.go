package pve

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"nixmox/builtins/internal/pvetest"
	"nixmox/engine/builtin"
)

// What playbooks get of the guest agent's answers, through proxmox.get and
// proxmox.call: they come as Proxmox gave them, and so do the agent's own words.
func TestAgentAnswersComeAsTheyAre(t *testing.T) {
	all := pvetest.Recorded(t)
	var current pvetest.Recording
	var sent map[string]any
	c, _ := host(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err == nil && len(body) > 0 {
			if err := json.Unmarshal(body, &sent); err != nil {
				t.Errorf("sent %q: %v", body, err)
			}
		}
		serve(w, current)
	}))
	ask := func(label string) (map[string]any, *builtin.Fault) {
		t.Helper()
		current = pvetest.Find(t, all, label)
		var got map[string]any
		err := replay(t, c, current, &got)
		return got, builtin.AsFault(err)
	}

	if _, fault := ask("agent exec json array"); fault != nil {
		t.Error(fault)
	}
	if command, ok := sent["command"].([]any); !ok || len(command) != 3 || command[1] != "-c" {
		t.Errorf("the command was sent as %v", sent["command"])
	}
	killed, fault := ask("agent exec killed / exec-status")
	if _, exited := killed["exitcode"]; fault != nil || exited || killed["signal"] != 9.0 || killed["exited"] != 1.0 {
		t.Errorf("killed: %v, %v", killed, fault)
	}
	for label, want := range map[string]struct {
		kind builtin.Kind
		said string
	}{
		// What a finished process is, once it was asked after.
		"agent exec-status unknown pid": {builtin.NotFound, "Agent error: PID ld does not exist"},
		"agent exec while frozen":       {builtin.Failed, "Command guest-exec has been disabled: the command is not allowed"},
		"agent exec missing binary":     {builtin.Unreachable, "596"},
	} {
		_, fault := ask(label)
		if fault == nil || fault.Kind != want.kind || !strings.Contains(fault.Error(), want.said) {
			t.Errorf("%s: %+v", label, fault)
		}
	}
}

// Nothing in the API runs a command in a container or brings a host up to
// date: both take another way in.
func TestNoAPIRunsCommandsInContainersOrUpdatesHosts(t *testing.T) {
	for _, version := range []string{"9.2.11", "8.4.5"} {
		seen := 0
		for _, m := range pvetest.Schema(t, version).Methods() {
			seen++
			if strings.HasPrefix(m.Pattern, "/nodes/{node}/lxc/") && strings.Contains(m.Pattern, "exec") ||
				strings.HasPrefix(m.Pattern, "/nodes/{node}/apt/") && m.Verb != http.MethodGet && (strings.Contains(m.Pattern, "upgrade") || strings.Contains(m.Pattern, "install")) {
				t.Errorf("%s: %s %s", version, m.Verb, m.Pattern)
			}
		}
		if seen < 500 {
			t.Errorf("%s: %d methods", version, seen)
		}
	}
}
