package vmname

import (
	"strings"
	"testing"
)

func TestCheckName(t *testing.T) {
	for _, good := range []string{"a", "vm-1", "Web_2.prod", strings.Repeat("x", Max)} {
		if err := Check(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a/b", "-a", "_a", "a b", "a\n", "ä", "a,b", "a\x00", strings.Repeat("x", Max+1)} {
		if Check(bad) == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

// TestAlias: whatever QEMU takes for a name, scatter has one that can be used in the names of files, and no two are the same.
func TestAlias(t *testing.T) {
	seen := make(map[string]string)
	for _, own := range []string{"web", "two words", "two-words", "two,words", "two/words", "../etc", "-x", "_x", ".", "Ä", "Ö", "名前", strings.Repeat("x", Max),
		strings.Repeat("x", 70), strings.Repeat("x", 71), strings.Repeat("é", 200), "a\x00b", "a\nb", " ", strings.Repeat("/", 300)} {
		alias := Alias(own)
		if err := Check(alias); err != nil || seen[alias] != "" || Alias(own) != alias || Alias(alias) != alias {
			t.Errorf("%q: %s, %v; the same as %q", own, alias, err, seen[alias])
		}
		if Check(own) == nil && alias != own {
			t.Errorf("%q: %s", own, alias)
		}
		seen[alias] = own
	}
	if got := Alias("two words"); !strings.HasPrefix(got, "two-words-") {
		t.Errorf("got %s", got)
	}
}
