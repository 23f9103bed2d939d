package lan

import "testing"

func TestStaleNames(t *testing.T) {
	own, err := ownName()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{
		own + "-1-source":              false,
		own + "9-1-source":             true, // same number, another process
		"scatterlab-4194305-1-1-x":     true,
		"scatterlab-1":                 false,
		"other-4194305-1-1-x":          false,
		"scatterlab-number-1-1-source": false,
	} {
		if got := stale(name); got != want {
			t.Errorf("stale(%q) = %v", name, got)
		}
	}
}
