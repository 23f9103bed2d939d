package placement

import (
	"context"
	"errors"
	"time"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/compile"
)

// Effort is counted in owners visited, so that a search ends at the same step on every machine.
const (
	effortPerSecond = 200_000_000
	effortPerUnit   = 3_000_000 // of few units
	usualEffort     = 110_000_000
	effortOfMany    = 1_250_000 // per unit, if that is more
	manyUnits       = 500
	maxEffort       = 2_500_000_000
	budgetPart      = 0.8 // of a budget, that the search is to take on this kind of machine: the rest is for what is not counted
	slowMachine     = 4   // times slower than effortPerSecond is a machine that the clock cuts off
)

var errClock = errors.New("placement: out of time")

// Solve places the VMs. The error is an *InvalidError, an *InfeasibleError, or the cause of ctx.
func Solve(ctx context.Context, p Problem) (*Placement, error) {
	began := time.Now()
	in, numbering, err := compile.Problem(&p)
	if err != nil {
		return nil, err
	}
	limit := effort(&p, len(in.Units))
	allowance := 30*time.Second + slowMachine*time.Duration(float64(limit)/effortPerSecond*float64(time.Second))
	if p.Budget > 0 {
		allowance = max(0, p.Budget-time.Since(began))
	}
	inner, stop := context.WithTimeoutCause(ctx, allowance, errClock)
	defer stop()
	v := &solver{p: &p, in: in, numbering: numbering}
	s, proven, balance, err := v.solveBalanced(inner, limit)
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil {
		return nil, err
	}
	pl := newReport(s, numbering).placement()
	pl.Balance = balance
	if balance != nil {
		newReport(assign.At(in, s.At), numbering).explain(pl.Reasons)
	}
	if proven {
		pl.LowerBound = pl.Cost
	}
	pl.Optimal = pl.LowerBound >= pl.Cost
	pl.Cut = inner.Err() != nil
	return pl, nil
}

// effort is what the search for a placement of so many units may spend.
func effort(p *Problem, units int) int {
	if p.Budget > 0 {
		return int(budgetPart * p.Budget.Seconds() * effortPerSecond)
	}
	if units < manyUnits {
		return min(effortPerUnit*units, usualEffort)
	}
	return min(max(usualEffort, effortOfMany*units), maxEffort)
}
