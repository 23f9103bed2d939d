package placement

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// coarsen unites units that share much, each with at most a few others, and returns the unit of the coarser instance for
// each unit; nil when too few go together. No cluster takes more than largest of any host's memory, and none has units of different
// cells, unless there are none.
func (in *instance) coarsen(rng *rand.Rand, idle []bool, largest float64, cell []int32) []int32 {
	c := newClustering(in, idle, largest)
	c.cell = cell
	for _, u := range rng.Perm(len(in.units)) {
		if c.alone(int32(u)) {
			c.join(int32(u))
		}
	}
	if c.left > len(in.units)*19/20 {
		return nil
	}
	return c.number()
}

// clustering grows clusters around representatives.
type clustering struct {
	in     *instance
	idle   []bool  // units that are left alone
	cell   []int32 // units of different ones are kept apart; nil: there are none
	head   []int32 // unit -> representative of its cluster
	sizes  []unit  // of each representative's cluster
	size   []int32 // units in it
	limit  room
	left   int
	rating []float64
	seen   []int32
}

func newClustering(in *instance, idle []bool, largest float64) *clustering {
	n := len(in.units)
	c := &clustering{in: in, idle: idle, left: n, head: make([]int32, n), size: make([]int32, n), sizes: slices.Clone(in.units), rating: make([]float64, n)}
	for u := range c.head {
		c.head[u], c.size[u] = int32(u), 1
	}
	var most room
	for _, r := range in.room {
		most.memory, most.vcpus, most.vms = max(most.memory, r.memory), max(most.vcpus, r.vcpus), max(most.vms, r.vms)
	}
	part := func(v int64) int64 { return int64(float64(v) * largest) }
	c.limit = room{part(most.memory), part(most.vcpus), part(most.vms)}
	return c
}

func (c *clustering) alone(u int32) bool { return c.head[u] == u && c.size[u] == 1 }

// join puts u into the cluster with which it shares most for its size.
func (c *clustering) join(u int32) {
	g := &c.in.classes
	for _, class := range g.Classes(u) {
		pins := g.Pins(class)
		if len(pins) > 1000 {
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
	var best int32 = nowhere
	var most float64
	for _, v := range c.seen {
		r := c.rating[v] / float64(c.size[v])
		c.rating[v] = 0
		if (r > most || r == most && v < best) && c.compatible(u, v) {
			best, most = v, r
		}
	}
	c.seen = c.seen[:0]
	if best != nowhere {
		c.merge(u, best)
	}
}

func (c *clustering) compatible(u, v int32) bool {
	if c.idle != nil && (c.idle[u] || c.idle[v]) {
		return false
	}
	if c.cell != nil && c.cell[u] != c.cell[v] {
		return false
	}
	a, b := &c.sizes[u], &c.sizes[v]
	if a.claim+b.claim+a.own+b.own > c.limit.memory || a.vcpus+b.vcpus > c.limit.vcpus || int64(a.count+b.count) > c.limit.vms {
		return false
	}
	if len(c.in.groupsOf[u]) > 0 || len(c.in.groupsOf[v]) > 0 {
		return false
	}
	return slices.Equal(c.in.hostsFor(u), c.in.hostsFor(v))
}

func (in *instance) hostsFor(u int32) []uint64 {
	return in.allowed[int(u)*in.words : int(u+1)*in.words]
}

func (c *clustering) merge(u, v int32) {
	c.head[u] = v
	c.size[v]++
	a, b := &c.sizes[u], &c.sizes[v]
	b.claim, b.own, b.vcpus, b.count = a.claim+b.claim, a.own+b.own, a.vcpus+b.vcpus, a.count+b.count
	c.left--
}

// number gives the clusters numbers in the order of their first units.
func (c *clustering) number() []int32 {
	next := int32(0)
	of := make([]int32, len(c.head))
	for u := range of {
		of[u] = nowhere
	}
	out := make([]int32, len(c.head))
	for u, h := range c.head {
		if of[h] == nowhere {
			of[h] = next
			next++
		}
		out[u] = of[h]
	}
	return out
}

// contract returns the instance whose units are the clusters.
func (in *instance) contract(cluster []int32) *instance {
	n := int(slices.Max(cluster)) + 1
	out := &instance{p: in.p, hostID: in.hostID, room: in.room, bps: in.bps, floor: in.floor, racks: in.racks, uplink: in.uplink, shared: in.shared, words: in.words}
	out.units = make([]unit, n)
	out.allowed = make([]uint64, n*in.words)
	out.groupsOf = make([][]int32, n)
	for u, k := range cluster {
		a, b := &in.units[u], &out.units[k]
		b.claim, b.own, b.vcpus, b.count = a.claim+b.claim, a.own+b.own, a.vcpus+b.vcpus, a.count+b.count
		b.priority = max(b.priority, a.priority)
		out.narrowTo(k, in.hostsFor(int32(u)), b.count == a.count)
	}
	for i := range in.groups {
		g := in.groups[i]
		weight := map[int32]int64{}
		for u, w := range g.weight {
			weight[cluster[u]] += w
		}
		g.weight = weight
		for _, k := range slices.Sorted(maps.Keys(weight)) {
			out.groupsOf[k] = append(out.groupsOf[k], int32(i))
		}
		out.groups = append(out.groups, g)
	}
	classes, own := in.classes.Contract(cluster, n)
	out.classes = classes
	for k := range out.units {
		out.units[k].own += own[k]
	}
	return out
}

// narrowTo confines a unit to a set of hosts, the first time from all.
func (in *instance) narrowTo(u int32, hosts []uint64, first bool) {
	for i, w := range hosts {
		if first {
			in.hostsFor(u)[i] = w
		} else {
			in.hostsFor(u)[i] &= w
		}
	}
}
