package placement

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// Effort is counted in owners visited, so that a search ends at the same step on every machine.
const (
	effortPerSecond = 200_000_000
	effortPerUnit   = 3_000_000 // of few units
	usualEffort     = 110_000_000
	effortOfMany    = 1_250_000 // per unit, if that is more
	maxEffort       = 2_500_000_000
	budgetPart      = 0.8 // of a budget, that the search is to take on this kind of machine: the rest is for what is not counted
	slowMachine     = 4   // times slower than effortPerSecond is a machine that the clock cuts off
)

var errClock = errors.New("placement: out of time")

// Solve places the VMs. The error is an *InvalidError, an *InfeasibleError, or the cause of ctx.
func Solve(ctx context.Context, p Problem) (*Placement, error) {
	began := time.Now()
	in, err := compile(&p)
	if err != nil {
		return nil, err
	}
	limit := in.effort()
	allowance := 30*time.Second + slowMachine*time.Duration(float64(limit)/effortPerSecond*float64(time.Second))
	if p.Budget > 0 {
		allowance = max(0, p.Budget-time.Since(began))
	}
	inner, stop := context.WithTimeoutCause(ctx, allowance, errClock)
	defer stop()
	s, proven, balance, err := in.solveBalanced(inner, limit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	pl := s.report()
	pl.Balance = balance
	if balance != nil {
		in.stateOf(s.At).explain(pl.Reasons)
	}
	if proven {
		pl.LowerBound = pl.Cost
	}
	pl.Optimal = pl.LowerBound >= pl.Cost
	pl.Cut = inner.Err() != nil
	return pl, nil
}

// effort is what the search may spend.
func (in *instance) effort() int {
	if in.p.Budget > 0 {
		return int(budgetPart * in.p.Budget.Seconds() * effortPerSecond)
	}
	n := len(in.units)
	if n < twoCores {
		return min(effortPerUnit*n, usualEffort)
	}
	return min(max(usualEffort, effortOfMany*n), maxEffort)
}

// solve finds the best state it can, and reports whether it is proven to be the best.
func (in *instance) solve(ctx context.Context, effort int) (s *state, proven bool, err error) {
	if s, proven = in.attempt(ctx, effort, true); s == nil {
		return nil, false, in.conflict(ctx)
	}
	return s, proven, nil
}

// attempt is the best state that it can find, nil if none. Unless it is to be thorough, it does not search where no placement is found at once.
func (in *instance) attempt(ctx context.Context, effort int, thorough bool) (s *state, proven bool) {
	switch {
	case in.p.Partial:
	case in.impossible():
		return nil, false
	case in.exactFits():
		s, proven = in.solveExact(), true
	case !thorough && in.anyhow() == nil:
		return nil, false
	}
	if !proven {
		s = in.seek(ctx, effort)
	}
	if s != nil {
		s.polish(ctx)
	}
	return s, proven
}

// seek searches for a cheap placement; nil means that it found none.
func (in *instance) seek(ctx context.Context, effort int) *state {
	idle, known := in.leaveOut(ctx)
	if idle != nil {
		less := *in
		less.floor = in.sourceTime(idle)
		in = &less
	}
	arena := in
	if in.p.Objective == Hosts {
		if confined, packed := in.fewest(ctx, idle, effort); packed != nil {
			arena, known = confined, packed
		}
	}
	if known == nil && idle == nil {
		known = in.anyhow()
	}
	r := &search{in: arena, ctx: ctx, seed: in.p.Seed, effort: effort, idle: idle, known: known, bound: arena.enough(idle)}
	best := r.run()
	if best == nil {
		return nil
	}
	return in.stateOf(best.host)
}

// stateOf is the state with the units on these hosts.
func (in *instance) stateOf(host []uint16) *state {
	s := newState(in)
	s.adopt(host)
	return s
}

// anyhow is some placement of all units, or nil if none is found at once.
func (in *instance) anyhow() []uint16 {
	s := newState(in)
	if len(s.pack(nil, rand.New(rand.NewPCG(in.p.Seed, 7)))) > 0 {
		return nil
	}
	return s.At
}

// enough is a cost that need not be undercut: the search is over once it is reached.
func (in *instance) enough(idle []bool) int64 {
	if in.p.Objective == Hosts {
		return nowhere // traffic is still to be lowered
	}
	return newBound(in).of(func(u int32) bool { return idle == nil || !idle[u] })
}
