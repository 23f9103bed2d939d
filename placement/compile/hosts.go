package compile

import (
	"cmp"
	"math"
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/problem"
)

// usualBPS is how fast links are if nothing is said of any.
const usualBPS = 10e9

// byName lists the numbers below n by the names they have.
func byName(n int, name func(int) string) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(name(a), name(b)) })
	return order
}

// hosts is what the hosts, in that order, offer.
func hosts(p *problem.Problem, order []int) (hs model.Hosts) {
	var fastest int64
	for i := range p.Hosts {
		fastest = max(fastest, p.Hosts[i].LinkBPS)
	}
	for _, id := range order {
		h := &p.Hosts[id]
		hs.Room = append(hs.Room, roomOn(p, h))
		hs.BPS = append(hs.BPS, cmp.Or(h.LinkBPS, fastest, usualBPS))
	}
	hs.Racks, hs.Uplink = racks(p.Hosts, order)
	return hs
}

// roomOn is what VMs may take on a host.
func roomOn(p *problem.Problem, h *problem.Host) model.Room {
	r := model.Room{Memory: h.Memory, VCPUs: orUnlimited(h.VCPUs), VMs: orUnlimited(h.MaxVMs)}
	if p.Headroom > 0 {
		r.Memory -= int64(math.Ceil(p.Headroom * float64(h.Memory)))
	}
	if p.Overcommit > 0 && h.VCPUs > 0 {
		r.VCPUs = int64(math.Min(p.Overcommit*float64(h.VCPUs), model.Unlimited))
	}
	return r
}

func orUnlimited(n int) int64 {
	if n == 0 {
		return model.Unlimited
	}
	return min(int64(n), model.Unlimited)
}

// racks numbers the racks by their first host, and tells each host's, and limbo's.
func racks(hosts []problem.Host, order []int) (n int, uplink []uint16) {
	number := map[string]uint16{"": math.MaxUint16}
	for _, id := range order {
		name := hosts[id].Rack
		if _, ok := number[name]; !ok {
			number[name] = uint16(n)
			n++
		}
		uplink = append(uplink, number[name])
	}
	uplink = append(uplink, math.MaxUint16)
	for h, rack := range uplink {
		uplink[h] = min(rack, uint16(n))
	}
	return n, uplink
}

// domain is what a host is part of for an anti-affinity: itself, or its rack if it has one.
func domain(hs *model.Hosts, h int, scope string) int32 {
	if rack := int32(hs.Uplink[h]); scope == problem.ScopeRack && int(rack) < hs.Racks {
		return int32(len(hs.Room)) + rack
	}
	return int32(h)
}
