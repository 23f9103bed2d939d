package search

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
)

// solution is an assignment within all room.
type solution struct {
	host []uint16
	assign.Value
}

// pool is solutions that differ, the cheapest first.
type pool []*solution

// with is the n cheapest of the pool's solutions and others.
func (p pool) with(born pool, n int) pool {
	p = append(p, born...)
	slices.SortStableFunc(p, func(a, b *solution) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Traffic, b.Traffic), slices.Compare(a.host, b.host))
	})
	p = slices.CompactFunc(p, func(a, b *solution) bool { return slices.Equal(a.host, b.host) })
	return p[:min(n, len(p))]
}

// worth reports whether all solutions are worth as much.
func (p pool) worth(v assign.Value) bool {
	return !slices.ContainsFunc(p, func(s *solution) bool { return s.Value != v })
}

// two draws two solutions, the better one first.
func (p pool) two(rng *rand.Rand) (a, b *solution) {
	i, j := rng.IntN(len(p)), rng.IntN(len(p)-1)
	if j >= i {
		j++
	}
	return p[min(i, j)], p[max(i, j)]
}
