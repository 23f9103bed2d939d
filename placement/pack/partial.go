package pack

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// LeaveOut chooses the units to leave out, where not all can be placed, and a placement of the others. idle is nil if all can be placed. More important units come first; of equal ones the smaller, so that many are placed.
func LeaveOut(ctx context.Context, in *model.Instance, seed uint64) (idle []bool, known []uint16) {
	rng := rand.New(rand.NewPCG(seed, 8))
	s := assign.New(in)
	if len(Units(context.Background(), s, nil, rng)) == 0 {
		return nil, s.At
	}
	s = assign.New(in)
	idle = make([]bool, len(in.Units))
	for _, u := range byPriority(in) {
		idle[u] = !admit(ctx, greedy{s}, u, rng)
	}
	return idle, s.At
}

// admit places one more unit, moving others if it must, or leaves all as it was.
func admit(ctx context.Context, s greedy, u int32, rng *rand.Rand) bool {
	if h := s.cheapest(u); h != assign.Nowhere {
		s.Move(u, h)
		return true
	}
	if ctx.Err() != nil || s.In.HostsFor(u).Empty() {
		return false
	}
	before := slices.Clone(s.At)
	if len(newEjection(context.Background(), s.State, rng).run([]int32{u}, 50*len(s.At)*s.N)) == 0 {
		return true
	}
	s.Adopt(before)
	return false
}
