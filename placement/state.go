package placement

import (
	"slices"

	"github.com/scatter-vm/scatter/placement/hypergraph"
)

// nowhere stands for no host.
const nowhere = -1

// state is an assignment of units to hosts with what they take there. Units that are not placed are in limbo, which is one
// more host, without capacity, whose bytes do not count.
type state struct {
	in *instance
	hypergraph.Spread
	n       int                // hosts
	racks   *hypergraph.Spread // the same units among the racks, limbo standing for hosts without one; nil if no host has a rack
	uplinks int64              // bytes that all racks receive
	load    []load             // of each host
	taken   [][]int64          // group, domain -> members there, residents included
}

// load is what the units on a host take.
type load struct {
	claim, vcpus, vms int64
	bytes             int64 // of classes, units' own included
	units             int
}

// newState returns the state with no unit placed.
func newState(in *instance) *state {
	n := len(in.room)
	s := &state{in: in, n: n, Spread: hypergraph.NewSpread(&in.classes, n), load: make([]load, n+1)}
	if in.racks > 0 {
		racks := hypergraph.NewSpread(&in.classes, in.racks)
		s.racks = &racks
	}
	for u := range in.units {
		s.occupy(int32(u), n, 1)
	}
	for _, w := range in.classes.Weight {
		s.load[n].bytes += w
	}
	for i := range in.groups {
		s.taken = append(s.taken, slices.Clone(in.groups[i].start))
	}
	return s
}

// adopt moves every unit where another assignment has it.
func (s *state) adopt(host []uint16) {
	for u, h := range host {
		s.move(int32(u), int(h))
	}
}

// placed reports whether u has a host.
func (s *state) placed(u int32) bool { return int(s.At[u]) != s.Limbo }

// traffic is the bytes that all hosts and all racks receive together.
func (s *state) traffic() int64 {
	sum := s.uplinks
	for h := range s.n {
		sum += s.load[h].bytes
	}
	return sum
}

// move puts a unit on another host, or into limbo.
func (s *state) move(u int32, to int) {
	from := int(s.At[u])
	if from == to {
		return
	}
	if s.racks != nil {
		s.moveRack(u, to)
	}
	vacated, occupied := s.Relocate(u, to)
	s.load[from].bytes -= vacated
	s.load[to].bytes += occupied
	s.occupy(u, from, -1)
	s.occupy(u, to, 1)
}

// occupy counts a unit's sizes on a host, or with sign -1 no longer.
func (s *state) occupy(u int32, h int, sign int64) {
	unit, l := &s.in.units[u], &s.load[h]
	l.claim += sign * unit.claim
	l.vcpus += sign * unit.vcpus
	l.vms += sign * int64(unit.count)
	l.bytes += sign * unit.own
	l.units += int(sign)
	if h == s.Limbo {
		return
	}
	for _, g := range s.in.groupsOf[u] {
		s.taken[g][s.in.groups[g].domain[h]] += sign * s.in.groups[g].weight[u]
	}
}

// members lists the units of each host.
func (s *state) members() [][]int32 {
	out := make([][]int32, s.n)
	for u, h := range s.At {
		if int(h) != s.Limbo {
			out[h] = append(out[h], int32(u))
		}
	}
	return out
}
