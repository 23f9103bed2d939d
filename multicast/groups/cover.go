package groups

import (
	"math"
	"math/rand/v2"
	"slices"
)

// cover is a choice of groups, in a good order of sending, and how they carry the sets.
type cover struct {
	in     *instance
	change int64 // price of a join, and of a leave
	groups []hostset

	carried []carriage // by set
	bytes   int64      // excess of all sets
	priced  int        // prices of a set in a group that were computed so far
}

// carriage is the cheapest and the second cheapest way for a set, and what each costs. A way is a group or copies.
type carriage struct {
	near, second int
	least, spare int64
}

// copies stands for the group of a set that goes by unicast only.
const copies = -1

// nothing stands for a way that is not there.
const nothing = -2

func newCover(in *instance, change int64) *cover {
	c := &cover{in: in, change: change, carried: make([]carriage, len(in.sets))}
	for i := range c.carried {
		c.scan(i)
	}
	return c
}

// excess is the price of carrying set i by a group, with copies to hosts that the group does not reach, beyond that of
// sending it once to exactly its hosts.
func (in *instance) excess(i int, group hostset) int64 {
	t := &in.sets[i]
	extra, lacking := differences(group, t.hosts)
	return t.bytes * (in.Prices.Host*int64(extra) + in.Prices.Source*int64(lacking))
}

// excessAlone is the same for copies to all hosts.
func (in *instance) excessAlone(i int) int64 { return in.Prices.Source * in.sets[i].gain() }

// scan finds the cheapest ways for set i among all.
func (c *cover) scan(i int) {
	s := &c.carried[i]
	c.bytes -= s.least
	*s = carriage{near: copies, least: c.in.excessAlone(i), second: nothing, spare: math.MaxInt64}
	c.bytes += s.least
	for g := range c.groups {
		c.offer(i, g)
	}
}

// offer tells set i of a group that is new.
func (c *cover) offer(i, g int) {
	s, e := &c.carried[i], c.in.excess(i, c.groups[g])
	switch {
	case e < s.least:
		c.bytes -= s.least - e
		*s = carriage{near: g, least: e, second: s.near, spare: s.least}
	case e < s.spare:
		s.second, s.spare = g, e
	}
	c.priced++
}

// insert makes hosts a group, where they cost the fewest changes.
func (c *cover) insert(hosts hostset) {
	at, _ := c.place(hosts)
	c.groups = slices.Insert(c.groups, at, hosts)
	for i := range c.carried {
		s := &c.carried[i]
		if s.near >= at {
			s.near++
		}
		if s.second >= at {
			s.second++
		}
		c.offer(i, at)
	}
}

// remove does without group g.
func (c *cover) remove(g int) {
	c.groups = slices.Delete(c.groups, g, g+1)
	for i := range c.carried {
		s := &c.carried[i]
		if s.near == g || s.second == g {
			c.scan(i)
			continue
		}
		if s.near > g {
			s.near--
		}
		if s.second > g {
			s.second--
		}
	}
}

// replaced finds the cheapest ways after groups were given other hosts.
func (c *cover) replaced(groups []int) {
	if len(groups) == 0 {
		return
	}
	other := make([]bool, len(c.groups))
	for _, g := range groups {
		other[g] = true
	}
	for i := range c.carried {
		s := &c.carried[i]
		if s.near >= 0 && other[s.near] || s.second >= 0 && other[s.second] {
			c.scan(i)
			continue
		}
		for _, g := range groups {
			c.offer(i, g)
		}
	}
}

// snapshot is the choice as it is, to be restored later.
func (c *cover) snapshot() cover {
	kept := *c
	kept.groups = slices.Clone(c.groups) // their hosts are never changed in place
	kept.carried = slices.Clone(c.carried)
	return kept
}

func (c *cover) restore(kept cover) {
	kept.priced = c.priced
	*c = kept
}

