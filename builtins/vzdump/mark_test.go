package vzdump

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	marks "nixmox/builtins/internal/mark"
	"nixmox/builtins/internal/pve"
	"nixmox/engine/builtin"
)

// render does with a template what Proxmox does (generate_notes in
// PVE::VZDump), with its checks first (verify_notes_template).
func render(t interface{ Fatalf(string, ...any) }, template, guest string) string {
	if strings.Contains(template, "\n") || len([]rune(template)) > 1024 {
		t.Fatalf("Proxmox refuses the template %q", template)
	}
	for _, m := range regexp.MustCompile(`\\(.)`).FindAllStringSubmatch(template, -1) {
		if m[1] != "n" && m[1] != `\` {
			t.Fatalf("Proxmox refuses the escape %q", m[0])
		}
	}
	for _, m := range regexp.MustCompile(`\{\{([^\s{}]+)\}\}`).FindAllStringSubmatch(template, -1) {
		if !regexp.MustCompile(`^(cluster|guestname|node|vmid)$`).MatchString(m[1]) {
			t.Fatalf("Proxmox refuses the variable %q", m[1])
		}
	}
	out := regexp.MustCompile(`\\(.)`).ReplaceAllStringFunc(template, func(s string) string {
		if s == `\n` {
			return "\n"
		}
		return `\`
	})
	return strings.NewReplacer("{{guestname}}", guest, "{{vmid}}", "101", "{{node}}", "pve1", "{{cluster}}", "c").Replace(out)
}

func TestNotesAreReadable(t *testing.T) {
	m := mark{Run: "01K", Place: "4.2.1", Playbook: "backup"}
	for note, want := range map[string]string{
		"":                     "db | nixmox: v=1 run=01K place=4.2.1 playbook=backup",
		"before the upgrade":   "db: before the upgrade | nixmox: v=1 run=01K place=4.2.1 playbook=backup",
		"one\nC:\\new\nthree":  "db: one | nixmox: v=1 run=01K place=4.2.1 playbook=backup\nC:\\new\nthree",
		"of {{vmid}} {{ none":  "db: of 101 {{ none | nixmox: v=1 run=01K place=4.2.1 playbook=backup",
		"nixmox: v=1 run=evil": "db: nixmox: v=1 run=evil | nixmox: v=1 run=01K place=4.2.1 playbook=backup",
	} {
		template, err := notesTemplate(note, m)
		if err != nil {
			t.Fatal(err)
		}
		if got := render(t, template, "db"); got != want {
			t.Errorf("note %q\n got %q\nwant %q", note, got, want)
		}
	}
}

func TestNotesThatProxmoxWouldRefuse(t *testing.T) {
	for _, note := range []string{"{{bad}}", "x\n{{a\nb}}", "{{{{vmid}}x}}", "bell \a", "\xff", "a\r\nb", strings.Repeat("x", 1000)} {
		if template, err := notesTemplate(note, mark{Run: "01K"}); err == nil {
			t.Errorf("note %q became %q", note, template)
		}
	}
}

func TestForeignNotesAreNotOurs(t *testing.T) {
	for _, notes := range []string{
		"", "nixmox", "nixmox:", "nixmox: v=1", "nixmox: v=1 ", "nixmox: v=1 place=2", "nixmox: v=2 run=1",
		"xnixmox: v=1 run=1", "nixmox: v=1 run=1 and more", "nixmox: v=1 run=1 run=2", "nixmox: v=1  run=1",
		"nixmox: v=1 run=%zz", "by hand\nnixmox: v=1 run=1", "nixmox: v=1 run=", "nixmox: v=1 run=1 v=1",
	} {
		if m, ok := marks.Parse(notes); ok {
			t.Errorf("%q was taken for %+v", notes, m)
		}
	}
}

// The lab's history has the mark alone in the first line, without a place.
func TestMarkWithoutPlace(t *testing.T) {
	m, ok := marks.Parse("nixmox: v=1 run=01LAB0000000000000000000 playbook=backup\nweb1")
	if !ok || m.Run != "01LAB0000000000000000000" || m.Playbook != "backup" || m.Place != "" {
		t.Errorf("got %+v, %v", m, ok)
	}
}

func TestMarkSurvivesAnyNote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		note := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z{}\\\n ]*`), rapid.Just("x | nixmox: v=1 run=evil place=1")).Draw(t, "note")
		m := mark{
			Run:      rapid.StringN(1, 30, 60).Draw(t, "run"),
			Place:    rapid.StringMatching(`[0-9]+(\.[0-9]+)*`).Draw(t, "place"),
			Playbook: rapid.StringN(0, 20, 40).Draw(t, "playbook"),
		}
		template, err := notesTemplate(note, m)
		if err != nil {
			t.Skip("refused beforehand")
		}
		notes := render(t, template, "db")
		if got, ok := marks.Parse(notes); !ok || got != m {
			t.Fatalf("notes %q gave %+v, %v; want %+v", notes, got, ok, m)
		}
		plain := strings.NewReplacer("{{guestname}}", "db", "{{vmid}}", "101", "{{node}}", "pve1", "{{cluster}}", "c").Replace(note)
		if bare := strings.Replace(notes, " | "+m.String(), "", 1); note != "" && !strings.Contains(note, "nixmox:") && bare != "db: "+plain && bare != "db"+plain {
			t.Fatalf("note %q became %q", plain, bare)
		}

		at := time.Unix(rapid.Int64Range(1e9, 2e9).Draw(t, "at"), 0).UTC()
		m.Verified, m.SHA256 = at, strings.Repeat("ab", 32)
		verified := marks.WithVerification(notes, at, m.SHA256)
		if got, ok := marks.Parse(verified); !ok || got != m {
			t.Fatalf("verified notes %q gave %+v, %v", verified, got, ok)
		}
		if removed := strings.Replace(verified, " verified="+at.Format(time.RFC3339)+" sha256="+m.SHA256, "", 1); removed != notes {
			t.Fatalf("marking altered more than the mark:\n%q\n%q", notes, removed)
		}
		if again := marks.WithVerification(verified, at, m.SHA256); again != verified {
			t.Fatalf("marking twice gave %q", again)
		}
	})
}

