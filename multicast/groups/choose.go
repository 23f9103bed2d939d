package groups

import "math/rand/v2"

// Bounds of the search for groups.
const (
	usualWork     = 4_000_000 // prices of a set in a group, per unit of effort
	maxCandidates = 1000      // sets that are tried as groups
	maxReplaced   = 3         // groups that a kick replaces
	fruitless     = 60        // kicks without success that end the search, per unit of effort
	orderings     = 3         // when changes have a price: how often the search goes on from a new order
	roughKicks    = 5         // for each group, while groups are still to change
	fineKicks     = 30        // for each group in the end, per unit of effort
)

// choose finds the groups that carry the sets cheapest at a price of a change, in the order of sending on one lane.
func (in *instance) choose(change int64, rng *rand.Rand) *cover {
	c := newCover(in, change, rng, in.Effort*usualWork)
	c.addAll()
	c.descend()
	for left := orderings; left > 0 && change > 0; left-- {
		c.inOrder(roughKicks)
		c.work = in.Effort * usualWork / orderings
		c.descend()
		c.kicks()
	}
	c.kicks()
	c.inOrder(in.Effort * fineKicks)
	c.recentre()
	return c
}

// candidates is how many sets are tried as groups: the first, which gain most.
func (in *instance) candidates() int {
	n := len(in.sets)
	return min(n, max(maxCandidates/10, min(maxCandidates, usualWork/max(n, 1))))
}

// addAll adds the set that gains most as a group, as long as one gains anything. What a set gains hardly ever grows
// while groups are added, so that most need not be computed again.
func (c *cover) addAll() {
	gains := make([]int64, c.in.candidates())
	for i := range gains {
		gains[i] = c.gain(c.in.sets[i].hosts)
	}
	for len(c.groups) < c.in.Limits.Groups {
		best, most := -1, int64(0)
		for i := range gains {
			if gains[i] <= most {
				continue
			}
			if gains[i] = c.gain(c.in.sets[i].hosts); gains[i] > most {
				best, most = i, gains[i]
			}
		}
		if best < 0 {
			return
		}
		c.insert(c.in.sets[best].hosts)
	}
}

// gain is what the choice gets cheaper by when hosts become another group.
func (c *cover) gain(hosts hostset) int64 {
	_, changes := c.place(hosts)
	gain := -c.change * int64(changes)
	for i := range c.carried {
		gain += max(0, c.carried[i].least-c.in.excess(i, hosts))
	}
	return gain
}

// descend improves the groups until neither other hosts, nor one group less, nor another group instead of one helps.
func (c *cover) descend() {
	c.recentre()
	for c.work > 0 && !c.perfect() && (c.removeAny() || c.replaceAny()) {
	}
}

// perfect: nothing could be cheaper.
func (c *cover) perfect() bool { return c.cost() == 0 }

// removeAny tries to do without each group. true: it helped.
func (c *cover) removeAny() bool {
	if c.change == 0 {
		return false
	}
	helped := false
	losses := c.losses()
	for g := len(c.groups) - 1; g >= 0; g-- {
		if g >= len(c.groups) || losses[g] >= c.change*int64(c.removal(g)) {
			continue // one removal may have made several idle
		}
		if c.try(func() { c.remove(g) }) {
			helped, losses = true, c.losses()
		}
	}
	return helped
}

// losses is what the sets' carriage gets dearer by without each group.
func (c *cover) losses() []int64 {
	losses := make([]int64, len(c.groups))
	for i := range c.carried {
		if s := &c.carried[i]; s.near != copies {
			losses[s.near] += s.spare - s.least
		}
	}
	c.work -= len(c.carried)
	return losses
}

// replaceAny tries each candidate as another group, or instead of one. true: it helped.
func (c *cover) replaceAny() bool {
	helped := false
	for _, i := range c.rng.Perm(c.in.candidates()) {
		if c.work <= 0 || c.carried[i].least == 0 {
			continue
		}
		hosts := c.in.sets[i].hosts
		if out, gain := c.bestExchange(hosts); gain > 0 {
			helped = c.try(func() { c.exchange(out, hosts) }) || helped
		}
	}
	return helped
}

// bestExchange is the group that hosts should replace, copies for none, and what that gains, almost exactly.
func (c *cover) bestExchange(hosts hostset) (out int, gain int64) {
	loss := make([]int64, len(c.groups)) // by group that goes
	for g := range loss {
		loss[g] = -c.change * int64(c.removal(g))
	}
	for i := range c.carried {
		s, e := &c.carried[i], c.in.excess(i, hosts)
		gain += max(0, s.least-e)
		if s.near != copies {
			loss[s.near] += max(0, min(e, s.spare)-s.least)
		}
	}
	c.work -= len(c.carried) + 2*len(c.groups)
	_, changes := c.place(hosts)
	gain -= c.change * int64(changes)
	out, least := copies, int64(0)
	if len(c.groups) == c.in.Limits.Groups {
		out, least = 0, loss[0]
	}
	for g, l := range loss {
		if l < least {
			out, least = g, l
		}
	}
	return out, gain - least
}

// exchange makes hosts a group, instead of group out if that is one.
func (c *cover) exchange(out int, hosts hostset) {
	if out != copies {
		c.remove(out)
	}
	c.insert(hosts)
}

// try makes a change, fits the groups to it, and takes all back unless it has become cheaper.
func (c *cover) try(change func()) bool {
	kept, before := c.snapshot(), c.cost()
	change()
	c.recentre()
	if c.cost() < before {
		return true
	}
	c.restore(kept)
	return false
}

// kicks replaces a few groups at random and descends again, until that has not helped for long. What leads to nothing
// dearer is kept.
func (c *cover) kicks() {
	for vain := 0; vain < fruitless*c.in.Effort && c.work > 0 && !c.perfect(); vain++ {
		kept, before := c.snapshot(), c.cost()
		c.kick()
		c.descend()
		switch cost := c.cost(); {
		case cost < before:
			vain = -1
		case cost > before:
			c.restore(kept)
		}
	}
}

// kick makes groups of random sets, those carried worst most likely, in the place of others, or beside them where the
// limit allows.
func (c *cover) kick() {
	for range 1 + c.rng.IntN(maxReplaced) {
		hosts := c.in.sets[c.badlyCarried()].hosts
		if n := len(c.groups); n == c.in.Limits.Groups || n > 0 && c.rng.IntN(2) == 0 {
			c.remove(c.rng.IntN(n))
		}
		c.insert(hosts)
	}
}

// badlyCarried draws a set with a probability by what its carriage costs.
func (c *cover) badlyCarried() int {
	if c.bytes == 0 {
		return c.rng.IntN(len(c.carried))
	}
	x := c.rng.Int64N(c.bytes)
	for i := range c.carried {
		if x -= c.carried[i].least; x < 0 {
			return i
		}
	}
	return len(c.carried) - 1
}
