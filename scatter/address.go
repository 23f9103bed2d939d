package scatter

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/groups"
)

// interfaceAddr is the address of an interface for datagrams to and from addresses of the same family as like: IPv4, or IPv6 beyond the link.
// Of several it is one that is in near, else one in whose network there is one of near, else the first.
func interfaceAddr(name string, like netip.Addr, near ...netip.Addr) (netip.Addr, error) {
	usable, err := interfaceAddrs(name, like)
	if err != nil {
		return netip.Addr{}, err
	}
	return pickAddr(usable, near), nil
}

// ownAddr makes sure that an address is one of an interface, of the same family as like.
func ownAddr(name string, addr, like netip.Addr) error {
	usable, err := interfaceAddrs(name, like)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(usable, func(p netip.Prefix) bool { return p.Addr() == addr }) {
		return fmt.Errorf("address %s: interface %s has none such for %s, but %v", addr, name, familyOf(like), usable)
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
	usable := usableAddrs(addrs, like)
	if len(usable) == 0 {
		return nil, fmt.Errorf("interface %s: has no %s address", name, familyOf(like))
	}
	return usable, nil
}

// usableAddrs are those of the family of like.
func usableAddrs(addrs []net.Addr, like netip.Addr) (usable []netip.Prefix) {
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

func familyOf(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// localAddr is the address that datagrams come from: what the operator says, or what the connections to targets come from, if that is an address
// of the interface.
func localAddr(name string, said, like netip.Addr, links []*link) (netip.Addr, error) {
	if said.IsValid() {
		return said, ownAddr(name, said, like)
	}
	var near []netip.Addr
	for _, l := range links {
		near = append(near, l.conn.LocalAddr())
	}
	for _, l := range links {
		near = append(near, l.target.Addr.Addr())
	}
	return interfaceAddr(name, like, near...)
}

// ownGroups is where the groups of an evacuation begin unless the operator says so: one of as many parts of 239.77.0.0/16 as there are, so that two
// sources hardly ever load each other's targets.
func ownGroups(id [8]byte, most int) netip.Addr {
	part := 1
	for part < max(most, groups.DefaultGroups) {
		part *= 2
	}
	parts := max(1, 1<<16/part)
	at := uint16(binary.BigEndian.Uint64(id[:])%uint64(parts)) * uint16(part)
	return netip.AddrFrom4([4]byte{239, 77, byte(at >> 8), byte(at)})
}
