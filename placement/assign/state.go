// Package assign keeps an assignment of units to hosts, with tables that tell in constant time what a move changes: loads, bytes on links,
// members of groups. Searches differ in which moves they make.
package assign

import (
	"github.com/scatter-vm/scatter/placement/hypergraph"
	"github.com/scatter-vm/scatter/placement/model"
)

// Nowhere stands for no host, and no unit.
const Nowhere = -1

// State is an assignment of units to hosts with what they take there. Units that are not placed are in limbo, which is one
// more host, without capacity, whose bytes do not count.
type State struct {
	In *model.Instance
	hypergraph.Spread
	N      int    // hosts
	Loads  []Load // of each host, and of limbo
	racks  *uplinks
	census census
}

// New returns the state with no unit placed.
func New(in *model.Instance) *State {
	n := len(in.Room)
	s := &State{In: in, N: n, Spread: hypergraph.NewSpread(&in.Classes, n), Loads: make([]Load, n+1), racks: newUplinks(in), census: newCensus(&in.Groups)}
	for u := range in.Units {
		s.Loads[n].add(&in.Units[u], 1)
	}
	for _, w := range in.Classes.Weight {
		s.Loads[n].Bytes += w
	}
	return s
}

// At returns the state with each unit on its host.
func At(in *model.Instance, host []uint16) *State {
	s := New(in)
	s.Adopt(host)
	return s
}

// Adopt moves every unit where another assignment has it.
func (s *State) Adopt(host []uint16) {
	for u, h := range host {
		s.Move(int32(u), int(h))
	}
}

// Placed reports whether u has a host.
func (s *State) Placed(u int32) bool { return int(s.At[u]) != s.Limbo }

// Complete reports whether all units but the idle ones are placed.
func (s *State) Complete(idle []bool) bool {
	for u := range int32(len(s.At)) {
		if !s.Placed(u) && (idle == nil || !idle[u]) {
			return false
		}
	}
	return true
}

// Move puts a unit on another host, or into limbo.
func (s *State) Move(u int32, to int) {
	from := int(s.At[u])
	if from == to {
		return
	}
	if s.racks != nil {
		s.racks.move(u, to)
	}
	vacated, occupied := s.Relocate(u, to)
	unit, here, there := &s.In.Units[u], &s.Loads[to], &s.Loads[from]
	there.Bytes -= vacated
	here.Bytes += occupied
	there.add(unit, -1)
	here.add(unit, 1)
	if from != s.Limbo {
		s.census.count(u, from, -1)
	}
	if to != s.Limbo {
		s.census.count(u, to, 1)
	}
}

// Members lists the units of each host.
func (s *State) Members() [][]int32 {
	out := make([][]int32, s.N)
	for u, h := range s.At {
		if int(h) != s.Limbo {
			out[h] = append(out[h], int32(u))
		}
	}
	return out
}

// Open is the set of hosts that have units.
func (s *State) Open() model.HostSet {
	set := model.NewHostSet(s.N)
	for h := range s.N {
		if s.Loads[h].Units > 0 {
			set.Add(h)
		}
	}
	return set
}

// VMs is how many VMs are placed.
func (s *State) VMs() (n int64) {
	for h := range s.N {
		n += s.Loads[h].VMs
	}
	return n
}

// Effort is what the state has been through, in owners and classes visited.
func (s *State) Effort() int {
	if s.racks == nil {
		return s.Touched()
	}
	return s.Touched() + s.racks.spread.Touched()
}
