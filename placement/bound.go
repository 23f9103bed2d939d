package placement

import (
	"math"
	"slices"
)

// lowerBound is a cost that no placement of the placed units undercuts: every class needs as many hosts as its units fill
// by themselves.
func (s *state) lowerBound() int64 {
	b := newBound(s.in)
	switch s.in.p.Objective {
	case Hosts:
		return b.hosts(s.placed())
	case Makespan:
		return b.makespan(s)
	}
	return b.traffic(s)
}

func (s *state) placed() []int32 {
	var out []int32
	for u, h := range s.host {
		if h != nowhere {
			out = append(out, int32(u))
		}
	}
	return out
}

// bound holds, for each resource, the most that 1, 2, ... hosts can offer.
type bound struct {
	in                 *instance
	memory, vcpus, vms []int64
}

func newBound(in *instance) *bound {
	b := &bound{in: in}
	b.memory = prefix(in.room, func(r room) int64 { return r.memory })
	b.vcpus = prefix(in.room, func(r room) int64 { return r.vcpus })
	b.vms = prefix(in.room, func(r room) int64 { return r.vms })
	return b
}

// prefix sums the hosts' offers, the greatest first.
func prefix(rooms []room, of func(room) int64) []int64 {
	var out []int64
	for _, r := range rooms {
		out = append(out, of(r))
	}
	slices.SortFunc(out, func(a, b int64) int { return int(max(-1, min(1, b-a))) })
	var sum int64
	for i := range out {
		sum = min(sum+out[i], math.MaxInt64/4)
		out[i] = sum
	}
	return out
}

// hosts is the least number of hosts that have room for the units, looking at each resource alone.
func (b *bound) hosts(units []int32) int64 {
	var memory, vcpus, vms int64
	if len(units) == 0 {
		return 0
	}
	for _, u := range units {
		unit := &b.in.units[u]
		memory += unit.claim
		if b.in.shared {
			memory += unit.own
		}
		vcpus += unit.vcpus
		vms += int64(unit.count)
	}
	return max(atLeast(b.memory, memory), atLeast(b.vcpus, vcpus), atLeast(b.vms, vms))
}

// atLeast is how many hosts it takes to offer what is wanted.
func atLeast(offer []int64, want int64) int64 {
	if want == 0 {
		return 1
	}
	i, _ := slices.BinarySearch(offer, want)
	return int64(i + 1)
}

// traffic is the sum over classes of bytes times hosts needed, over the placed units.
func (b *bound) traffic(s *state) int64 {
	var sum int64
	g := &s.in.classes
	var units []int32
	for c := range g.weight {
		units = units[:0]
		for _, u := range g.pinsOf(int32(c)) {
			if s.host[u] != nowhere {
				units = append(units, int32(u))
			}
		}
		if len(units) > 0 {
			sum += g.weight[c] * b.hosts(units)
		}
	}
	for _, u := range s.placed() {
		sum += s.in.units[u].own
	}
	return sum
}

// makespan is the time that the links take together, or the largest unit alone on the fastest.
func (b *bound) makespan(s *state) int64 {
	var fastest, sum int64
	for _, v := range s.in.bps {
		fastest = max(fastest, v)
		sum = min(sum+v, math.MaxInt64/4)
	}
	if sum == 0 {
		return 0
	}
	least := sendTime(b.traffic(s), sum)
	for _, u := range s.placed() {
		bytes := s.in.units[u].own
		for _, c := range s.in.classes.classesOf(u) {
			bytes += s.in.classes.weight[c]
		}
		least = max(least, sendTime(bytes, fastest))
	}
	return least
}
