package flags

import (
	"fmt"
	"net/netip"
	"strings"
)

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

// ParseGroupBase reads the first multicast address to be used. It refuses addresses that are reserved for protocols on the link.
func ParseGroupBase(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4In6() || a.Zone() != "" || !a.IsMulticast() {
		return a, fmt.Errorf("group base %q: must be a multicast address, as in 239.77.0.0 or ff15::77:0", s)
	}
	if a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast() {
		return a, fmt.Errorf("group base %q: is reserved for protocols on the link; use 239.x.x.x or ff15::x", s)
	}
	return a, nil
}
