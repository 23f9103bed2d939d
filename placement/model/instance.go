// Package model is a problem in the form that searches work on. Units, hosts and classes are numbers; what units take, what hosts offer, who
// may run where and who must be kept apart are tables by number. An instance is not changed once it is made: others are derived from it.
package model

import (
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/hypergraph"
)

// Instance is what is to be placed where, and what is to be made small.
type Instance struct {
	Objective Objective
	Shared    bool // a host keeps each class once: its bytes count as memory there, not in its owners' claims
	Units     []Unit
	Hosts
	Permits
	Groups    Groups
	Classes   hypergraph.Graph
	SourceBPS int64 // the source's link; 0 = never the slowest
	Floor     int64 // nanoseconds that the source's link takes
}

// SourceTime is how many nanoseconds the source sends the classes of all units that are not idle.
func (in *Instance) SourceTime(idle []bool) int64 {
	if in.SourceBPS == 0 {
		return 0
	}
	leaves := func(u uint16) bool { return idle == nil || !idle[u] }
	var bytes int64
	for u := range in.Units {
		if leaves(uint16(u)) {
			bytes += in.Units[u].Own
		}
	}
	for c, w := range in.Classes.Weight {
		if slices.ContainsFunc(in.Classes.Pins(int32(c)), leaves) {
			bytes += w
		}
	}
	return SendTime(bytes, in.SourceBPS)
}

// Without returns the instance with units that are not sent.
func (in *Instance) Without(idle []bool) *Instance {
	out := *in
	out.Floor = in.SourceTime(idle)
	return &out
}

// Confined returns the instance confined to a set of hosts.
func (in *Instance) Confined(open HostSet) *Instance {
	out := *in
	out.Permits = in.Permits.confined(open)
	return &out
}

// Offering returns the instance whose hosts offer that room.
func (in *Instance) Offering(room []Room) *Instance {
	out := *in
	out.Room = room
	return &out
}

// Sampled returns the instance with the classes lighter than a limit sampled.
func (in *Instance) Sampled(rng *rand.Rand, limit int64) *Instance {
	out := *in
	out.Classes = in.Classes.Sample(rng, limit)
	return &out
}

// Thinning tells below which weight classes should be sampled, and about what a sweep costs then; 0 when it does not pay,
// or when hosts keep classes once, so that room depends on each.
func (in *Instance) Thinning() (limit int64, sweep int) {
	if in.Shared {
		return 0, in.Classes.Sweep()
	}
	return in.Classes.Thinning()
}

// Contracted returns the instance whose units are clusters: cluster tells that of each unit.
func (in *Instance) Contracted(cluster []int32) *Instance {
	n := int(slices.Max(cluster)) + 1
	out := *in
	out.Units = make([]Unit, n)
	for u, k := range cluster {
		out.Units[k].Join(&in.Units[u])
	}
	out.Permits = in.Permits.contracted(cluster, n)
	out.Groups = in.Groups.contracted(cluster, n)
	classes, own := in.Classes.Contract(cluster, n)
	out.Classes = classes
	for k := range out.Units {
		out.Units[k].Own += own[k]
	}
	return &out
}
