package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"nixmox/builtins/doctor"
)

// The example's way to a token is what `nixmox doctor --privileges` prints.
func TestExampleToken(t *testing.T) {
	needs, err := needsOf(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "#   " + strings.Join(doctor.Commands(needs, "nixmox@pve!runs"), "\n#   ") + "\n"
	const path = "../../docs/nixmox.toml"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?m)(^#   (pveum|#) .*\n)+`)
	if got := block.FindString(string(text)); got == want {
		return
	} else if *update && got != "" {
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), got, want, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("docs/nixmox.toml does not have (go test ./cmd/nixmox -run ExampleToken -update):\n%s", want)
}

func sample() []doctor.Finding {
	return []doctor.Finding{
		{Check: "clock", Subject: "pve1", Level: doctor.OK, Found: "within 5s of this machine's clock"},
		{Check: "clock", Subject: "pve2", Level: doctor.Error, Found: "its clock is 1m30s ahead of this machine's\x1b[2J", Cure: "on both machines: timedatectl, and then again and again and again"},
		{Check: "storage", Subject: "backup", Level: doctor.Warning, Found: "it is nearly full", Cure: "prune"},
	}
}

func TestFindingsWithoutTerminal(t *testing.T) {
	want := `clock
  ok      pve1    within 5s of this machine's clock
  error   pve2    its clock is 1m30s ahead of this machine's` + "\uFFFD" + `[2J
                  cure: on both machines: timedatectl, and then again and again and again
storage
  warning backup  it is nearly full
                  cure: prune
doctor: 1 error, 1 warning
`
	if got := findingsText(sample(), style{}); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

func TestFindingsOnTerminals(t *testing.T) {
	wide := findingsText(sample(), style{color: true, width: 60})
	for _, want := range []string{
		"\x1b[31merror   \x1b[0m", "\x1b[33mwarning \x1b[0m", "\x1b[32mok      \x1b[0m", "\x1b[31mdoctor: 1 error, 1 warning\x1b[0m",
		"its clock is 1m30s ahead of this\n                  machine's",             // wrapped
		"cure: on both machines: timedatectl, and then again and again and again\n", // to be copied whole
	} {
		if !strings.Contains(wide, want) {
			t.Errorf("no %q in\n%s", want, wide)
		}
	}
	narrow := findingsText(sample(), style{width: 40})
	if !strings.Contains(narrow, "  error   pve2\n    its clock is 1m30s ahead of this\n    machine's") {
		t.Errorf("%s", narrow)
	}
	if strings.Contains(narrow, "\x1b") {
		t.Error("colours that nobody asked for")
	}
	if got := findingsText(sample()[:1], style{}); !strings.HasSuffix(got, "doctor: all is well\n") {
		t.Error(got)
	}
}

func TestStateFolderOnAFile(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, file + "/below"} {
		got := examineState(&engineFlags{state: dir}, &config{})
		if len(got) != 1 || got[0].Level != doctor.Error || got[0].Cure == "" {
			t.Errorf("%s: %+v", dir, got)
		}
	}
	dir := t.TempDir()
	if got := examineState(&engineFlags{state: dir}, &config{}); got[len(got)-1].Level != doctor.OK {
		t.Errorf("%+v", got)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
}
