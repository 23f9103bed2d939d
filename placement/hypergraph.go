package placement

import (
	"cmp"
	"slices"
)

// Classes by size: of a pair the partner is all there is to know; the owners of a small class are quicker asked where they
// are than counted; large ones keep a count for each host.
const smallClass = 16

// hypergraph holds distinct classes of at least two units, as lists in both directions, and once more per unit in the
// form that makes moves fast.
type hypergraph struct {
	weight     []int64
	first      []int32 // class -> into pins
	pins       []uint16
	start      []int32 // unit -> into of
	of         []int32
	rows       int // large classes
	firstLarge int32

	pairFirst  []int32
	pairs      []pair // of each unit
	smallFirst []int32
	smalls     []small // of each unit
	mates      []uint16
	largeFirst []int32
	larges     []large // of each unit
}

// pair is a class of two, seen from one of them.
type pair struct {
	weight int64
	mate   uint16
}

// small is a class seen from one of its owners; the others are mates[from:to].
type small struct {
	weight   int64
	from, to int32
}

// large is a class with a row of seats.
type large struct {
	weight int64
	class  int32
	row    int32
}

func (g *hypergraph) pinsOf(c int32) []uint16   { return g.pins[g.first[c]:g.first[c+1]] }
func (g *hypergraph) classesOf(u int32) []int32 { return g.of[g.start[u]:g.start[u+1]] }
func (g *hypergraph) pairsOf(u int32) []pair    { return g.pairs[g.pairFirst[u]:g.pairFirst[u+1]] }
func (g *hypergraph) smallsOf(u int32) []small  { return g.smalls[g.smallFirst[u]:g.smallFirst[u+1]] }
func (g *hypergraph) largesOf(u int32) []large  { return g.larges[g.largeFirst[u]:g.largeFirst[u+1]] }

// owns reports whether a unit owns a class.
func (g *hypergraph) owns(u, c int32) bool {
	_, ok := slices.BinarySearch(g.pinsOf(c), uint16(u))
	return ok
}

// edge is a class on its way into the hypergraph.
type edge struct {
	hash       uint64
	from, size int32 // its pins in a common slice
	weight     int64
}

func hashPins(pins []uint16) uint64 {
	h := uint64(len(pins))
	for _, p := range pins {
		h = (h ^ uint64(p)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// mergeEdges orders the edges by size and their pins' hash and unites those of equal pins. Classes of one size then follow
// each other in every list, which spares the processor wrong guesses about the length of loops.
func mergeEdges(edges []edge, pins []uint16) []edge {
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

// buildHypergraph copies the edges, which must be distinct and ordered by size, and links them to their units.
func buildHypergraph(edges []edge, pins []uint16, units int) hypergraph {
	total := 0
	for i := range edges {
		total += int(edges[i].size)
	}
	g := hypergraph{
		weight: make([]int64, len(edges)), first: make([]int32, len(edges)+1), pins: make([]uint16, 0, total),
		start: make([]int32, units+2), of: make([]int32, total),
	}
	for i, e := range edges {
		g.weight[i] = e.weight
		for _, u := range pins[e.from : e.from+e.size] {
			g.pins = append(g.pins, u)
			g.start[u+2]++
		}
		g.first[i+1] = int32(len(g.pins))
	}
	for i := 2; i < len(g.start); i++ {
		g.start[i] += g.start[i-1]
	}
	for c := range g.weight {
		for _, u := range g.pinsOf(int32(c)) {
			g.of[g.start[u+1]] = int32(c)
			g.start[u+1]++
		}
	}
	g.start = g.start[:units+1]
	g.link(units)
	return g
}

// link lists each unit's classes by kind.
func (g *hypergraph) link(units int) {
	pairs, smalls, mates, larges := g.count()
	g.pairs, g.smalls, g.mates, g.larges = make([]pair, 0, pairs), make([]small, 0, smalls), make([]uint16, 0, mates), make([]large, 0, larges)
	g.pairFirst, g.smallFirst, g.largeFirst = make([]int32, units+1), make([]int32, units+1), make([]int32, units+1)
	for u := range int32(units) {
		for _, c := range g.classesOf(u) {
			g.linkClass(u, c)
		}
		g.pairFirst[u+1], g.smallFirst[u+1], g.largeFirst[u+1] = int32(len(g.pairs)), int32(len(g.smalls)), int32(len(g.larges))
	}
}

// count tells how long the lists get, and at which class the large ones begin.
func (g *hypergraph) count() (pairs, smalls, mates, larges int) {
	g.firstLarge = int32(len(g.weight))
	for c := range g.weight {
		switch n := len(g.pinsOf(int32(c))); {
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
	g.rows = len(g.weight) - int(g.firstLarge)
	return pairs, smalls, mates, larges
}

func (g *hypergraph) linkClass(u, c int32) {
	pins, w := g.pinsOf(c), g.weight[c]
	switch n := len(pins); {
	case n == 2:
		g.pairs = append(g.pairs, pair{w, pins[0] ^ pins[1] ^ uint16(u)})
	case n <= smallClass:
		from := int32(len(g.mates))
		for _, v := range pins {
			if v != uint16(u) {
				g.mates = append(g.mates, v)
			}
		}
		g.smalls = append(g.smalls, small{w, from, int32(len(g.mates))})
	default:
		g.larges = append(g.larges, large{w, c, c - g.firstLarge})
	}
}
