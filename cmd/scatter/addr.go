package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/scatter-vm/scatter/scatter"
)

// parseTarget reads [NAME=]IP:PORT.
func parseTarget(s string) (scatter.TargetAddr, error) {
	name, addr, named := strings.Cut(s, "=")
	if !named {
		name, addr = "", s
	} else if name == "" {
		return scatter.TargetAddr{}, fmt.Errorf("target %q: empty name", s)
	}
	ap, err := parseAddrPort(addr)
	if err != nil {
		return scatter.TargetAddr{}, fmt.Errorf("target %q: %w", s, err)
	}
	return scatter.TargetAddr{Name: name, Addr: ap}, nil
}

// parseAddrPort reads IP:PORT of a host that can be dialled.
func parseAddrPort(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return ap, fmt.Errorf("want IP:PORT, as in 10.0.0.2:7400")
	}
	if ap.Port() == 0 || ap.Addr().IsMulticast() {
		return ap, fmt.Errorf("%s: must be a host's address with a port > 0", ap)
	}
	return ap, nil
}

// parseTargets reads several targets and refuses one that comes twice.
func parseTargets(list []string) ([]scatter.TargetAddr, error) {
	var all []scatter.TargetAddr
	seen := map[string]string{}
	for _, s := range list {
		t, err := parseTarget(s)
		if err != nil {
			return nil, err
		}
		for _, key := range []string{t.Addr.String(), t.Name} {
			if other := seen[key]; key != "" && other != "" {
				return nil, fmt.Errorf("target %q: same as %q", s, other)
			}
			seen[key] = s
		}
		all = append(all, t)
	}
	return all, nil
}

// parsePairs reads KEY=VALUE of the flag that is called what; a key may come once.
func parsePairs(what string, list []string) (map[string]string, error) {
	pairs := map[string]string{}
	for _, s := range list {
		k, v, ok := strings.Cut(s, "=")
		if !ok || k == "" || v == "" {
			return nil, fmt.Errorf("%s %q: want NAME=VALUE", what, s)
		}
		if _, twice := pairs[k]; twice {
			return nil, fmt.Errorf("%s %q: %s was given before", what, s, k)
		}
		pairs[k] = v
	}
	return pairs, nil
}

// parseGroupBase reads the first multicast address to be used.
func parseGroupBase(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4In6() || a.Zone() != "" || !a.IsMulticast() {
		return a, fmt.Errorf("group base %q: must be a multicast address, as in 239.77.0.0 or ff15::77:0", s)
	}
	if a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() {
		return a, fmt.Errorf("group base %q: is reserved for protocols on the link; use 239.x.x.x or ff15::x", s)
	}
	return a, nil
}
