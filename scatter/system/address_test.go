package system

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestPickAddr: an address of the family, and of IPv6 none that needs a zone; one that is near, else the first.
func TestPickAddr(t *testing.T) {
	var addrs []net.Addr
	for _, s := range []string{"fe80::1/64", "10.0.0.1/24", "fd00::1/64", "10.0.0.2/24", "192.168.7.1/16"} {
		ip, n, err := net.ParseCIDR(s)
		if err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, &net.IPNet{IP: ip, Mask: n.Mask})
	}
	for _, c := range []struct{ like, near, want string }{
		{"239.77.0.0", "", "10.0.0.1"}, {"ff15::77", "", "fd00::1"}, {"239.77.0.0", "10.0.0.2", "10.0.0.2"}, {"239.77.0.0", "192.168.200.9", "192.168.7.1"},
		{"239.77.0.0", "10.0.0.77", "10.0.0.1"}, {"239.77.0.0", "172.16.0.1", "10.0.0.1"}, {"239.77.0.0", "fd00::5 192.168.7.1", "192.168.7.1"},
		{"239.77.0.0", "192.168.1.1 10.0.0.2", "10.0.0.2"}, // itself before its network
	} {
		var near []netip.Addr
		for _, s := range strings.Fields(c.near) {
			near = append(near, netip.MustParseAddr(s))
		}
		if got := pickAddr(UsableAddrs(addrs, netip.MustParseAddr(c.like)), near); got.String() != c.want {
			t.Errorf("for %s near %q: %v, want %s", c.like, c.near, got, c.want)
		}
	}
	if got := UsableAddrs(addrs[:2], netip.IPv6Unspecified()); len(got) > 0 {
		t.Errorf("%v is of no use", got)
	}
	if err := OwnAddr("lo", netip.MustParseAddr("127.0.0.1"), netip.IPv4Unspecified()); err != nil {
		t.Error(err)
	}
	if err := OwnAddr("lo", netip.MustParseAddr("10.9.8.7"), netip.IPv4Unspecified()); err == nil || !strings.Contains(err.Error(), "127.0.0.1/8") {
		t.Error(err)
	}
}
