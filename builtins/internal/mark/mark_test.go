package mark

import (
	"regexp"
	"testing"

	"pgregory.net/rapid"
)

// TestTokensFollowTheirGrammar: what cutToken takes apart by hand is what the
// expression in its comment says.
func TestTokensFollowTheirGrammar(t *testing.T) {
	grammar := regexp.MustCompile(`^([a-z][a-z0-9]*)=([A-Za-z0-9._:%+-]+)$`)
	taken := 0
	rapid.Check(t, func(t *rapid.T) {
		token := rapid.OneOf(rapid.StringMatching(`[a-zA-Z0-9 _]{0,3}=?[A-Za-z0-9._:%+= \n-]{0,4}`), rapid.StringMatching(`[a-z]{1,4}=[A-Z%.]{1,4}`), rapid.String()).Draw(t, "token")
		key, escaped, ok := cutToken(token)
		found := grammar.FindStringSubmatch(token)
		if ok != (found != nil) {
			t.Fatalf("%q is taken: %v", token, ok)
		}
		if !ok {
			return
		}
		taken++
		if key != found[1] || escaped != found[2] {
			t.Fatalf("%q: %q and %q, want %q", token, key, escaped, found[1:])
		}
	})
	if taken == 0 {
		t.Error("no token was taken")
	}
}
