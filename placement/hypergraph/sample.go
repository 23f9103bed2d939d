package hypergraph

import (
	"math/rand/v2"
	"slices"
)

// lightShare is the part of all bytes that classes may have which are sampled.
const lightShare = 0.25

// Sample returns the graph with the classes lighter than a limit sampled: they have few of the bytes, but are most of
// the classes, and a move costs a visit to each. A class is kept with a probability in proportion to its bytes and then
// weighs as much as the limit, so that costs come out right on average.
func (g *Graph) Sample(rng *rand.Rand, limit int64) Graph {
	var edges []edge
	for c, w := range g.Weight {
		if w < limit {
			if rng.Int64N(limit) >= w {
				continue
			}
			w = limit
		}
		edges = append(edges, edge{from: g.first[c], size: g.first[c+1] - g.first[c], weight: w})
	}
	return build(edges, g.pins, g.Units())
}

// Thinning tells below which weight classes should be sampled, and about what a sweep costs then; 0 when it does not pay.
func (g *Graph) Thinning() (limit int64, sweep int) {
	limit = g.light()
	kept := 0.0
	for c, w := range g.Weight {
		kept += classEffort(int(g.first[c+1]-g.first[c])) * min(1, float64(w)/float64(max(limit, 1)))
	}
	sweep = 64 + 64*g.Units() + int(kept)
	if full := g.Sweep(); sweep > full*3/4 {
		return 0, full
	}
	return limit, sweep
}

// Sweep is about the effort of moving every unit once.
func (g *Graph) Sweep() int {
	sum := 64.0 + 64*float64(g.Units())
	for c := range g.Weight {
		sum += classEffort(int(g.first[c+1] - g.first[c]))
	}
	return int(sum)
}

// classEffort is the effort that a class of n units makes when each of them moves once.
func classEffort(n int) float64 {
	switch {
	case n == 2:
		return 2
	case n <= smallClass:
		return float64(n * (n - 1))
	}
	return float64(4 * n)
}

// light is the weight below which classes count as light.
func (g *Graph) light() int64 {
	order := make([]int32, len(g.Weight))
	var total float64
	spread := func(c int32) float64 { return float64(g.Weight[c]) * float64(g.first[c+1]-g.first[c]-1) }
	for c := range order {
		order[c] = int32(c)
		total += spread(int32(c))
	}
	slices.SortFunc(order, func(a, b int32) int { return int(max(-1, min(1, g.Weight[a]-g.Weight[b]))) })
	sum := 0.0
	for _, c := range order {
		if sum += spread(c); sum > lightShare*total {
			return g.Weight[c]
		}
	}
	return 0
}
