package placement

import "math"

// maxExactUnits is up to how many units a problem is solved by exhaustion: 3^15 steps a host take well below a second.
const maxExactUnits = 15

// exactFits reports whether exhaustion applies. Anti-affinity by rack couples hosts, so that these problems are left to
// the search.
func (in *instance) exactFits() bool {
	n := len(in.units)
	if n > maxExactUnits || len(in.room) == 0 || float64(len(in.room))*math.Pow(3, float64(n)) > 1e8 {
		return false
	}
	for i := range in.groups {
		g := &in.groups[i]
		for h, d := range g.domain {
			if int32(h) != d {
				return false
			}
		}
	}
	return true
}

// exact solves a problem of few units over all ways to hand each host a subset of what is left. A subset is a bit mask of
// units. Costs are compared by objective first, then by traffic and imbalance.
type exact struct {
	in      *instance
	subsets int
	bytes   []int64 // of the classes that a subset needs, units' own included
	claim   []int64
	vcpus   []int64
	vms     []int64
	best    []price    // of handing the subset to the hosts so far
	choice  [][]uint32 // host, subset -> what this host gets of it
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
	for h := range in.room {
		e.hand(h)
	}
	all := uint32(e.subsets - 1)
	if e.best[all].cost == never {
		return nil
	}
	s := newState(in)
	for h := len(in.room) - 1; h >= 0; h-- {
		part := e.choice[h][all]
		for u := range in.units {
			if part>>u&1 != 0 {
				s.move(int32(u), h)
			}
		}
		all &^= part
	}
	return s
}

func newExact(in *instance) *exact {
	e := &exact{in: in, subsets: 1 << len(in.units)}
	e.bytes = e.classBytes()
	e.claim = e.sums(func(u *unit) int64 { return u.claim })
	e.vcpus = e.sums(func(u *unit) int64 { return u.vcpus })
	e.vms = e.sums(func(u *unit) int64 { return int64(u.count) })
	e.best = make([]price, e.subsets)
	for i := range e.best[1:] {
		e.best[i+1].cost = never
	}
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
	for c, w := range g.weight {
		var set uint32
		for _, u := range g.pinsOf(int32(c)) {
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

// hand extends the best prices by one more host.
func (e *exact) hand(h int) {
	prices := make([]price, e.subsets)
	for set := range prices {
		prices[set] = e.price(h, uint32(set))
	}
	next := make([]price, e.subsets)
	choice := make([]uint32, e.subsets)
	for set := range uint32(e.subsets) {
		best := e.best[set]
		var take uint32
		for part := set; part != 0; part = (part - 1) & set {
			if prices[part].cost == never || e.best[set&^part].cost == never {
				continue
			}
			if p := e.join(e.best[set&^part], prices[part]); p.less(best) {
				best, take = p, part
			}
		}
		next[set], choice[set] = best, take
	}
	e.best = next
	e.choice = append(e.choice, choice)
}

func (e *exact) join(a, b price) price {
	if e.in.p.Objective == Makespan {
		a.cost = max(a.cost, b.cost)
	} else {
		a.cost += b.cost
	}
	return price{a.cost, a.traffic + b.traffic, a.imbalance + b.imbalance}
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
	for i := range e.in.groups {
		g := &e.in.groups[i]
		n := g.start[h]
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
