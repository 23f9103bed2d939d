package placement

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// maxTrials bounds how many smaller problems are tried to narrow a conflict down.
const maxTrials = 400

// conflict is a part of a problem that cannot be solved: VMs, the constraints upheld among them, and the resources counted.
// Narrowing takes away whatever it is not needed for.
type conflict struct {
	p           *Problem
	ctx         context.Context
	vms         []int
	constraints []int
	resources   []string
	proven      bool
	trials      int
}

// conflict names a part of the problem that cannot be solved, as small as the effort allows to find.
func (in *instance) conflict(ctx context.Context) error {
	// What is tried first decides which conflict is found: the order of the input must not.
	c := &conflict{p: in.p, ctx: ctx, resources: []string{Memory, VCPUs, VMSlot}}
	c.vms = ordered(len(in.p.VMs), func(v int) string { return in.p.VMs[v].Name })
	c.constraints = ordered(len(in.p.Constraints), func(i int) string { return fmt.Sprintf("%+v", sorted(in.p.Constraints[i])) })
	if len(in.empty) > 0 {
		c.vms = slices.Clone(in.units[in.empty[0]].vms)
	}
	c.constraints = narrow(c.constraints, func(s []int) bool { d := *c; d.constraints = s; return c.fails(&d) })
	c.resources = narrow(c.resources, func(s []string) bool { d := *c; d.resources = s; return c.fails(&d) })
	c.vms = narrow(c.vms, func(s []int) bool { d := *c; d.vms = s; return c.fails(&d) })
	c.constraints = narrow(c.constraints, func(s []int) bool { d := *c; d.constraints = s; return c.fails(&d) })
	return c.error()
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
func sorted(c Constraint) Constraint {
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

// fails reports whether a part of the conflict still cannot be solved, and remembers whether that is proven. It says no
// when it has tried often enough.
func (c *conflict) fails(part *conflict) bool {
	if c.trials++; c.trials > maxTrials || c.ctx.Err() != nil {
		return false
	}
	solved, proven := part.solvable()
	if !solved {
		c.proven = proven
	}
	return !solved
}

// solvable tries to place the VMs. proven means that the answer is certain.
func (c *conflict) solvable() (solved, proven bool) {
	p := c.problem()
	in, err := compile(&p)
	if err != nil {
		return true, false
	}
	if in.impossible() {
		return false, true
	}
	if in.exactFits() {
		return in.solveExact() != nil, true
	}
	s := newState(in)
	return len(s.pack(nil, rand.New(rand.NewPCG(p.Seed, 7)))) == 0, false
}

// problem is the part as a problem of its own.
func (c *conflict) problem() Problem {
	p := Problem{Capacity: c.p.Capacity, Headroom: c.p.Headroom, Overcommit: c.p.Overcommit, Seed: c.p.Seed, Hosts: slices.Clone(c.p.Hosts)}
	index := map[int]int{}
	names := map[string]bool{}
	for _, v := range c.vms {
		index[v] = len(p.VMs)
		names[c.p.VMs[v].Name] = true
		p.VMs = append(p.VMs, c.p.VMs[v])
	}
	for h := range p.Hosts {
		c.relax(&p.Hosts[h])
		for _, r := range p.Hosts[h].Residents {
			names[r] = true
		}
	}
	for _, k := range c.p.Classes {
		if kept := translate(k.VMs, index); len(kept) > 0 && c.p.Capacity == Shared {
			p.Classes = append(p.Classes, Class{VMs: kept, Bytes: k.Bytes})
		}
	}
	for _, i := range c.constraints {
		k := c.p.Constraints[i]
		had := len(k.VMs)
		k.VMs = slices.DeleteFunc(slices.Clone(k.VMs), func(name string) bool { return !names[name] })
		if had == 0 || len(k.VMs) > 0 || len(k.Select) > 0 {
			p.Constraints = append(p.Constraints, k)
		}
	}
	return p
}

func translate(vms []int, index map[int]int) (out []int) {
	for _, v := range vms {
		if i, ok := index[v]; ok {
			out = append(out, i)
		}
	}
	return out
}

// relax gives a host plenty of the resources that do not count.
func (c *conflict) relax(h *Host) {
	if !slices.Contains(c.resources, Memory) {
		h.Memory = MaxBytes
	}
	if !slices.Contains(c.resources, VCPUs) {
		h.VCPUs = 0
	}
	if !slices.Contains(c.resources, VMSlot) {
		h.MaxVMs = 0
	}
}

func (c *conflict) error() error {
	e := &InfeasibleError{Constraints: c.constraints, Resources: c.resources, Proven: c.proven}
	for _, v := range c.vms {
		e.VMs = append(e.VMs, c.p.VMs[v].Name)
	}
	slices.Sort(e.VMs)
	for _, i := range c.constraints {
		e.Names = append(e.Names, title(&c.p.Constraints[i]))
	}
	return e
}

// title is how messages call a constraint.
func title(c *Constraint) string {
	if c.Name != "" {
		return c.Name
	}
	return c.Kind
}
