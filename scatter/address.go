package scatter

import (
	"fmt"
	"net"
	"net/netip"
)

// interfaceAddr is the address of an interface for datagrams to and from addresses of the same family as like: IPv4, or IPv6 beyond the link.
func interfaceAddr(name string, like netip.Addr) (netip.Addr, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", name, err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", name, err)
	}
	if a := pickAddr(addrs, like); a.IsValid() {
		return a, nil
	}
	return netip.Addr{}, fmt.Errorf("interface %s: has no %s address", name, familyOf(like))
}

// pickAddr is the first usable one of the family of like; the zero Addr when there is none.
func pickAddr(addrs []net.Addr, like netip.Addr) netip.Addr {
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is4() != like.Is4() || !p.Addr().Is4() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		return p.Addr()
	}
	return netip.Addr{}
}

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
