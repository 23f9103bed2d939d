package placement

import (
	"math/rand/v2"
	"slices"
)

// lightShare is the part of all bytes that classes may have which are sampled.
const lightShare = 0.25

// sparse returns the instance with the classes lighter than a limit sampled: they have few of the bytes, but are most of
// the classes, and a move costs a visit to each. A class is kept with a probability in proportion to its bytes and then
// weighs as much as the limit, so that costs come out right on average.
func (in *instance) sparse(rng *rand.Rand, limit int64) *instance {
	g := &in.classes
	var edges []edge
	for c, w := range g.weight {
		if w < limit {
			if rng.Int64N(limit) >= w {
				continue
			}
			w = limit
		}
		edges = append(edges, edge{from: g.first[c], size: g.first[c+1] - g.first[c], weight: w})
	}
	out := *in
	out.classes = buildHypergraph(edges, g.pins, len(in.units))
	return &out
}

// thinning tells below which weight classes should be sampled, and about what a sweep costs then; 0 when it does not pay,
// or when hosts keep classes once, so that room depends on each.
func (in *instance) thinning() (limit int64, sweep int) {
	limit = in.light()
	kept := 0.0
	g := &in.classes
	for c, w := range g.weight {
		kept += classEffort(int(g.first[c+1]-g.first[c])) * min(1, float64(w)/float64(max(limit, 1)))
	}
	sweep = 64 + 64*len(in.units) + int(kept)
	if full := in.sweep(); in.shared || sweep > full*3/4 {
		return 0, full
	}
	return limit, sweep
}

// sweep is about the effort of moving every unit once.
func (in *instance) sweep() int {
	sum := 64.0 + 64*float64(len(in.units))
	g := &in.classes
	for c := range g.weight {
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
func (in *instance) light() int64 {
	g := &in.classes
	order := make([]int32, len(g.weight))
	var total float64
	spread := func(c int32) float64 { return float64(g.weight[c]) * float64(g.first[c+1]-g.first[c]-1) }
	for c := range order {
		order[c] = int32(c)
		total += spread(int32(c))
	}
	slices.SortFunc(order, func(a, b int32) int { return int(max(-1, min(1, g.weight[a]-g.weight[b]))) })
	sum := 0.0
	for _, c := range order {
		if sum += spread(c); sum > lightShare*total {
			return g.weight[c]
		}
	}
	return 0
}
