package proxmox

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/pvetest"
	"nixmox/builtins/lab"
	"nixmox/engine/builtin"
)

// The whole module against the lab, with the token that a backup needs and no
// more. Every request and answer is held against Proxmox's own schema.
func TestAgainstTheLab(t *testing.T) {
	var mu sync.Mutex
	var seen []lab.Exchange
	l, err := lab.Open(lab.Options{Dir: t.TempDir(), Clock: lab.ClockAuto, Brief: true, History: history, Observe: func(x lab.Exchange) {
		mu.Lock()
		seen = append(seen, x)
		mu.Unlock()
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	end, err := l.Start()
	if err != nil {
		t.Fatal(err)
	}
	c, err := pve.New(pve.Config{
		URL: end.URL, TokenID: end.TokenID, Token: pve.NewSecret(end.TokenSecret), Fingerprint: end.Fingerprint,
		Now: l.Now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	mod := Module(c)
	do := func(name string, args ...builtin.Named) any {
		t.Helper()
		f, _ := mod.Func(name)
		bound, err := f.Bind(nil, args)
		if err != nil {
			t.Fatal(name, err)
		}
		out, err := f.Do(context.Background(), &builtin.Call{Func: f, Args: bound, Run: &builtin.Run{}, Branch: builtin.NewBranch()})
		if err != nil {
			t.Fatal(name, args, err)
		}
		f.Result.Neutral(out)
		return out
	}
	if v := do("version").(Version); v.Release == "" {
		t.Error(v)
	}
	if v := do("nodes").([]Node); len(v) != 3 {
		t.Error(v)
	}
	if v := do("guests").([]Guest); len(v) != 12 || v[0].Name != "nixos-vm" || v[0].Pool != "production" {
		t.Errorf("%d %+v", len(v), v[0])
	}
	if v := do("guests", arg("select", []any{"@prod", "%production,-web*"}), arg("templates", true)).([]Guest); len(v) != 4 {
		t.Errorf("%+v", v)
	}
	if v := do("config", arg("guest", int64(102))).(map[string]any); v["hostpci0"] == nil {
		t.Error(v)
	}
	if v := do("storages").([]Storage); len(v) < 5 {
		t.Errorf("%+v", v)
	}
	do("storages", arg("node", "pve2"))
	do("content", arg("storage", "backup"))
	do("content", arg("storage", "backup"), arg("node", "pve3"), arg("kind", "backup"))
	tasks := do("tasks").([]Task)
	do("tasks", arg("failed", true), arg("kind", "vzdump"), arg("guest", int64(100)), arg("node", "pve1"))
	for _, task := range tasks {
		do("task", arg("upid", string(task.UPID)))
	}
	mu.Lock()
	defer mu.Unlock()
	for _, version := range []string{"9.2.11", "8.4.5"} {
		schema := pvetest.Schema(t, version)
		for _, x := range seen {
			if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				t.Errorf("%s: %s %s %v: %v", version, x.Method, x.Path, x.Params, err)
			}
			var body struct{ Data json.RawMessage }
			if err := json.Unmarshal(x.Body, &body); err != nil || x.Status != 200 {
				t.Errorf("%s %s: %d %v", x.Method, x.Path, x.Status, err)
			}
			if err := schema.CheckAnswer(x.Method, x.Path, body.Data); err != nil && version == "9.2.11" {
				t.Errorf("%s %s: %v", x.Method, x.Path, err)
			}
		}
	}
	if len(seen) > 40+2*len(tasks) || strings.Contains(string(must(json.Marshal(seen))), end.TokenSecret) {
		t.Errorf("%d requests", len(seen))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
