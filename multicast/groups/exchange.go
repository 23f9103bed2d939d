package groups

import "math/rand/v2"

// gain is what the choice gets cheaper by when hosts become another group.
func (c *cover) gain(hosts hostset) int64 {
	_, changes := c.place(hosts)
	gain := -c.change * int64(changes)
	for i := range c.carried {
		gain += max(0, c.carried[i].least-c.in.excess(i, hosts))
	}
	return gain
}

// losses is what the sets' carriage gets dearer by without each group.
func (c *cover) losses() []int64 {
	losses := make([]int64, len(c.groups))
	for i := range c.carried {
		if s := &c.carried[i]; s.near != copies {
			losses[s.near] += s.spare - s.least
		}
	}
	c.priced += len(c.carried)
	return losses
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
	c.priced += len(c.carried) + 2*len(c.groups)
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

// badlyCarried draws a set with a probability by what its carriage costs.
func (c *cover) badlyCarried(rng *rand.Rand) int {
	if c.bytes == 0 {
		return rng.IntN(len(c.carried))
	}
	x := rng.Int64N(c.bytes)
	for i := range c.carried {
		if x -= c.carried[i].least; x < 0 {
			return i
		}
	}
	return len(c.carried) - 1
}
