package pack

import "github.com/scatter-vm/scatter/placement/assign"

// Greedy places the units of an order one by one, each on the host that costs the least more traffic, among equals the
// one that stays emptiest. It returns the units that found no room.
func Greedy(s *assign.State, order []int32) (left []int32) { return greedy{s}.place(order) }

// greedy puts each unit where that is cheapest now.
type greedy struct{ *assign.State }

func (s greedy) place(order []int32) (left []int32) {
	for _, u := range order {
		if h := s.cheapest(u); h != assign.Nowhere {
			s.Move(u, h)
		} else {
			left = append(left, u)
		}
	}
	return left
}

// cheapest is the host where u fits with the least more traffic, or nowhere.
func (s greedy) cheapest(u int32) int {
	best, bestCost, bestFill := assign.Nowhere, int64(0), 0.0
	for h := range s.N {
		cost := s.Arrival(u, h)
		if best != assign.Nowhere && cost > bestCost || !s.Fits(u, h) {
			continue
		}
		if fill := s.fill(u, h); best == assign.Nowhere || cost < bestCost || fill < bestFill {
			best, bestCost, bestFill = h, cost, fill
		}
	}
	return best
}

// fill is the share of a host's memory taken once u is there.
func (s greedy) fill(u int32, h int) float64 {
	_, here := s.Changes(u, h)
	return float64(s.UsedAfter(h, here)) / float64(max(s.In.Room[h].Memory, 1))
}