func FuzzForeignNotes(f *testing.F) {
	f.Add("db | nixmox: v=1 run=01K place=4 playbook=backup")
	f.Add("nixmox: v=1 run=01K verified=x sha256=y\r\n")
	f.Fuzz(func(t *testing.T, notes string) {
		m, ok := marks.Parse(notes)
		first, _, _ := strings.Cut(notes, "\n")
		if !ok {
			return
		}
		if m.Run == "" || !strings.Contains(first, "nixmox: v=1 ") {
			t.Fatalf("%q was taken for %+v", notes, m)
		}
		at := time.Unix(1.7e9, 0).UTC()
		if again, ok := marks.Parse(marks.WithVerification(notes, at, "00")); !ok || !again.Verified.Equal(at) || again.Run != m.Run {
			t.Fatalf("%q lost its mark: %+v", notes, again)
		}
	})
}

// An open connection that Proxmox is just closing swallows a request: the
// notes are looked at, and written once more over a connection of their own.
func TestNotesThatWereNotWritten(t *testing.T) {
	notes, writes := "as before", 0
	proxmox := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			if writes++; writes == 1 {
				panic(http.ErrAbortHandler)
			}
			var put struct{ Notes string }
			if err := json.NewDecoder(r.Body).Decode(&put); err != nil {
				t.Error(err)
			}
			notes = put.Notes
		}
		if err := json.NewEncoder(w).Encode(map[string]any{"data": map[string]any{"notes": notes}}); err != nil {
			t.Error(err)
		}
	}))
	defer proxmox.Close()
	c, err := pve.New(pve.Config{URL: proxmox.URL, TokenID: "nixmox@pve!runs", Token: pve.NewSecret("00000000-0000-0000-0000-000000000000"),
		Fingerprint: strings.ReplaceAll(fmt.Sprintf("% X", sha256.Sum256(proxmox.Certificate().Raw)), " ", ":")})
	if err != nil {
		t.Fatal(err)
	}
	a := Archive{VolID: builtin.Now(builtin.VolID("backup:backup/vzdump-qemu-100-2026_01_01-00_00_00.vma.zst")), Node: "pve1", Storage: "backup"}
	if err := (&vzdump{c: c}).putNotes(t.Context(), a, "marked"); err != nil || notes != "marked" || writes != 2 {
		t.Errorf("%q after %d writes: %v", notes, writes, err)
	}
}
