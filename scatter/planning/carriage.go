package planning

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

// GroupLimits says what may be used of multicast.
type GroupLimits struct {
	Base        netip.Addr
	Port        uint16 // of all groups; 0 = DefaultGroupPort
	Max         int    // target sets with a group; 0 = none
	Memberships int    // of a host at one time; 0 = default
	None        bool
	Rate        int64 // bytes/s, as far as it is known
	Keep        []groups.Kept
}

// chooseGroups decides which sets are carried by which groups, and in what order.
func chooseGroups(hosts int, sets []targetSet, lim GroupLimits) (*groups.Plan, error) {
	rate := float64(cmp.Or(lim.Rate, unknownRate))
	p := groups.Problem{
		Hosts: hosts, Limits: groups.Limits{Groups: lim.Max, Memberships: lim.Memberships},
		Prices: groups.Prices{Source: sourcePrice, Host: hostPrice, Change: changePrice},
		Keep:   lim.Keep,
		Delay:  groups.Delay{Join: int64(joinTime.Seconds() * rate), Leave: int64(leaveTime.Seconds() * rate)},
	}
	for _, s := range sets {
		p.Sets = append(p.Sets, groups.Set{Hosts: s.hosts, Bytes: s.bytes})
	}
	if lim.None || lim.Max == 0 {
		return groups.Unicast(p)
	}
	return groups.Solve(p)
}
