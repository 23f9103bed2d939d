// Package hypergraph holds what units have in common: classes, each with a weight and the units that own it, which are the hyperedges of a
// hypergraph whose vertices are the units. It also keeps what a partition of the units among places costs, for searches that move them one by one.
package hypergraph

import "slices"

// Classes by size: of a pair the partner is all there is to know; the owners of a small class are quicker asked where they
// are than counted; large ones keep a count for each host.
const smallClass = 16

// Graph holds distinct classes of at least two units, ordered by size, as lists in both directions, and once more per unit in the
// form that makes moves fast.
type Graph struct {
	Weight []int64 // of each class

	first      []int32 // class -> into pins
	pins       []uint16
	start      []int32 // unit -> into of
	of         []int32
	rows       int // large classes
	firstLarge int32

	pairFirst  []int32
	pairs      []Pair // of each unit
	smallFirst []int32
	smalls     []Small // of each unit
	mates      []uint16
	largeFirst []int32
	larges     []Large // of each unit
}

// Pair is a class of two, seen from one of them.
type Pair struct {
	weight int64
	Mate   uint16
}

// Small is a class seen from one of its owners; the others are mates[from:to].
type Small struct {
	weight   int64
	from, to int32
}

// Large is a class with a row of seats.
type Large struct {
	weight int64
	Class  int32
	row    int32
}

// Units is the number of units.
func (g *Graph) Units() int { return len(g.start) - 1 }

// Owners is the number of units of all classes together.
func (g *Graph) Owners() int { return len(g.pins) }

// Pins lists the units of a class, ascending.
func (g *Graph) Pins(c int32) []uint16 { return g.pins[g.first[c]:g.first[c+1]] }

// Classes lists the classes of a unit, ascending.
func (g *Graph) Classes(u int32) []int32 { return g.of[g.start[u]:g.start[u+1]] }

// Pairs lists the classes of two that a unit is one of.
func (g *Graph) Pairs(u int32) []Pair { return g.pairs[g.pairFirst[u]:g.pairFirst[u+1]] }

// Smalls lists a unit's small classes.
func (g *Graph) Smalls(u int32) []Small { return g.smalls[g.smallFirst[u]:g.smallFirst[u+1]] }

// Mates lists the other owners of a small class.
func (g *Graph) Mates(c Small) []uint16 { return g.mates[c.from:c.to] }

// Larges lists a unit's large classes.
func (g *Graph) Larges(u int32) []Large { return g.larges[g.largeFirst[u]:g.largeFirst[u+1]] }

// owns reports whether a unit owns a class.
func (g *Graph) owns(u, c int32) bool {
	_, ok := slices.BinarySearch(g.Pins(c), uint16(u))
	return ok
}

// Contract returns the graph whose units are the clusters, of which there are n: cluster tells that of each unit. own is the weight that lies
// within each cluster.
func (g *Graph) Contract(cluster []int32, n int) (coarse Graph, own []int64) {
	b := NewBuilder(n)
	var units []uint16
	for c, w := range g.Weight {
		units = units[:0]
		for _, u := range g.Pins(int32(c)) {
			units = append(units, uint16(cluster[u]))
		}
		b.Add(units, w)
	}
	return b.Build()
}
