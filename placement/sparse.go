package placement

import (
	"math/rand/v2"
	"slices"
)

// lightShare is the part of all bytes that classes may have which sparse samples.
const lightShare = 0.06

// sparse returns the instance with the light classes sampled: they have few of the bytes, but are most of the classes, and
// a move costs a visit to each. A class is kept with a probability in proportion to its bytes and then weighs as much as
// the lightest that is always kept, so that costs come out right on average. Memory must not depend on classes.
func (in *instance) sparse(rng *rand.Rand) *instance {
	limit := in.light()
	if in.shared || limit == 0 {
		return in
	}
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
	if len(edges) > len(g.weight)*3/4 {
		return in
	}
	out := *in
	out.classes = buildHypergraph(edges, g.pins, len(in.units))
	return &out
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
