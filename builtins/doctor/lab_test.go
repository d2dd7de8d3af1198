package doctor

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"nixmox/builtins/internal/pve"
	"nixmox/builtins/internal/pvetest"
	"nixmox/builtins/lab"
)

// Against the lab nothing fails, nothing is changed, and every request and
// answer is one that Proxmox's own schema knows.
func TestAgainstTheLab(t *testing.T) {
	var mu sync.Mutex
	var seen []lab.Exchange
	l, err := lab.Open(lab.Options{Dir: t.TempDir(), Clock: lab.ClockAuto, Brief: true, Observe: func(x lab.Exchange) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, x)
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
	look := func(id, secret string) []Finding {
		return examine(t, Patient{Needs: needs()[:2], Config: pve.Config{
			URL: end.URL, TokenID: id, Token: pve.NewSecret(secret), Fingerprint: end.Fingerprint, Mounts: end.Mounts,
			Now: l.Now, Sleep: func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
		}})
	}
	for _, f := range look(end.TokenID, end.TokenSecret) {
		if f.Level == Warning || f.Level == Error {
			t.Errorf("%+v", f)
		}
	}
	has(t, look(end.RootTokenID, end.RootTokenSecret), Finding{"privileges", end.RootTokenID, Note, "it may do all that root may", "--privileges"})
	has(t, look(end.TokenID, "wrong"), Finding{"token", end.TokenID, Error, "Proxmox says: 401 Authentication failed!", "pveum user token list"})
	for _, version := range []string{"8.4.5", "9.2.11"} {
		schema := pvetest.Schema(t, version)
		for _, x := range seen {
			if x.Method != http.MethodGet {
				t.Errorf("%s %s: it only looks", x.Method, x.Path)
			}
			if err := schema.CheckRequest(x.Method, x.Path, x.Params); err != nil {
				t.Errorf("%s: %v", version, err)
			}
		}
	}
}
