package pack

import (
	"context"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// Fewest packs an instance on as few hosts as it can.
type Fewest struct {
	In     *model.Instance
	Idle   []bool // units that need no room; nil: none
	Seed   uint64
	Bound  int // hosts that are needed at least
	Effort int // that a search has, of which this is to take a small part

	best   *assign.State
	trials int // left
}

// Find returns the instance confined to the hosts of a packing, and the packing; nil if it finds none.
func (p *Fewest) Find(ctx context.Context) (*model.Instance, []uint16) {
	p.trials = 5 + min(500, p.Effort/(100*len(p.In.Units)*len(p.In.Room)+1))
	if !p.roomiest(ctx) {
		return p.In, nil
	}
	for p.best.Open().Len() > p.Bound && (p.closeOne(ctx) || p.closeTwo(ctx)) {
	}
	return p.In.Confined(p.best.Open()), p.best.At
}

// roomiest takes the least number of the roomiest hosts that will do.
func (p *Fewest) roomiest(ctx context.Context) bool {
	n := len(p.In.Room)
	open := model.NewHostSet(n)
	for i, h := range byRoom(p.In, model.AllHosts(n), -1) {
		open.Add(h)
		if i+1 >= p.Bound && (p.try(ctx, open) || i+1 == n && p.pack(context.Background(), open)) {
			return true
		}
	}
	return false
}

// closeOne does without one of the hosts in use.
func (p *Fewest) closeOne(ctx context.Context) bool {
	used := p.best.Open()
	for _, h := range byRoom(p.In, used, 1) {
		if p.tryWith(ctx, used, assign.Nowhere, h) {
			return true
		}
	}
	return false
}

// closeTwo replaces two of the hosts in use by one that is not.
func (p *Fewest) closeTwo(ctx context.Context) bool {
	used := p.best.Open()
	hosts := byRoom(p.In, used, 1)
	for h := range p.In.Room {
		for i := 0; i < len(hosts) && !used.Has(h); i++ {
			for _, k := range hosts[:i] {
				if p.tryWith(ctx, used, h, hosts[i], k) {
					return true
				}
			}
		}
	}
	return false
}

func (p *Fewest) tryWith(ctx context.Context, used model.HostSet, opened int, closed ...int) bool {
	open := slices.Clone(used)
	if opened != assign.Nowhere {
		open.Add(opened)
	}
	for _, h := range closed {
		open.Remove(h)
	}
	return p.try(ctx, open)
}

func (p *Fewest) try(ctx context.Context, open model.HostSet) bool {
	if p.trials == 0 || ctx.Err() != nil {
		return false
	}
	p.trials--
	return p.pack(ctx, open)
}

// pack tries to place all units on a set of hosts, until ctx ends.
func (p *Fewest) pack(ctx context.Context, open model.HostSet) bool {
	confined := p.In.Confined(open)
	for u := range confined.Units {
		if (p.Idle == nil || !p.Idle[u]) && confined.HostsFor(int32(u)).Empty() {
			return false
		}
	}
	s := assign.New(confined)
	if len(Units(ctx, s, p.Idle, rand.New(rand.NewPCG(p.Seed, 9)))) > 0 {
		return false
	}
	p.best = s
	return true
}
