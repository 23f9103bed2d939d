package system

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// InterfaceAddr is the address of an interface for datagrams to and from addresses of the same family as like: IPv4, or IPv6 beyond the link.
// Of several it is one that is in near, else one in whose network there is one of near, else the first.
func InterfaceAddr(name string, like netip.Addr, near ...netip.Addr) (netip.Addr, error) {
	usable, err := interfaceAddrs(name, like)
	if err != nil {
		return netip.Addr{}, err
	}
	return pickAddr(usable, near), nil
}

// OwnAddr makes sure that an address is one of an interface, of the same family as like.
func OwnAddr(name string, addr, like netip.Addr) error {
	usable, err := interfaceAddrs(name, like)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(usable, func(p netip.Prefix) bool { return p.Addr() == addr }) {
		return fmt.Errorf("address %s: interface %s has none such for %s, but %v", addr, name, FamilyOf(like), usable)
	}
	return nil
}

// interfaceAddrs are the usable addresses of an interface, with their networks; at least one.
func interfaceAddrs(name string, like netip.Addr) ([]netip.Prefix, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w", name, err)
	}
	usable := UsableAddrs(addrs, like)
	if len(usable) == 0 {
		return nil, fmt.Errorf("interface %s: has no %s address", name, FamilyOf(like))
	}
	return usable, nil
}

// UsableAddrs are those of the family of like.
func UsableAddrs(addrs []net.Addr, like netip.Addr) (usable []netip.Prefix) {
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || p.Addr().Is4() != like.Is4() || !p.Addr().Is4() && p.Addr().IsLinkLocalUnicast() {
			continue
		}
		usable = append(usable, p)
	}
	return usable
}

// pickAddr is the address that is near: one of near itself, or one with one of near in its network; else the first.
func pickAddr(usable []netip.Prefix, near []netip.Addr) netip.Addr {
	for _, is := range []func(p netip.Prefix, n netip.Addr) bool{
		func(p netip.Prefix, n netip.Addr) bool { return p.Addr() == n },
		func(p netip.Prefix, n netip.Addr) bool { return p.Masked().Contains(n) },
	} {
		for _, n := range near {
			if i := slices.IndexFunc(usable, func(p netip.Prefix) bool { return is(p, n) }); i >= 0 {
				return usable[i].Addr()
			}
		}
	}
	return usable[0].Addr()
}

// FamilyOf names the family of an address.
func FamilyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}
