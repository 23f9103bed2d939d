package placement

import (
	"context"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/bound"
	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/conflict"
	"github.com/scatter-vm/scatter/placement/exact"
	"github.com/scatter-vm/scatter/placement/local"
	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/pack"
	"github.com/scatter-vm/scatter/placement/search"
)

// solver decides what to try on a problem: proof that there is no placement, exhaustion, search.
type solver struct {
	p         *Problem
	in        *model.Instance
	numbering *compile.Numbering
}

// solve finds the best state it can, and reports whether it is proven to be the best.
func (v *solver) solve(ctx context.Context, effort int) (s *assign.State, proven bool, err error) {
	if s, proven = v.attempt(ctx, effort, true); s == nil {
		return nil, false, v.conflict(ctx)
	}
	return s, proven, nil
}

// conflict says why there is no placement.
func (v *solver) conflict(ctx context.Context) error {
	var suspects []int
	if u, homeless := v.in.Homeless(); homeless {
		suspects = v.numbering.VMs[u]
	}
	return conflict.Find(ctx, v.p, suspects)
}

// attempt is the best state that it can find, nil if none. Unless it is to be thorough, it does not search where no placement is found at once.
func (v *solver) attempt(ctx context.Context, effort int, thorough bool) (s *assign.State, proven bool) {
	switch {
	case v.p.Partial:
	case bound.Impossible(v.in):
		return nil, false
	case exact.Fits(v.in):
		s, proven = exact.Solve(v.in), true
	case !thorough && pack.Anyhow(v.in, v.p.Seed) == nil:
		return nil, false
	}
	if !proven {
		s = v.seek(ctx, effort)
	}
	if s != nil {
		local.Polish(ctx, s)
	}
	return s, proven
}

// seek searches for a cheap placement; nil means that it found none.
func (v *solver) seek(ctx context.Context, effort int) *assign.State {
	in := v.in
	var idle []bool
	var known []uint16
	if v.p.Partial {
		idle, known = pack.LeaveOut(ctx, in, v.p.Seed)
	}
	if idle != nil {
		in = in.Without(idle)
	}
	r := search.Search{In: in, Seed: v.p.Seed, Effort: effort, Idle: idle, Known: known}
	counts := func(u int32) bool { return idle == nil || !idle[u] }
	if in.Objective == model.FewestHosts {
		r.Bound = assign.Nowhere // traffic is still to be lowered
		fewest := &pack.Fewest{In: in, Idle: idle, Seed: v.p.Seed, Bound: int(bound.Hosts(in, counts)), Effort: effort}
		if confined, packed := fewest.Find(ctx); packed != nil {
			r.In, r.Known = confined, packed
		}
	} else {
		r.Bound = bound.Cost(in, counts)
	}
	if r.Known == nil && idle == nil {
		r.Known = pack.Anyhow(in, v.p.Seed)
	}
	host, found := r.Run(ctx)
	if !found {
		return nil
	}
	return assign.At(in, host)
}
