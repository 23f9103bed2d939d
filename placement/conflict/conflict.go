// Package conflict explains why a problem has no solution: it narrows it down to a part, as small as can be found, that has none either.
package conflict

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/placement/bound"
	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/exact"
	"github.com/scatter-vm/scatter/placement/pack"
	"github.com/scatter-vm/scatter/placement/problem"
)

// maxTrials bounds how many smaller problems are tried to narrow a conflict down.
const maxTrials = 400

// narrowing takes away from a part that cannot be solved whatever it is not needed for.
type narrowing struct {
	ctx    context.Context
	p      *problem.Problem
	part   Part
	proven bool
	trials int
}

// Find names a part of the problem that cannot be solved, as small as the effort allows to find, or until ctx ends. suspects are VMs that are
// known to have no place; nil if none are.
func Find(ctx context.Context, p *problem.Problem, suspects []int) *problem.InfeasibleError {
	// What is tried first decides which conflict is found: the order of the input must not.
	n := &narrowing{ctx: ctx, p: p, part: Part{Resources: []string{problem.Memory, problem.VCPUs, problem.VMSlot}}}
	n.part.VMs = ordered(len(p.VMs), func(v int) string { return p.VMs[v].Name })
	n.part.Constraints = ordered(len(p.Constraints), func(i int) string { return fmt.Sprintf("%+v", sorted(p.Constraints[i])) })
	if suspects != nil {
		n.part.VMs = slices.Clone(suspects)
	}
	withConstraints := func(s []int) Part { q := n.part; q.Constraints = s; return q }
	n.part.Constraints = narrow(n.part.Constraints, func(s []int) bool { return n.fails(withConstraints(s)) })
	n.part.Resources = narrow(n.part.Resources, func(s []string) bool { q := n.part; q.Resources = s; return n.fails(q) })
	n.part.VMs = narrow(n.part.VMs, func(s []int) bool { q := n.part; q.VMs = s; return n.fails(q) })
	n.part.Constraints = narrow(n.part.Constraints, func(s []int) bool { return n.fails(withConstraints(s)) })
	return n.error()
}

// ordered lists the numbers below n by what key says of them.
func ordered(n int, key func(int) string) []int {
	list, keys := make([]int, n), make([]string, n)
	for i := range n {
		list[i], keys[i] = i, key(i)
	}
	slices.SortStableFunc(list, func(a, b int) int { return cmp.Compare(keys[a], keys[b]) })
	return list
}

// sorted is a constraint with its names in order.
func sorted(c problem.Constraint) problem.Constraint {
	c.VMs, c.Hosts = slices.Sorted(slices.Values(c.VMs)), slices.Sorted(slices.Values(c.Hosts))
	return c
}

// narrow takes away parts of a list, ever smaller ones, as long as what is left still fails.
func narrow[T any](list []T, fails func([]T) bool) []T {
	for size := len(list); size > 0; {
		took := false
		for at := 0; at < len(list); {
			rest := append(slices.Clone(list[:at]), list[min(len(list), at+size):]...)
			if fails(rest) {
				list, took = rest, true
			} else {
				at += size
			}
		}
		if size == 1 && took {
			continue
		}
		size /= 2
	}
	return list
}

// fails reports whether a part still cannot be solved, and remembers whether that is proven. It says no when it has tried often enough.
func (n *narrowing) fails(part Part) bool {
	if n.trials++; n.trials > maxTrials || n.ctx.Err() != nil {
		return false
	}
	p := part.Of(n.p)
	solved, proven := solvable(&p)
	if !solved {
		n.proven = proven
	}
	return !solved
}

// solvable tries to place the VMs. proven means that the answer is certain.
func solvable(p *problem.Problem) (solved, proven bool) {
	in, _, err := compile.Problem(p)
	if err != nil {
		return true, false
	}
	if bound.Impossible(in) {
		return false, true
	}
	if exact.Fits(in) {
		return exact.Solve(in) != nil, true
	}
	return pack.Anyhow(in, p.Seed) != nil, false
}

func (n *narrowing) error() *problem.InfeasibleError {
	e := &problem.InfeasibleError{Constraints: n.part.Constraints, Resources: n.part.Resources, Proven: n.proven}
	for _, v := range n.part.VMs {
		e.VMs = append(e.VMs, n.p.VMs[v].Name)
	}
	slices.Sort(e.VMs)
	for _, i := range n.part.Constraints {
		e.Names = append(e.Names, title(&n.p.Constraints[i]))
	}
	return e
}

// title is how messages call a constraint.
func title(c *problem.Constraint) string {
	if c.Name != "" {
		return c.Name
	}
	return c.Kind
}
