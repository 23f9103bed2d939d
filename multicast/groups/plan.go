package groups

import (
	"math/rand/v2"
	"slices"
)

// Plan is how the sets are sent.
type Plan struct {
	Groups []Group // in the order of sending
	Sets   []Carriage
	Lanes  int
	Cost   Cost
}

// Group is sent to its hosts in one go, on the address of its lane.
type Group struct {
	Hosts  []int // ascending
	Sets   []int // of Problem.Sets that it carries, ascending
	Bytes  int64 // that it carries
	Wasted int64 // bytes that its hosts receive without need, summed over the hosts
	Lane   int   // below Plan.Lanes

	// Join are the hosts that join the lane for this group, when sending of the group Opens begins. That is the group after
	// the one before on the lane, or where its latency would show, the one before; never an earlier one. It is the group
	// itself when its joins have no latency, or nothing is sent before it.
	Join  []int
	Opens int
	// Leave are the hosts that leave the lane once this group is confirmed and the lane's next is open. The other hosts stay.
	Leave []int
}

// Carriage is how one set gets to its hosts: each host is reached by the group or by a copy of its own, never by both.
type Carriage struct {
	Group  int   // of Plan.Groups, or NoGroup
	Copies []int // hosts that get unicast copies
}

// NoGroup stands for the group of a set that goes by unicast only.
const NoGroup = copies

// Cost is what a plan uses. Bytes are the payload's; headers, parity and repair come on top.
type Cost struct {
	Source     int64 // bytes on the source's link
	Host       int64 // bytes on all hosts' links
	Duplicated int64 // of Source: what was sent before
	Wasted     int64 // of Host: sent to members of a group who do not need it
	Overheard  int64 // of Host: of groups that the host has left, or will join, on the same lane
	Idle       int64 // bytes that the source could have sent while it waits for joins
	Joins      int
	Leaves     int
	Total      int64 // all of them by Prices; Idle like Source
}

// Solve finds a cheap plan. An error says which part of the problem is wrong.
func Solve(p Problem) (*Plan, error) {
	p = p.withDefaults()
	if err := p.validate(); err != nil {
		return nil, err
	}
	in := compile(&p)
	if len(p.Keep) > 0 {
		return in.plan(in.keep(p.Keep)), nil
	}
	return in.plan(in.solve()), nil
}

// Unicast is the plan that uses no group: each host gets copies of all it needs.
func Unicast(p Problem) (*Plan, error) {
	p = p.withDefaults()
	if err := p.validate(); err != nil {
		return nil, err
	}
	in := compile(&p)
	return in.plan(newCover(in, 0), schedule{}), nil
}

// solve chooses groups and arranges them. What hosts overhear is known only then; where it matters, the next choice counts
// it as a price of changes, for as long as that gives a cheaper plan.
func (in *instance) solve() (*cover, schedule) {
	rng := rand.New(rand.NewPCG(in.Seed, 0))
	var best *cover
	var schedule schedule
	change := in.Prices.Change
	for range choices {
		c := in.choose(change, rng)
		s := in.arrange(c.parcels())
		// On one lane a group can cost no change whose sets another one carries as cheaply; on several it does.
		if less, t := in.keep(s.kept()); less.bytes+in.price(t) < c.bytes+in.price(s) {
			c, s = less, t
		}
		if best != nil && c.bytes+in.price(s) >= best.bytes+in.price(schedule) {
			break
		}
		best, schedule = c, s
		if s.overheard == 0 {
			break
		}
		change = min(MaxChange, in.Prices.Change+in.Prices.Host*s.overheard/int64(s.changes))
	}
	return best, schedule
}

// keep has the groups that are given carry the sets, in their order. Those that none is cheapest with are left out.
func (in *instance) keep(kept []Kept) (*cover, schedule) {
	all := in.coverOf(kept)
	var used []Kept
	for g, k := range kept {
		if slices.ContainsFunc(all.carried, func(s carriage) bool { return s.near == g }) {
			used = append(used, k)
		}
	}
	c := in.coverOf(used)
	var lanes []int
	for g, k := range used {
		if !slices.Contains(lanes, k.Lane) {
			lanes = append(lanes, k.Lane)
		}
		used[g].Lane = slices.Index(lanes, k.Lane)
	}
	return c, in.inTurn(c.parcels(), used, len(lanes))
}

// coverOf is the choice of certain groups.
func (in *instance) coverOf(kept []Kept) *cover {
	c := newCover(in, in.Prices.Change)
	for _, k := range kept {
		hosts := newHostset(in.Hosts)
		for _, h := range k.Hosts {
			hosts.add(h)
		}
		c.groups = append(c.groups, hosts)
	}
	for i := range c.carried {
		c.scan(i)
	}
	return c
}

// choices bounds how often groups are chosen.
const choices = 3

// parcels is the groups with what they carry.
func (c *cover) parcels() []parcel {
	parcels := make([]parcel, len(c.groups))
	for g, hosts := range c.groups {
		parcels[g].hosts = hosts
	}
	for i, s := range c.carried {
		if s.near != copies {
			parcels[s.near].bytes += c.in.sets[i].bytes
		}
	}
	return parcels
}

func (in *instance) plan(c *cover, s schedule) *Plan {
	p := &Plan{Lanes: s.lanes, Sets: make([]Carriage, len(in.Sets))}
	at := make([]int, len(s.turns)) // by the order of one lane
	for i, t := range s.turns {
		at[t.group] = i
		p.Groups = append(p.Groups, Group{Hosts: t.hosts.list(), Bytes: t.bytes, Lane: t.lane, Opens: t.opens,
			Join: in.joins(s.turns, i), Leave: in.leaves(s.turns, i)})
	}
	for i, set := range in.Sets { // those of single hosts stay as they are set here
		p.Sets[i] = Carriage{Group: NoGroup, Copies: slices.Clone(set.Hosts)}
	}
	for i := range in.sets {
		for _, m := range in.sets[i].members {
			p.Sets[m] = Carriage{Group: NoGroup, Copies: in.sets[i].list}
			if g := c.carried[i].near; g != copies {
				p.Sets[m] = Carriage{Group: at[g], Copies: minus(in.sets[i].hosts, c.groups[g]).list()}
			}
		}
	}
	p.fill(in.Problem)
	p.Cost.Overheard, p.Cost.Idle = s.overheard, s.idle
	p.Cost.add(in.Prices)
	return p
}

// fill sums up what the sets' carriage costs.
func (p *Plan) fill(problem *Problem) {
	for i, how := range p.Sets {
		set := &problem.Sets[i]
		sent, heard := int64(len(how.Copies)), int64(len(how.Copies))
		if how.Group != NoGroup {
			g := &p.Groups[how.Group]
			g.Sets = append(g.Sets, i)
			sent, heard = sent+1, heard+int64(len(g.Hosts))
			g.Wasted += set.Bytes * (heard - int64(len(set.Hosts)))
		}
		p.Cost.Source += set.Bytes * sent
		p.Cost.Host += set.Bytes * heard
		p.Cost.Duplicated += set.Bytes * (sent - 1)
		p.Cost.Wasted += set.Bytes * (heard - int64(len(set.Hosts)))
	}
	for i := range p.Groups {
		p.Cost.Joins += len(p.Groups[i].Join)
		p.Cost.Leaves += len(p.Groups[i].Leave)
	}
}

// add completes the cost.
func (c *Cost) add(p Prices) {
	c.Host += c.Overheard
	c.Total = p.Source*(c.Source+c.Idle) + p.Host*c.Host + p.Change*int64(c.Joins+c.Leaves)
}