// cost is the price of the whole choice, with the changes of one lane.
func (c *cover) cost() int64 { return c.bytes + c.change*int64(pathLength(c.groups)) }

// perfect: nothing could be cheaper.
func (c *cover) perfect() bool { return c.cost() == 0 }

// pathLength is how often the membership of a lane changes that carries groups one after the other.
func pathLength(groups []hostset) int {
	n := 0
	for i, hosts := range groups {
		if i == 0 {
			n += hosts.size()
		} else {
			n += distance(groups[i-1], hosts)
		}
		if i == len(groups)-1 {
			n += hosts.size()
		}
	}
	return n
}

// group is the one at i in the order; nobody's before the first and after the last.
func (c *cover) group(i int) hostset {
	if i < 0 || i >= len(c.groups) {
		return c.in.nobody
	}
	return c.groups[i]
}

// detour is how many more changes a lane takes that comes by hosts on its way.
func detour(from, hosts, to hostset) int {
	return distance(from, hosts) + distance(hosts, to) - distance(from, to)
}

// place is where in the order hosts cost the fewest changes, and how many.
func (c *cover) place(hosts hostset) (at, changes int) {
	if c.change == 0 {
		return len(c.groups), 0
	}
	for i := range len(c.groups) + 1 {
		if n := detour(c.group(i-1), hosts, c.group(i)); i == 0 || n < changes {
			at, changes = i, n
		}
	}
	return at, changes
}

// removal is how many fewer changes it takes without group g.
func (c *cover) removal(g int) int {
	if c.change == 0 {
		return 0
	}
	return detour(c.group(g-1), c.groups[g], c.group(g+1))
}

// needs sums up for each group the bytes that it carries for each host, and last, those that it carries in all.
func (c *cover) needs() [][]int64 {
	hosts := c.in.Hosts
	flat := make([]int64, len(c.groups)*(hosts+1))
	needs := make([][]int64, len(c.groups))
	for g := range needs {
		needs[g] = flat[g*(hosts+1) : (g+1)*(hosts+1)]
	}
	for i, s := range c.carried {
		if s.near == copies {
			continue
		}
		t := &c.in.sets[i]
		for _, h := range t.list {
			needs[s.near][h] += t.bytes
		}
		needs[s.near][hosts] += t.bytes
	}
	return needs
}

// centre is the cheapest membership of group g, which carries bytes that the hosts need.
func (c *cover) centre(g int, needed []int64) hostset {
	hosts := slices.Clone(c.groups[g])
	all := needed[c.in.Hosts]
	for h, n := range needed[:c.in.Hosts] {
		in, out := c.in.Prices.Host*(all-n), c.in.Prices.Source*n
		for _, beside := range [2]hostset{c.group(g - 1), c.group(g + 1)} {
			if beside.has(h) {
				out += c.change
			} else {
				in += c.change
			}
		}
		switch {
		case in < out:
			hosts.add(h)
		case in > out:
			hosts.remove(h)
		}
	}
	return hosts
}

// dropIdle drops groups that carry nothing.
func (c *cover) dropIdle() {
	carries := make([]bool, len(c.groups))
	for _, s := range c.carried {
		if s.near != copies {
			carries[s.near] = true
		}
	}
	for g, used := range slices.Backward(carries) {
		if !used {
			c.remove(g)
		}
	}
}

// inOrder puts the groups in the best order for one lane, by a search with so many kicks for each.
func (c *cover) inOrder(rng *rand.Rand, kicks int) {
	order, changes := sequence(c.groups, rng, kicks)
	if changes >= pathLength(c.groups) {
		return
	}
	to := make([]int, len(order)) // by place now
	groups := make([]hostset, len(order))
	for i, g := range order {
		groups[i], to[g] = c.groups[g], i
	}
	c.groups = groups
	for i := range c.carried {
		s := &c.carried[i]
		if s.near >= 0 {
			s.near = to[s.near]
		}
		if s.second >= 0 {
			s.second = to[s.second]
		}
	}
}
