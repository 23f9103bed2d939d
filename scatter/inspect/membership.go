package inspect

import "net/netip"

// membershipProtocol is how hosts tell switches and routers what they listen to.
type membershipProtocol struct {
	name   string
	naming string // its first version that names sources
	option string // of a Linux bridge, to speak that
	limits string // of the system: sysctls
}

var (
	igmp = membershipProtocol{"IGMP", "IGMPv3", "mcast_igmp_version 3", "net.ipv4.igmp_max_memberships=20 net.ipv4.igmp_max_msf=10"}
	mld  = membershipProtocol{"MLD", "MLDv2", "mcast_mld_version 2", "net.ipv6.mld_max_msf=64 net.core.optmem_max=131072"}
)

// protocolOf is the one for groups of the family of an address.
func protocolOf(group netip.Addr) membershipProtocol {
	if group.Is4() {
		return igmp
	}
	return mld
}

// querier and snooping are what to switch on.
func (p membershipProtocol) querier() string {
	return "switch on an " + p.name + " querier in this VLAN, at a switch or router (a Linux bridge: mcast_querier 1)"
}

func (p membershipProtocol) snooping() string {
	return "switch " + p.name + " snooping on, together with a querier in this VLAN (a Linux bridge: mcast_snooping 1 mcast_querier 1)"
}
