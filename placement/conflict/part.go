package conflict

import (
	"slices"

	"github.com/scatter-vm/scatter/placement/problem"
)

// Part is a part of a problem: some VMs, the constraints upheld among them, and the resources counted.
type Part struct {
	VMs         []int    // indices into Problem.VMs
	Constraints []int    // indices into Problem.Constraints
	Resources   []string // the others are plentiful
}

// Of is the part as a problem of its own.
func (q *Part) Of(whole *problem.Problem) problem.Problem {
	p := problem.Problem{Capacity: whole.Capacity, Headroom: whole.Headroom, Overcommit: whole.Overcommit, Seed: whole.Seed, Hosts: slices.Clone(whole.Hosts)}
	index := map[int]int{}
	names := map[string]bool{}
	for _, v := range q.VMs {
		index[v] = len(p.VMs)
		names[whole.VMs[v].Name] = true
		p.VMs = append(p.VMs, whole.VMs[v])
	}
	for h := range p.Hosts {
		q.relax(&p.Hosts[h])
		for _, r := range p.Hosts[h].Residents {
			names[r] = true
		}
	}
	for _, k := range whole.Classes {
		if kept := translate(k.VMs, index); len(kept) > 0 && whole.Capacity == problem.Shared {
			p.Classes = append(p.Classes, problem.Class{VMs: kept, Bytes: k.Bytes})
		}
	}
	for _, i := range q.Constraints {
		k := whole.Constraints[i]
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
func (q *Part) relax(h *problem.Host) {
	if !slices.Contains(q.Resources, problem.Memory) {
		h.Memory = problem.MaxBytes
	}
	if !slices.Contains(q.Resources, problem.VCPUs) {
		h.VCPUs = 0
	}
	if !slices.Contains(q.Resources, problem.VMSlot) {
		h.MaxVMs = 0
	}
}
