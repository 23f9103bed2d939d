package placement

import (
	"cmp"
	"slices"
)

// greedy places the units of an order one by one, each on the host that costs the least more traffic, among equals the
// one that stays emptiest. It returns the units that found no room.
func (s *state) greedy(order []int32) (left []int32) {
	for _, u := range order {
		if h := s.cheapest(u); h != nowhere {
			s.move(u, h)
		} else {
			left = append(left, u)
		}
	}
	return left
}

// cheapest is the host where u fits with the least more traffic, or nowhere.
func (s *state) cheapest(u int32) int {
	best, bestCost, bestFill := nowhere, int64(0), 0.0
	for h := range s.n {
		cost := s.Arrival(u, h)
		if best != nowhere && cost > bestCost || !s.fits(u, h) {
			continue
		}
		if fill := s.fill(u, h); best == nowhere || cost < bestCost || fill < bestFill {
			best, bestCost, bestFill = h, cost, fill
		}
	}
	return best
}

// fill is the share of a host's memory taken once u is there.
func (s *state) fill(u int32, h int) float64 {
	_, here := s.changes(u, h)
	return float64(s.usedAfter(h, here)) / float64(max(s.in.room[h].memory, 1))
}

// bySize orders the units so that those hard to place come first: few hosts allowed, then much memory.
func (in *instance) bySize() []int32 {
	order := make([]int32, len(in.units))
	hosts := make([]int, len(in.units))
	for u := range order {
		order[u] = int32(u)
		hosts[u] = popcount(in.allowed[u*in.words : (u+1)*in.words])
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		x, y := &in.units[a], &in.units[b]
		return cmp.Or(
			cmp.Compare(min(hosts[a], 2), min(hosts[b], 2)),
			cmp.Compare(y.claim+y.own, x.claim+x.own),
			cmp.Compare(y.vcpus, x.vcpus),
			cmp.Compare(hosts[a], hosts[b]))
	})
	return order
}
