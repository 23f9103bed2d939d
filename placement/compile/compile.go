// Package compile brings a problem into the form that searches work on: names become numbers, in an order that depends on names alone, so that
// the order of the input cannot matter; VMs that an affinity keeps together become one unit, classes become those of units, and constraints become
// the hosts that each unit may run on and the groups that must be kept apart.
package compile

import (
	"slices"

	"github.com/scatter-vm/scatter/placement/hypergraph"
	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/problem"
)

// Numbering tells what an instance's numbers stand for in its problem.
type Numbering struct {
	Hosts []int   // host -> index into Problem.Hosts
	Units []int32 // VM -> unit
	VMs   [][]int // unit -> indices into Problem.VMs, by name
}

// Problem checks a problem and returns it as an instance. The error is a *problem.InvalidError.
func Problem(p *problem.Problem) (*model.Instance, *Numbering, error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	n := &Numbering{Hosts: byName(len(p.Hosts), func(h int) string { return p.Hosts[h].Name })}
	in := &model.Instance{Objective: objective(p), Shared: p.Capacity == problem.Shared, Hosts: hosts(p, n.Hosts), SourceBPS: p.SourceBPS}
	r, err := newRules(p, n)
	if err != nil {
		return nil, nil, err
	}
	in.Units = n.units(p.VMs, r)
	in.Permits, in.Groups = r.apply(n, &in.Hosts)
	n.claim(p.VMs, n.gather(p.Classes, in), in)
	in.Floor = in.SourceTime(nil)
	return in, n, nil
}

func objective(p *problem.Problem) model.Objective {
	switch p.Objective {
	case problem.Makespan:
		return model.LeastTime
	case problem.Hosts:
		return model.FewestHosts
	}
	return model.LeastTraffic
}

// units unites the VMs that affinities keep together. What memory they take depends on the classes; see claim.
func (n *Numbering) units(vms []problem.VM, r *rules) (units []model.Unit) {
	n.Units = make([]int32, len(vms))
	byRoot := map[int]int32{}
	for _, v := range byName(len(vms), func(v int) string { return vms[v].Name }) {
		root := r.together.root(v)
		u, ok := byRoot[root]
		if !ok {
			u = int32(len(units))
			byRoot[root] = u
			units, n.VMs = append(units, model.Unit{}), append(n.VMs, nil)
		}
		n.Units[v] = u
		n.VMs[u] = append(n.VMs[u], v)
		units[u].Join(&model.Unit{VCPUs: int64(vms[v].VCPUs), Count: 1, Priority: vms[v].Priority})
	}
	return units
}

// gather translates the classes to units, and counts how many bytes of each VM they cover.
func (n *Numbering) gather(classes []problem.Class, in *model.Instance) (covered []int64) {
	covered = make([]int64, len(n.Units))
	b := hypergraph.NewBuilder(len(in.Units))
	var units []uint16
	for i := range classes {
		c := &classes[i]
		if c.Bytes == 0 {
			continue
		}
		units = units[:0]
		for _, v := range distinct(c.VMs) {
			covered[v] += c.Bytes
			units = append(units, uint16(n.Units[v]))
		}
		b.Add(units, c.Bytes)
	}
	var own []int64
	in.Classes, own = b.Build()
	for u := range in.Units {
		in.Units[u].Own = own[u]
	}
	return covered
}

// claim counts what memory units take on any host, given how many bytes of each VM classes cover.
func (n *Numbering) claim(vms []problem.VM, covered []int64, in *model.Instance) {
	for v := range vms {
		memory := vms[v].Memory
		if in.Shared {
			memory = max(0, memory-covered[v])
		}
		in.Units[n.Units[v]].Claim += memory
	}
}

// distinct lists each VM of a class once. The list is the class's own if it is in order.
func distinct(vms []int) []int {
	if strictlyAscending(vms) {
		return vms
	}
	vms = slices.Clone(vms)
	slices.Sort(vms)
	return slices.Compact(vms)
}

func strictlyAscending(s []int) bool {
	for i := 1; i < len(s); i++ {
		if s[i] <= s[i-1] {
			return false
		}
	}
	return true
}
