package placement

import (
	"cmp"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/bound"
	"github.com/scatter-vm/scatter/placement/compile"
)

// report translates a state into the numbering of the problem, and tells why units are where they are.
type report struct {
	*assign.State
	numbering *compile.Numbering
	common    []int64 // bytes shared with the unit in question, by unit
	near      []int32
}

func newReport(s *assign.State, n *compile.Numbering) *report {
	return &report{State: s, numbering: n, common: make([]int64, len(s.At))}
}

// placement is the state as a placement of the problem's VMs.
func (r *report) placement() *Placement {
	vms := len(r.numbering.Units)
	pl := &Placement{Host: make([]int, vms), Loads: make([]Load, r.N), Reasons: make([]Reason, vms)}
	pl.Traffic, pl.Makespan = r.Traffic(), r.Makespan()
	for v, u := range r.numbering.Units {
		pl.Host[v] = r.host(u)
	}
	for h := range r.N {
		l := &r.Loads[h]
		pl.Loads[r.numbering.Hosts[h]] = Load{VMs: int(l.VMs), Memory: r.Used(h), VCPUs: int(l.VCPUs), Bytes: l.Bytes}
	}
	r.explain(pl.Reasons)
	pl.Cost = r.Worth().Cost
	pl.LowerBound = bound.Cost(r.In, r.Placed)
	pl.Optimal = pl.LowerBound >= pl.Cost
	return pl
}

// host is the index of u's host in the problem, -1 when it is not placed.
func (r *report) host(u int32) int {
	if !r.Placed(u) {
		return -1
	}
	return r.numbering.Hosts[r.At[u]]
}

// explain fills in the reason of each VM: what its unit saves where it is.
func (r *report) explain(reasons []Reason) {
	for u := range int32(len(r.At)) {
		why := r.reason(u)
		if r.Placed(u) {
			why.With = r.closest(u)
		}
		for _, v := range r.numbering.VMs[u] {
			why.VM = v
			reasons[v] = why
		}
	}
}

// reason compares u's host with the next best: the one with the least more traffic among those that have room, or if
// none has, among those allowed.
func (r *report) reason(u int32) Reason {
	why := Reason{Host: r.host(u), Next: -1}
	if why.Host == -1 {
		return why
	}
	for h := range r.N {
		if h == int(r.At[u]) || !r.In.Allows(u, h) {
			continue
		}
		there, here := r.Changes(u, h)
		saved, room := there.Traffic()+here.Traffic(), r.Fits(u, h)
		if why.Next == -1 || room && !why.Room || room == why.Room && saved < why.Saved {
			why.Next, why.Saved, why.Room = r.numbering.Hosts[h], saved, room
		}
	}
	return why
}

// closest lists VMs of up to three other units that share most bytes with u.
func (r *report) closest(u int32) []int {
	g := &r.In.Classes
	near := r.near[:0]
	for _, c := range g.Classes(u) {
		for _, v := range g.Pins(c) {
			if r.At[v] != r.At[u] || int32(v) == u {
				continue
			}
			if r.common[v] == 0 {
				near = append(near, int32(v))
			}
			r.common[v] += g.Weight[c]
		}
	}
	slices.SortFunc(near, func(a, b int32) int { return cmp.Or(cmp.Compare(r.common[b], r.common[a]), cmp.Compare(a, b)) })
	var out []int
	for i, v := range near {
		if i < 3 {
			out = append(out, r.numbering.VMs[v][0])
		}
		r.common[v] = 0
	}
	r.near = near
	return out
}
