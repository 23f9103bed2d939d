package model

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"10.0.0.1:7000", "web=10.0.0.1:7000", "web=[fd00::1]:7000", "[::1]:1"} {
		got, err := ParseTarget(s)
		if err != nil || got.String() != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	want := TargetAddr{Name: "h", Addr: netip.MustParseAddrPort("10.1.2.3:4")}
	if got, err := ParseTarget("h=10.1.2.3:4"); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, s := range []string{"", "web", "web=", "=", "web=host:7000", "10.0.0.1", "a=b=10.0.0.1:1", "10.0.0.1:99999"} {
		if got, err := ParseTarget(s); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}
