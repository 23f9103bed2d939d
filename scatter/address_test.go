package scatter

import (
	"net"
	"net/netip"
	"testing"
)

// TestPickAddr: the first address of the family, and of IPv6 none that needs a zone.
func TestPickAddr(t *testing.T) {
	var addrs []net.Addr
	for _, s := range []string{"fe80::1/64", "10.0.0.1/24", "fd00::1/64", "10.0.0.2/24"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	for like, want := range map[string]string{"239.77.0.0": "10.0.0.1", "ff15::77": "fd00::1"} {
		if got := pickAddr(addrs, netip.MustParseAddr(like)); got.String() != want {
			t.Errorf("for %s: %v, want %s", like, got, want)
		}
	}
	if got := pickAddr(addrs[:2], netip.IPv6Unspecified()); got.IsValid() {
		t.Errorf("%v is of no use", got)
	}
}
