package placement

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
)

// only returns the instance confined to a set of hosts.
func (in *instance) only(open []bool) *instance {
	out := *in
	out.allowed = slices.Clone(in.allowed)
	out.empty = nil
	for u := range in.units {
		any := false
		for h, ok := range open {
			if !ok {
				out.allowed[u*in.words+h>>6] &^= 1 << (h & 63)
			}
			any = any || out.allows(int32(u), h)
		}
		if !any {
			out.empty = append(out.empty, int32(u))
		}
	}
	return &out
}

// fewest confines the instance to as few hosts as it can be packed on, and returns a packing; nil if it finds none. idle
// units need no room.
func (in *instance) fewest(ctx context.Context, idle []bool, effort int) (*instance, []uint16) {
	p := &packing{in: in, ctx: ctx, idle: idle, trials: 5 + min(500, effort/(100*len(in.units)*len(in.room)+1))}
	bound := int(newBound(in).hostsFor(in.chosen(idle)))
	if !p.roomiest(bound) {
		return in, nil
	}
	for count(p.best.open()) > bound && (p.closeOne() || p.closeTwo()) {
	}
	return in.only(p.best.open()), p.best.At
}

// packing tries to place all units on ever fewer hosts.
type packing struct {
	in     *instance
	ctx    context.Context
	idle   []bool
	best   *state
	trials int // left
}

// roomiest takes the least number of the roomiest hosts that will do.
func (p *packing) roomiest(bound int) bool {
	all := slices.Repeat([]bool{true}, len(p.in.room))
	open := make([]bool, len(p.in.room))
	for i, h := range p.in.byRoom(all, -1) {
		open[h] = true
		if i+1 >= bound && (p.try(open) || i+1 == len(all) && p.pack(context.Background(), open)) {
			return true
		}
	}
	return false
}

// closeOne does without one of the hosts in use.
func (p *packing) closeOne() bool {
	used := p.best.open()
	for _, h := range p.in.byRoom(used, 1) {
		if p.tryWith(used, nowhere, h) {
			return true
		}
	}
	return false
}

// closeTwo replaces two of the hosts in use by one that is not.
func (p *packing) closeTwo() bool {
	used := p.best.open()
	hosts := p.in.byRoom(used, 1)
	for h := range used {
		for i := 0; i < len(hosts) && !used[h]; i++ {
			for _, k := range hosts[:i] {
				if p.tryWith(used, h, hosts[i], k) {
					return true
				}
			}
		}
	}
	return false
}

func (p *packing) tryWith(used []bool, opened int, closed ...int) bool {
	open := slices.Clone(used)
	if opened != nowhere {
		open[opened] = true
	}
	for _, h := range closed {
		open[h] = false
	}
	return p.try(open)
}

func (p *packing) try(open []bool) bool {
	if p.trials == 0 || p.ctx.Err() != nil {
		return false
	}
	p.trials--
	return p.pack(p.ctx, open)
}

// pack tries to place all units on a set of hosts, until ctx ends.
func (p *packing) pack(ctx context.Context, open []bool) bool {
	confined := p.in.only(open)
	for _, u := range confined.empty {
		if p.idle == nil || !p.idle[u] {
			return false
		}
	}
	s := newState(confined)
	if len(s.packWithin(ctx, p.idle, rand.New(rand.NewPCG(p.in.p.Seed, 9)))) > 0 {
		return false
	}
	p.best = s
	return true
}

// open tells which hosts have units.
func (s *state) open() []bool {
	set := make([]bool, s.n)
	for h := range set {
		set[h] = s.load[h].units > 0
	}
	return set
}

func (in *instance) chosen(idle []bool) (units []int32) {
	for u := range in.units {
		if idle == nil || !idle[u] {
			units = append(units, int32(u))
		}
	}
	return units
}

func count(set []bool) (n int) {
	for _, ok := range set {
		if ok {
			n++
		}
	}
	return n
}

// byRoom lists hosts of a set by memory, the roomiest first or with sign 1 last.
func (in *instance) byRoom(set []bool, sign int) (hosts []int) {
	for h, ok := range set {
		if ok {
			hosts = append(hosts, h)
		}
	}
	slices.SortStableFunc(hosts, func(a, b int) int { return sign * cmp.Compare(in.room[a].memory, in.room[b].memory) })
	return hosts
}
