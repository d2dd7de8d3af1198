package luavm_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestPage runs every block of docs/lua.md.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../docs/lua.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```lua\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	if len(blocks) < 6 {
		t.Fatalf("%d blocks", len(blocks))
	}
	for _, b := range blocks {
		name, _, _ := strings.Cut(b[1], "\n")
		t.Run(name, func(t *testing.T) {
			if strings.Contains(b[1], "function main") {
				r := &ran{}
				if _, err := load(t.Context(), r.engine(), files{"p.lua": strings.ReplaceAll(b[1], "proxmox =", "m =")}); err != nil {
					t.Error(err)
				}
				return
			}
			if r := play(t, b[1]); r.Err != nil {
				t.Error(r.Err)
			}
		})
	}
	for _, name := range regexp.MustCompile("`(assert [a-z ]*)`").FindStringSubmatch(string(page))[1:] {
		for word := range strings.FieldsSeq(name) {
			if r := play(t, "assert(type("+word+") == 'function')"); r.Err != nil {
				t.Error(r.Err)
			}
		}
	}
}
