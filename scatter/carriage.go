package scatter

import (
	"cmp"
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/groups"
)

// The cost model of the network, from which groups are chosen. A byte on the source's link, which is the bottleneck, weighs twice
// as much as one on a host's link; a join, and a leave, as much as changePrice bytes on a host's link.
const (
	sourcePrice = 2
	hostPrice   = 1
	changePrice = 64 << 10

	joinTime    = 50 * time.Millisecond // until the first datagram arrives
	leaveTime   = 2 * time.Second       // until the last one does: switches ask twice whether anybody else still listens
	unknownRate = 125_000_000           // bytes/s that are assumed: 1 Gbit/s
)

// groupLimits says what may be used of multicast.
type groupLimits struct {
	base        netip.Addr
	port        uint16 // of all groups; 0 = DefaultGroupPort
	max         int    // target sets with a group; 0 = none
	memberships int    // of a host at one time; 0 = default
	none        bool
	rate        int64 // bytes/s, as far as it is known
	keep        []groups.Kept
}

// chooseGroups decides which sets are carried by which groups, and in what order.
func chooseGroups(hosts int, sets []targetSet, lim groupLimits) (*groups.Plan, error) {
	rate := float64(cmp.Or(lim.rate, unknownRate))
	p := groups.Problem{
		Hosts: hosts, Limits: groups.Limits{Groups: lim.max, Memberships: lim.memberships},
		Prices: groups.Prices{Source: sourcePrice, Host: hostPrice, Change: changePrice},
		Keep:   lim.keep,
		Delay:  groups.Delay{Join: int64(joinTime.Seconds() * rate), Leave: int64(leaveTime.Seconds() * rate)},
	}
	for _, s := range sets {
		p.Sets = append(p.Sets, groups.Set{Hosts: s.hosts, Bytes: s.bytes})
	}
	if lim.none || lim.max == 0 {
		return groups.Unicast(p)
	}
	return groups.Solve(p)
}
