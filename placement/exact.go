package placement

import (
	"math"
	"math/bits"
	"slices"
)

// maxExactUnits is up to how many units a problem is solved by exhaustion: 3^15 steps a host take well below a second.
const maxExactUnits = 15

// exactFits reports whether exhaustion applies.
func (in *instance) exactFits() bool {
	n := len(in.units)
	return n <= maxExactUnits && len(in.room) > 0 && float64(len(in.room)+in.racks)*math.Pow(3, float64(n)) <= 1e8
}

// exact solves a problem of few units over all ways to hand each host, or each rack for its hosts, a subset of what is left.
// A subset is a bit mask of units. Costs are compared by objective first, then by traffic and imbalance.
type exact struct {
	in      *instance
	subsets int
	bytes   []int64 // of the classes that a subset needs, units' own included
	claim   []int64
	vcpus   []int64
	vms     []int64
}

// dealing is what it costs to hand each subset to the receivers so far.
type dealing struct {
	best      []price
	receivers []receiver
}

// receiver is a host, or a rack that deals its part out to its hosts.
type receiver struct {
	host  int
	inner *dealing
	share []uint32 // subset dealt to this and the receivers before -> what this one gets of it
}

// price orders solutions; impossible ones have a cost of never.
type price struct {
	cost      int64
	traffic   int64
	imbalance float64
}

const never = math.MaxInt64

func (a price) less(b price) bool {
	if a.cost != b.cost {
		return a.cost < b.cost
	}
	if a.traffic != b.traffic {
		return a.traffic < b.traffic
	}
	return a.imbalance < b.imbalance
}

// solveExact returns the best placement, or nil if there is none.
func (in *instance) solveExact() *state {
	e := newExact(in)
	d := e.deal(in.racks)
	for rack := range in.racks {
		inner := e.deal(rack)
		e.add(d, receiver{inner: inner}, e.uplinked(rack, inner.best))
	}
	all := uint32(e.subsets - 1)
	if d.best[all].cost == never {
		return nil
	}
	s := newState(in)
	d.carryOut(s, all)
	return s
}

// carryOut moves the units of a subset to the hosts that get them.
func (d *dealing) carryOut(s *state, set uint32) {
	for i := len(d.receivers) - 1; i >= 0; i-- {
		r := &d.receivers[i]
		part := r.share[set]
		set &^= part
		if r.inner != nil {
			r.inner.carryOut(s, part)
			continue
		}
		for ; part != 0; part &= part - 1 {
			s.move(int32(bits.TrailingZeros32(part)), r.host)
		}
	}
}

func newExact(in *instance) *exact {
	e := &exact{in: in, subsets: 1 << len(in.units)}
	e.bytes = e.classBytes()
	e.claim = e.sums(func(u *unit) int64 { return u.claim })
	e.vcpus = e.sums(func(u *unit) int64 { return u.vcpus })
	e.vms = e.sums(func(u *unit) int64 { return int64(u.count) })
	return e
}

// sums adds up a size over every subset.
func (e *exact) sums(of func(*unit) int64) []int64 {
	out := make([]int64, e.subsets)
	for u := range e.in.units {
		for set := range 1 << u {
			out[set|1<<u] = out[set] + of(&e.in.units[u])
		}
	}
	return out
}

// classBytes is, for every subset, the bytes of the classes that touch it: all bytes less those of the classes that lie
// in the complement.
func (e *exact) classBytes() []int64 {
	within := make([]int64, e.subsets)
	var all int64
	g := &e.in.classes
	for c, w := range g.Weight {
		var set uint32
		for _, u := range g.Pins(int32(c)) {
			set |= 1 << u
		}
		within[set] += w
		all += w
	}
	for u := range e.in.units {
		within[1<<u] += e.in.units[u].own
		all += e.in.units[u].own
	}
	for u := range e.in.units {
		for set := range within {
			if set>>u&1 != 0 {
				within[set] += within[set^1<<u]
			}
		}
	}
	out := make([]int64, e.subsets)
	for set := range out {
		out[set] = all - within[e.subsets-1^set]
	}
	return out
}

// deal hands subsets to the hosts of a rack; those without one are in the rack that comes after the last.
func (e *exact) deal(rack int) *dealing {
	d := &dealing{best: make([]price, e.subsets)}
	for i := range d.best[1:] {
		d.best[i+1].cost = never
	}
	if e.in.p.Objective == Makespan {
		d.best[0].cost = e.in.floor
	}
	for h := range e.in.room {
		if int(e.in.uplink[h]) != rack {
			continue
		}
		prices := make([]price, e.subsets)
		for set := range prices {
			prices[set] = e.price(h, uint32(set))
		}
		e.add(d, receiver{host: h}, prices)
	}
	return d
}

// add extends the best prices by one more receiver.
func (e *exact) add(d *dealing, r receiver, prices []price) {
	next := make([]price, e.subsets)
	r.share = make([]uint32, e.subsets)
	for set := range uint32(e.subsets) {
		best := d.best[set]
		var take uint32
		for part := set; part != 0; part = (part - 1) & set {
			if prices[part].cost == never || d.best[set&^part].cost == never {
				continue
			}
			if p := e.join(d.best[set&^part], prices[part]); p.less(best) {
				best, take = p, part
			}
		}
		next[set], r.share[set] = best, take
	}
	d.best = next
	d.receivers = append(d.receivers, r)
}

func (e *exact) join(a, b price) price {
	if e.in.p.Objective == Makespan {
		a.cost = max(a.cost, b.cost)
	} else {
		a.cost += b.cost
	}
	return price{a.cost, a.traffic + b.traffic, a.imbalance + b.imbalance}
}

// uplinked adds what the link of a rack carries to the prices of handing subsets to its hosts.
func (e *exact) uplinked(rack int, prices []price) []price {
	domain := int32(len(e.in.room) + rack)
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
		if e.in.p.Objective == "" || e.in.p.Objective == Traffic {
			out[set].cost += e.bytes[set]
		}
	}
	return out
}

// price is what it costs to hand a subset to a host, never if it does not fit.
func (e *exact) price(h int, set uint32) price {
	room := &e.in.room[h]
	memory := e.claim[set]
	if e.in.shared {
		memory += e.bytes[set]
	}
	if memory > room.memory || e.vcpus[set] > room.vcpus || e.vms[set] > room.vms || !e.allowed(h, set) {
		return price{cost: never}
	}
	p := price{e.bytes[set], e.bytes[set], imbalance(memory, room.memory)}
	switch {
	case e.in.p.Objective == Makespan:
		p.cost = sendTime(e.bytes[set], e.in.bps[h])
	case e.in.p.Objective == Hosts && set != 0:
		p.cost = 1
	}
	return p
}

func (e *exact) allowed(h int, set uint32) bool {
	for u := range e.in.units {
		if set>>u&1 != 0 && !e.in.allows(int32(u), h) {
			return false
		}
	}
	return e.apart(int32(h), set)
}

// apart reports whether the anti-affinities let a subset be in one domain, a host or a rack.
func (e *exact) apart(domain int32, set uint32) bool {
	for i := range e.in.groups {
		g := &e.in.groups[i]
		if !slices.Contains(g.domain, domain) {
			continue
		}
		n := g.start[domain]
		any := false
		for u, w := range g.weight {
			if set>>u&1 != 0 {
				n += w
				any = true
			}
		}
		if any && n > g.limit {
			return false
		}
	}
	return true
}
