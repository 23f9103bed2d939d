package exact

import (
	"math"
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
)

// price orders solutions; impossible ones have a cost of never.
type price struct {
	cost      int64
	traffic   int64
	imbalance float64
}

const never = math.MaxInt64

// less reports whether a is better.
func (a price) less(b price) bool {
	if a.cost != b.cost {
		return a.cost < b.cost
	}
	if a.traffic != b.traffic {
		return a.traffic < b.traffic
	}
	return a.imbalance < b.imbalance
}

// uplinked adds what the link of a rack carries to the prices of handing subsets to its hosts.
func (e *exhaustion) uplinked(rack int, prices []price) []price {
	domain := int32(len(e.in.Room) + rack)
	out := slices.Clone(prices)
	for set := range out {
		if out[set].cost == never {
			continue
		}
		if !e.apart(domain, uint32(set)) {
			out[set].cost = never
			continue
		}
		out[set].traffic += e.bytes[set]
		if e.in.Objective == model.LeastTraffic {
			out[set].cost += e.bytes[set]
		}
	}
	return out
}

// prices are what it costs to hand each subset to a host.
func (e *exhaustion) prices(h int) []price {
	out := make([]price, e.subsets)
	for set := range out {
		out[set] = e.price(h, uint32(set))
	}
	return out
}

// price is what it costs to hand a subset to a host, never if it does not fit.
func (e *exhaustion) price(h int, set uint32) price {
	room := &e.in.Room[h]
	memory := e.claim[set]
	if e.in.Shared {
		memory += e.bytes[set]
	}
	if memory > room.Memory || e.vcpus[set] > room.VCPUs || e.vms[set] > room.VMs || !e.allowed(h, set) {
		return price{cost: never}
	}
	p := price{e.bytes[set], e.bytes[set], room.Unevenness(memory)}
	switch {
	case e.in.Objective == model.LeastTime:
		p.cost = e.in.Time(h, e.bytes[set])
	case e.in.Objective == model.FewestHosts && set != 0:
		p.cost = 1
	}
	return p
}

// allowed reports whether constraints let a subset be on a host.
func (e *exhaustion) allowed(h int, set uint32) bool {
	for u := range e.in.Units {
		if set>>u&1 != 0 && !e.in.Allows(int32(u), h) {
			return false
		}
	}
	return e.apart(int32(h), set)
}

// apart reports whether the anti-affinities let a subset be in one domain, a host or a rack.
func (e *exhaustion) apart(domain int32, set uint32) bool {
	for i := range e.in.Groups.All {
		if g := &e.in.Groups.All[i]; slices.Contains(g.Domain, domain) && crowds(g, domain, set) {
			return false
		}
	}
	return true
}

// crowds reports whether a subset is too much of a group for a domain. What lives there already is no reason.
func crowds(g *model.Group, domain int32, set uint32) bool {
	var n int64
	for u, w := range g.Weight {
		n += w * int64(set>>u&1)
	}
	return n > 0 && n+g.Start[domain] > g.Limit
}
