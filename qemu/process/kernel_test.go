package process

import "testing"

func TestParseStartTime(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20"
	for stat, want := range map[string]uint64{"12 (qemu)" + tail: 4711, "12 (a ) b)" + tail: 4711} {
		if got, err := parseStartTime(stat); err != nil || got != want {
			t.Errorf("%s: %d, %v", stat, got, err)
		}
	}
	for _, bad := range []string{"", "12 (qemu)", "12 (qemu) S 1 2"} {
		if _, err := parseStartTime(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
