package placement

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
)

// leaveOut chooses, when the problem may be solved in part, the units to leave out, and a placement of the others: nil if
// all can be placed, or must be. More important units come first; of equal ones the smaller, so that many are placed.
func (in *instance) leaveOut(ctx context.Context) (idle []bool, known []uint16) {
	if !in.p.Partial {
		return nil, nil
	}
	rng := rand.New(rand.NewPCG(in.p.Seed, 8))
	s := newState(in)
	if len(s.pack(nil, rng)) == 0 {
		return nil, s.At
	}
	s = newState(in)
	idle = make([]bool, len(in.units))
	for _, u := range in.byPriority() {
		idle[u] = !s.admit(ctx, u, rng)
	}
	return idle, s.At
}

func (in *instance) byPriority() []int32 {
	order := in.bySize()
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(in.units[b].priority, in.units[a].priority) })
	return order
}

// admit places one more unit, moving others if it must, or leaves all as it was.
func (s *state) admit(ctx context.Context, u int32, rng *rand.Rand) bool {
	if h := s.cheapest(u); h != nowhere {
		s.move(u, h)
		return true
	}
	if ctx.Err() != nil || !slices.ContainsFunc(s.in.hostsFor(u), func(w uint64) bool { return w != 0 }) {
		return false
	}
	before := slices.Clone(s.At)
	if len(newRepair(s, rng).run([]int32{u}, 50*len(s.At)*s.n)) == 0 {
		return true
	}
	s.adopt(before)
	return false
}
