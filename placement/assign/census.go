package assign

import (
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
)

// census counts the members of each group in each domain, residents included.
type census struct {
	groups *model.Groups
	taken  [][]int64 // group, domain -> members there
}

func newCensus(groups *model.Groups) census {
	c := census{groups: groups}
	for i := range groups.All {
		c.taken = append(c.taken, slices.Clone(groups.All[i].Start))
	}
	return c
}

// count counts a unit on a host, or with sign -1 no longer.
func (c *census) count(u int32, h int, sign int64) {
	for _, i := range c.groups.Of(u) {
		g := &c.groups.All[i]
		c.taken[i][g.Domain[h]] += sign * g.Weight[u]
	}
}

// Parted reports whether every anti-affinity lets u join h.
func (s *State) Parted(u int32, h int) bool {
	for _, i := range s.In.Groups.Of(u) {
		g := &s.In.Groups.All[i]
		d := g.Domain[h]
		n := s.census.taken[i][d] + g.Weight[u]
		if s.Placed(u) && g.Domain[s.At[u]] == d {
			n -= g.Weight[u]
		}
		if n > g.Limit {
			return false
		}
	}
	return true
}

// Obeys reports whether the anti-affinities hold where u is.
func (s *State) Obeys(u int32) bool {
	for _, i := range s.In.Groups.Of(u) {
		g := &s.In.Groups.All[i]
		if s.census.taken[i][g.Domain[s.At[u]]] > g.Limit {
			return false
		}
	}
	return true
}
