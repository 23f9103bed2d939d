package groups

import "slices"

// twinCost adds the cost of a plan up in the simplest way: one host, one group and one byte of the source at a time.
func twinCost(p *Problem, plan *Plan) Cost {
	var c Cost
	for i, how := range plan.Sets {
		set := p.Sets[i]
		got := slices.Clone(how.Copies)
		times := int64(len(how.Copies))
		if how.Group != NoGroup {
			got = append(got, plan.Groups[how.Group].Hosts...)
			times++
		}
		c.Source += times * set.Bytes
		c.Duplicated += (times - 1) * set.Bytes
		for _, h := range got {
			c.Host += set.Bytes
			if !slices.Contains(set.Hosts, h) {
				c.Wasted += set.Bytes
			}
		}
	}
	starts := twinStarts(plan)
	for i, g := range plan.Groups {
		c.Joins += len(g.Join)
		c.Leaves += len(g.Leave)
		c.Idle += max(0, p.Delay.Join-(starts[i]-starts[g.Opens]))
	}
	for h := range p.Hosts {
		c.Overheard += twinOverheard(p, plan, starts, h)
	}
	c.Host += c.Overheard
	c.Total = p.Prices.Source*(c.Source+c.Idle) + p.Prices.Host*c.Host + p.Prices.Change*int64(c.Joins+c.Leaves)
	return c
}

// twinStarts says when each group begins, and last, when all are sent.
func twinStarts(plan *Plan) []int64 {
	starts := []int64{0}
	for i, g := range plan.Groups {
		starts = append(starts, starts[i]+g.Bytes)
	}
	return starts
}

// twinOverheard counts the bytes of groups that pass while the host is a member of their lane, but not of the group.
func twinOverheard(p *Problem, plan *Plan, starts []int64, host int) (n int64) {
	hears := make([][]bool, plan.Lanes) // by byte of the source
	for lane := range hears {
		hears[lane] = make([]bool, starts[len(plan.Groups)])
	}
	hear := func(lane int, from, to int64) {
		for b := from; b < min(to, int64(len(hears[lane]))); b++ {
			hears[lane][b] = true
		}
	}
	for i, g := range plan.Groups {
		if slices.Contains(g.Join, host) {
			hear(g.Lane, starts[g.Opens], starts[i])
		}
		if slices.Contains(g.Leave, host) {
			hear(g.Lane, starts[i+1], starts[i+1]+p.Delay.Leave)
		}
	}
	for i, g := range plan.Groups {
		if slices.Contains(g.Hosts, host) {
			continue
		}
		for b := starts[i]; b < starts[i+1]; b++ {
			if hears[g.Lane][b] {
				n++
			}
		}
	}
	return n
}
