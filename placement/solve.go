package placement

import (
	"context"
	"math/rand/v2"
)

// Solve places the VMs. The error is an *InvalidError, an *InfeasibleError, or the cause of ctx.
func Solve(ctx context.Context, p Problem) (*Placement, error) {
	in, err := compile(&p)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if in.exactFits() && !p.Partial {
		if s := in.solveExact(); s != nil {
			pl := s.report()
			pl.LowerBound, pl.Optimal = pl.Cost, true
			return pl, nil
		}
		return nil, in.conflict(nil)
	}
	r := &search{in: in, ctx: ctx, seed: p.Seed, effort: effortOf(in), bound: newBound(in).least()}
	best := r.run()
	if best == nil {
		return nil, in.conflict(nil)
	}
	s := newState(in)
	s.adopt(best.host)
	return s.report(), nil
}

// effortOf is the search effort for an instance.
func effortOf(in *instance) int {
	if in.p.Budget > 0 {
		return int(in.p.Budget.Seconds() * effortPerSec)
	}
	return min(600_000*len(in.units), 4_000_000_000)
}

// construct finds a first placement, and the units it has no room for.
func (in *instance) construct(seed uint64) (s *state, left []int32) {
	s = newState(in)
	left = s.greedy(in.bySize())
	r := newRepair(s, rand.New(rand.NewPCG(seed, 1)))
	return s, r.run(left, repairEffort(in))
}

// repairEffort bounds the search for room, in pins touched.
func repairEffort(in *instance) int {
	return 2000*len(in.units)*len(in.room) + 10*len(in.classes.pins)
}
