package groups

import (
	"math/rand/v2"
	"slices"
)

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

// search makes a choice of groups cheaper, until it has computed so many prices.
type search struct {
	c    *cover
	rng  *rand.Rand
	most int // prices that may have been computed when it ends
}

// left is how many prices of a set in a group may still be computed.
func (s *search) left() int { return s.most - s.c.priced }

// choose finds the groups that carry the sets cheapest at a price of a change, in the order of sending on one lane.
func (in *instance) choose(change int64, rng *rand.Rand) *cover {
	c := newCover(in, change)
	s := &search{c: c, rng: rng, most: in.Effort * usualWork}
	s.addAll()
	s.descend()
	for left := orderings; left > 0 && change > 0; left-- {
		c.inOrder(rng, roughKicks)
		s.most = c.priced + in.Effort*usualWork/orderings
		s.descend()
		s.kicks()
	}
	s.kicks()
	c.inOrder(rng, in.Effort*fineKicks)
	s.recentre()
	return c
}

// candidates is how many sets are tried as groups: the first, which gain most.
func (in *instance) candidates() int {
	n := len(in.sets)
	return min(n, max(maxCandidates/10, min(maxCandidates, usualWork/max(n, 1))))
}

// addAll adds the set that gains most as a group, as long as one gains anything. What a set gains hardly ever grows
// while groups are added, so that most need not be computed again.
func (s *search) addAll() {
	c := s.c
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

// descend improves the groups until neither other hosts, nor one group less, nor another group instead of one helps.
func (s *search) descend() {
	s.recentre()
	for s.left() > 0 && !s.c.perfect() && (s.removeAny() || s.replaceAny()) {
	}
}

// recentre gives each group the hosts that make it cheapest for the sets that it carries and between its neighbours in
// the order: a host belongs to it when the copies it would need outweigh what it would hear in vain. It repeats that
// until nothing changes, and drops groups that carry nothing.
func (s *search) recentre() {
	c := s.c
	for {
		var moved []int
		for g, needed := range c.needs() {
			if hosts := c.centre(g, needed); !slices.Equal(hosts, c.groups[g]) {
				c.groups[g] = hosts
				moved = append(moved, g)
			}
		}
		c.priced += len(c.carried) + len(c.groups)
		c.replaced(moved)
		c.dropIdle()
		if len(moved) == 0 || s.left() <= 0 {
			return
		}
	}
}

// removeAny tries to do without each group. true: it helped.
func (s *search) removeAny() bool {
	c := s.c
	if c.change == 0 {
		return false
	}
	helped := false
	losses := c.losses()
	for g := len(c.groups) - 1; g >= 0; g-- {
		if g >= len(c.groups) || losses[g] >= c.change*int64(c.removal(g)) {
			continue // one removal may have made several idle
		}
		if s.try(func() { c.remove(g) }) {
			helped, losses = true, c.losses()
		}
	}
	return helped
}

// replaceAny tries each candidate as another group, or instead of one. true: it helped.
func (s *search) replaceAny() bool {
	c := s.c
	helped := false
	for _, i := range s.rng.Perm(c.in.candidates()) {
		if s.left() <= 0 || c.carried[i].least == 0 {
			continue
		}
		hosts := c.in.sets[i].hosts
		if out, gain := c.bestExchange(hosts); gain > 0 {
			helped = s.try(func() { c.exchange(out, hosts) }) || helped
		}
	}
	return helped
}

// try makes a change, fits the groups to it, and takes all back unless it has become cheaper.
func (s *search) try(change func()) bool {
	c := s.c
	kept, before := c.snapshot(), c.cost()
	change()
	s.recentre()
	if c.cost() < before {
		return true
	}
	c.restore(kept)
	return false
}

// kicks replaces a few groups at random and descends again, until that has not helped for long. What leads to nothing
// dearer is kept.
func (s *search) kicks() {
	c := s.c
	for vain := 0; vain < fruitless*c.in.Effort && s.left() > 0 && !c.perfect(); vain++ {
		kept, before := c.snapshot(), c.cost()
		s.kick()
		s.descend()
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
func (s *search) kick() {
	c := s.c
	for range 1 + s.rng.IntN(maxReplaced) {
		hosts := c.in.sets[c.badlyCarried(s.rng)].hosts
		if n := len(c.groups); n == c.in.Limits.Groups || n > 0 && s.rng.IntN(2) == 0 {
			c.remove(s.rng.IntN(n))
		}
		c.insert(hosts)
	}
}
