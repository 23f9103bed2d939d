package memory

import (
	"strings"
	"testing"
)

func FuzzParseMappings(f *testing.F) {
	f.Add("7f342ae00000-7f342be00000 rw-p 00001000 00:00 0    [heap]\n7f342be00000-7f342bf00000 rw-s 00000000 00:01 12 /memfd:x (deleted)\n")
	f.Fuzz(func(t *testing.T, text string) {
		maps, err := parseMappings(text)
		if err == nil && len(maps) > strings.Count(text, "\n")+1 {
			t.Errorf("%d mappings", len(maps))
		}
	})
}
