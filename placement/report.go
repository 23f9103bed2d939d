package placement

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// report translates a state into the numbering of the problem.
func (s *state) report() *Placement {
	in := s.in
	pl := &Placement{Host: make([]int, len(in.p.VMs)), Loads: make([]Load, s.n), Reasons: make([]Reason, len(in.p.VMs))}
	pl.Traffic, pl.Makespan = s.traffic(), s.makespan()
	for v, u := range in.unitOf {
		pl.Host[v] = s.hostID(u)
	}
	for h := range s.n {
		l := &s.load[h]
		pl.Loads[in.hostID[h]] = Load{VMs: int(l.vms), Memory: s.used(h), VCPUs: int(l.vcpus), Bytes: l.bytes}
	}
	s.explain(pl.Reasons)
	pl.Cost = s.worth().cost
	pl.LowerBound = newBound(in).of(s.placed)
	pl.Optimal = pl.LowerBound >= pl.Cost
	return pl
}

// hostID is the index of u's host in the problem, -1 when it is not placed.
func (s *state) hostID(u int32) int {
	if !s.placed(u) {
		return -1
	}
	return s.in.hostID[s.At[u]]
}

// sendTime is the nanoseconds, rounded up, that bytes take on a link of bps bits per second.
func sendTime(bytes, bps int64) int64 {
	hi, lo := bits.Mul64(uint64(bytes), 8e9)
	if hi >= uint64(bps) {
		return math.MaxInt64
	}
	q, rest := bits.Div64(hi, lo, uint64(bps))
	if rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64))
}

// explainer tells why units are where they are.
type explainer struct {
	*state
	common []int64 // bytes shared with the unit in question, by unit
	near   []int32
}

// explain fills in the reason of each VM: what its unit saves where it is.
func (s *state) explain(reasons []Reason) {
	x := &explainer{state: s, common: make([]int64, len(s.At))}
	for u := range int32(len(s.At)) {
		r := s.reason(u)
		if s.placed(u) {
			r.With = x.closest(u)
		}
		for _, v := range s.in.units[u].vms {
			r.VM = v
			reasons[v] = r
		}
	}
}

// reason compares u's host with the next best: the one with the least more traffic among those that have room, or if
// none has, among those allowed.
func (s *state) reason(u int32) Reason {
	r := Reason{Host: s.hostID(u), Next: -1}
	if r.Host == -1 {
		return r
	}
	for h := range s.n {
		if h == int(s.At[u]) || !s.in.allows(u, h) {
			continue
		}
		there, here := s.changes(u, h)
		saved, room := there.traffic()+here.traffic(), s.fits(u, h)
		if r.Next == -1 || room && !r.Room || room == r.Room && saved < r.Saved {
			r.Next, r.Saved, r.Room = s.in.hostID[h], saved, room
		}
	}
	return r
}

// closest lists VMs of up to three other units that share most bytes with u.
func (x *explainer) closest(u int32) []int {
	g := &x.in.classes
	near := x.near[:0]
	for _, c := range g.Classes(u) {
		for _, v := range g.Pins(c) {
			if x.At[v] != x.At[u] || int32(v) == u {
				continue
			}
			if x.common[v] == 0 {
				near = append(near, int32(v))
			}
			x.common[v] += g.Weight[c]
		}
	}
	slices.SortFunc(near, func(a, b int32) int { return cmp.Or(cmp.Compare(x.common[b], x.common[a]), cmp.Compare(a, b)) })
	var out []int
	for i, v := range near {
		if i < 3 {
			out = append(out, x.in.units[v].vms[0])
		}
		x.common[v] = 0
	}
	x.near = near
	return out
}
