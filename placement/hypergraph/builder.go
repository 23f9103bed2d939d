package hypergraph

import (
	"cmp"
	"slices"
)

// Builder makes a graph of classes that are taken in one by one. Classes of the same units become one, and one that lies within a single
// unit is no class, as it never matters where that unit is: it is the unit's own.
type Builder struct {
	pins  []uint16
	edges []edge
	own   []int64
}

// edge is a class on its way into a graph.
type edge struct {
	hash       uint64
	from, size int32 // its pins in a common slice
	weight     int64
}

// NewBuilder begins a graph of so many units.
func NewBuilder(units int) *Builder { return &Builder{own: make([]int64, units)} }

// Add takes in a class of units, in any order, and keeps no reference to the list.
func (b *Builder) Add(units []uint16, weight int64) {
	from := len(b.pins)
	b.pins = append(b.pins, units...)
	pins := b.pins[from:]
	slices.Sort(pins)
	pins = slices.Compact(pins)
	switch len(pins) {
	case 0:
	case 1:
		b.own[pins[0]] += weight
		b.pins = b.pins[:from]
	default:
		b.pins = b.pins[:from+len(pins)]
		b.edges = append(b.edges, edge{hashPins(pins), int32(from), int32(len(pins)), weight})
	}
}

// Build returns the graph, and for each unit the weight of what is its own.
func (b *Builder) Build() (g Graph, own []int64) {
	return build(merge(b.edges, b.pins), b.pins, len(b.own)), b.own
}

func hashPins(pins []uint16) uint64 {
	h := uint64(len(pins))
	for _, p := range pins {
		h = (h ^ uint64(p)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// merge orders the edges by size and their pins' hash and unites those of equal pins. Classes of one size then follow
// each other in every list, which spares the processor wrong guesses about the length of loops.
func merge(edges []edge, pins []uint16) []edge {
	at := func(e *edge) []uint16 { return pins[e.from : e.from+e.size] }
	slices.SortFunc(edges, func(a, b edge) int {
		if a.size != b.size {
			return int(a.size - b.size)
		}
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return slices.Compare(at(&a), at(&b))
	})
	out := edges[:0]
	for _, e := range edges {
		if last := len(out) - 1; last >= 0 && out[last].hash == e.hash && slices.Equal(at(&out[last]), at(&e)) {
			out[last].weight += e.weight
			continue
		}
		out = append(out, e)
	}
	return out
}

// build copies the edges, which must be distinct and ordered by size, and links them to their units.
func build(edges []edge, pins []uint16, units int) Graph {
	total := 0
	for i := range edges {
		total += int(edges[i].size)
	}
	g := Graph{
		Weight: make([]int64, len(edges)), first: make([]int32, len(edges)+1), pins: make([]uint16, 0, total),
		start: make([]int32, units+2), of: make([]int32, total),
	}
	for i, e := range edges {
		g.Weight[i] = e.weight
		for _, u := range pins[e.from : e.from+e.size] {
			g.pins = append(g.pins, u)
			g.start[u+2]++
		}
		g.first[i+1] = int32(len(g.pins))
	}
	for i := 2; i < len(g.start); i++ {
		g.start[i] += g.start[i-1]
	}
	for c := range g.Weight {
		for _, u := range g.Pins(int32(c)) {
			g.of[g.start[u+1]] = int32(c)
			g.start[u+1]++
		}
	}
	g.start = g.start[:units+1]
	g.link(units)
	return g
}

// link lists each unit's classes by kind.
func (g *Graph) link(units int) {
	pairs, smalls, mates, larges := g.count()
	g.pairs, g.smalls, g.mates, g.larges = make([]Pair, 0, pairs), make([]Small, 0, smalls), make([]uint16, 0, mates), make([]Large, 0, larges)
	g.pairFirst, g.smallFirst, g.largeFirst = make([]int32, units+1), make([]int32, units+1), make([]int32, units+1)
	for u := range int32(units) {
		for _, c := range g.Classes(u) {
			g.linkClass(u, c)
		}
		g.pairFirst[u+1], g.smallFirst[u+1], g.largeFirst[u+1] = int32(len(g.pairs)), int32(len(g.smalls)), int32(len(g.larges))
	}
}

// count tells how long the lists get, and at which class the large ones begin.
func (g *Graph) count() (pairs, smalls, mates, larges int) {
	g.firstLarge = int32(len(g.Weight))
	for c := range g.Weight {
		switch n := len(g.Pins(int32(c))); {
		case n == 2:
			pairs += n
		case n <= smallClass:
			smalls += n
			mates += n * (n - 1)
		default:
			g.firstLarge = min(g.firstLarge, int32(c))
			larges += n
		}
	}
	g.rows = len(g.Weight) - int(g.firstLarge)
	return pairs, smalls, mates, larges
}

func (g *Graph) linkClass(u, c int32) {
	pins, w := g.Pins(c), g.Weight[c]
	switch n := len(pins); {
	case n == 2:
		g.pairs = append(g.pairs, Pair{w, pins[0] ^ pins[1] ^ uint16(u)})
	case n <= smallClass:
		from := int32(len(g.mates))
		for _, v := range pins {
			if v != uint16(u) {
				g.mates = append(g.mates, v)
			}
		}
		g.smalls = append(g.smalls, Small{w, from, int32(len(g.mates))})
	default:
		g.larges = append(g.larges, Large{w, c, c - g.firstLarge})
	}
}
