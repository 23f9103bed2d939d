package flags

import "testing"

func TestParsePairs(t *testing.T) {
	got, err := parsePairs("place", []string{"web=beta", "db=gamma=x"})
	if err != nil || got["web"] != "beta" || got["db"] != "gamma=x" {
		t.Fatalf("%v %v", got, err)
	}
	for _, bad := range [][]string{{"web"}, {"=beta"}, {"web="}, {"web=a", "web=b"}} {
		if _, err := parsePairs("place", bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
