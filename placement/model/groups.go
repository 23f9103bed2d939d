package model

import (
	"maps"
	"slices"
)

// Group is an anti-affinity: at most Limit of its units' members in one domain, which is a host or a rack.
type Group struct {
	Limit  int64
	Domain []int32         // of each host
	Start  []int64         // residents per domain
	Weight map[int32]int64 // unit -> how many of its VMs belong
}

// Groups are the anti-affinities of an instance.
type Groups struct {
	All []Group
	of  [][]int32 // unit -> groups
}

// NewGroups returns no groups of so many units.
func NewGroups(units int) Groups { return Groups{of: make([][]int32, units)} }

// Of lists the groups of a unit, ascending.
func (gs *Groups) Of(u int32) []int32 { return gs.of[u] }

// Add takes in a group.
func (gs *Groups) Add(g Group) {
	for _, u := range slices.Sorted(maps.Keys(g.Weight)) {
		gs.of[u] = append(gs.of[u], int32(len(gs.All)))
	}
	gs.All = append(gs.All, g)
}

// contracted is the groups of clusters, which have the members of all their units.
func (gs *Groups) contracted(cluster []int32, n int) Groups {
	out := NewGroups(n)
	for _, g := range gs.All {
		weight := map[int32]int64{}
		for u, w := range g.Weight {
			weight[cluster[u]] += w
		}
		g.Weight = weight
		out.Add(g)
	}
	return out
}
