package multilevel

import (
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/hypergraph"
	"github.com/scatter-vm/scatter/placement/model"
)

// coarsen unites units that share much, each with at most a few others, and returns the unit of the coarser instance for
// each unit; nil when too few go together. No cluster takes more than largest of any host's memory, and none has units of different
// cells, unless there are none.
func coarsen(in *model.Instance, rng *rand.Rand, idle []bool, largest float64, cell []int32) []int32 {
	c := newClustering(in, idle, largest)
	c.cell = cell
	for _, u := range rng.Perm(len(in.Units)) {
		if c.alone(int32(u)) {
			c.join(int32(u))
		}
	}
	if c.left > len(in.Units)*19/20 {
		return nil
	}
	return c.number()
}

const (
	none       = -1   // stands for no unit
	mostOwners = 1000 // of a class: what more have in common tells nothing
)

// clustering grows clusters around representatives.
type clustering struct {
	in      *model.Instance
	classes *hypergraph.Graph
	idle    []bool       // units that are left alone
	cell    []int32      // units of different ones are kept apart; nil: there are none
	head    []int32      // unit -> representative of its cluster
	sizes   []model.Unit // of each representative's cluster
	size    []int32      // units in it
	limit   model.Room
	left    int
	rating  []float64
	seen    []int32
}

func newClustering(in *model.Instance, idle []bool, largest float64) *clustering {
	n := len(in.Units)
	c := &clustering{in: in, classes: &in.Classes, idle: idle, left: n, head: make([]int32, n), size: make([]int32, n), sizes: slices.Clone(in.Units), rating: make([]float64, n)}
	for u := range c.head {
		c.head[u], c.size[u] = int32(u), 1
	}
	c.limit = partOfRoomiest(in.Room, largest)
	return c
}

// partOfRoomiest is a part of the most that any host offers of each resource.
func partOfRoomiest(rooms []model.Room, share float64) model.Room {
	var most model.Room
	for _, r := range rooms {
		most.Memory, most.VCPUs, most.VMs = max(most.Memory, r.Memory), max(most.VCPUs, r.VCPUs), max(most.VMs, r.VMs)
	}
	part := func(v int64) int64 { return int64(float64(v) * share) }
	return model.Room{Memory: part(most.Memory), VCPUs: part(most.VCPUs), VMs: part(most.VMs)}
}

func (c *clustering) alone(u int32) bool { return c.head[u] == u && c.size[u] == 1 }

// join puts u into the cluster with which it shares most for its size.
func (c *clustering) join(u int32) {
	c.rate(u)
	if v := c.choose(u); v != none {
		c.merge(u, v)
	}
}

// rate rates the clusters that u shares classes with: a class counts the more the fewer units own it.
func (c *clustering) rate(u int32) {
	g := c.classes
	for _, class := range g.Classes(u) {
		pins := g.Pins(class)
		if len(pins) > mostOwners {
			continue
		}
		w := float64(g.Weight[class]) / float64(len(pins)-1)
		for _, v := range pins {
			if v := c.head[v]; v != u {
				if c.rating[v] == 0 {
					c.seen = append(c.seen, v)
				}
				c.rating[v] += w
			}
		}
	}
}

// choose returns the best rated cluster for its size that u may join, or none, and clears the ratings.
func (c *clustering) choose(u int32) int32 {
	var best int32 = none
	var most float64
	for _, v := range c.seen {
		r := c.rating[v] / float64(c.size[v])
		c.rating[v] = 0
		if (r > most || r == most && v < best) && c.compatible(u, v) {
			best, most = v, r
		}
	}
	c.seen = c.seen[:0]
	return best
}

// compatible reports whether two clusters may become one.
func (c *clustering) compatible(u, v int32) bool {
	switch {
	case c.idle != nil && (c.idle[u] || c.idle[v]), c.cell != nil && c.cell[u] != c.cell[v]:
		return false
	case len(c.in.Groups.Of(u)) > 0 || len(c.in.Groups.Of(v)) > 0:
		return false
	}
	return c.small(&c.sizes[u], &c.sizes[v]) && slices.Equal(c.in.HostsFor(u), c.in.HostsFor(v))
}

// small reports whether two clusters together are within the limit.
func (c *clustering) small(a, b *model.Unit) bool {
	return a.Claim+b.Claim+a.Own+b.Own <= c.limit.Memory && a.VCPUs+b.VCPUs <= c.limit.VCPUs && int64(a.Count+b.Count) <= c.limit.VMs
}

func (c *clustering) merge(u, v int32) {
	c.head[u] = v
	c.size[v]++
	c.sizes[v].Join(&c.sizes[u])
	c.left--
}

// number gives the clusters numbers in the order of their first units.
func (c *clustering) number() []int32 {
	next := int32(0)
	of := make([]int32, len(c.head))
	for u := range of {
		of[u] = none
	}
	out := make([]int32, len(c.head))
	for u, h := range c.head {
		if of[h] == none {
			of[h] = next
			next++
		}
		out[u] = of[h]
	}
	return out
}
