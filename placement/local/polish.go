package local

import (
	"context"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// maxPolishSwaps is up to how many units every pair is tried for an exchange.
const maxPolishSwaps = 3000

// polish makes the moves and exchanges that lower the cost, at equal cost the traffic, at equal traffic the imbalance of
// the hosts' memory, until none is left.
type polish struct {
	*assign.State
	ctx     context.Context // ends it early
	slowest []int           // hosts by time, for the makespan the three slowest are enough
}

// merit is the value of an assignment with its imbalance in bytes.
type merit struct {
	assign.Value
	imbalance float64
}

// betters reports whether a difference makes an assignment better.
func (m merit) betters() bool {
	return m.Cost < 0 || m.Cost == 0 && (m.Traffic < 0 || m.Traffic == 0 && m.imbalance < -0.5)
}

// Polish makes the moves and exchanges that better a state, until none is left or ctx ends.
func Polish(ctx context.Context, s *assign.State) {
	p := &polish{State: s, ctx: ctx}
	p.rank()
	for range 50 {
		moved := p.moves()
		if len(s.At) <= maxPolishSwaps {
			moved = p.swaps() || moved
		}
		if !moved {
			return
		}
	}
}

// rank orders the hosts by time.
func (p *polish) rank() {
	if p.In.Objective != model.LeastTime {
		return
	}
	p.slowest = p.slowest[:0]
	for h := range p.N {
		p.slowest = append(p.slowest, h)
	}
	slices.SortStableFunc(p.slowest, func(a, b int) int {
		return int(max(-1, min(1, p.time(b, assign.Change{})-p.time(a, assign.Change{}))))
	})
}

func (p *polish) time(h int, c assign.Change) int64 { return p.In.Time(h, p.Loads[h].Bytes+c.Bytes) }

func (p *polish) moves() (moved bool) {
	for u := range int32(len(p.At)) {
		if !p.Placed(u) || p.ctx.Err() != nil {
			continue
		}
		best, bestMerit := assign.Nowhere, merit{}
		for h := range p.N {
			if h == int(p.At[u]) || !p.In.Allows(u, h) {
				continue
			}
			there, here := p.Changes(u, h)
			m := p.merit(int(p.At[u]), h, there, here)
			if m.betters() && m.minus(bestMerit).betters() && p.Fits(u, h) {
				best, bestMerit = h, m
			}
		}
		if best != assign.Nowhere {
			p.Move(u, best)
			p.rank()
			moved = true
		}
	}
	return moved
}

func (m merit) minus(n merit) merit {
	return merit{assign.Value{Cost: m.Cost - n.Cost, Traffic: m.Traffic - n.Traffic}, m.imbalance - n.imbalance}
}

func (p *polish) swaps() (moved bool) {
	for u := range int32(len(p.At)) {
		if p.ctx.Err() != nil {
			return moved
		}
		for v := range u {
			if p.Placed(u) && p.Placed(v) && p.Tradable(u, v) && p.worthwhile(u, v) && p.Swap(u, v) {
				p.rank()
				moved = true
			}
		}
	}
	return moved
}

// worthwhile reports whether trading places betters the assignment. Classes of both are looked for only when that could
// be so.
func (p *polish) worthwhile(u, v int32) bool {
	a, b := int(p.At[u]), int(p.At[v])
	there, here := p.Trade(u, v, assign.Change{}, assign.Change{})
	if !p.merit(a, b, there, here).betters() {
		return false
	}
	kept, held := p.Shared(u, v)
	there, here = p.Trade(u, v, kept, held)
	return p.merit(a, b, there, here).betters()
}

// merit is the difference that changes of two hosts make.
func (p *polish) merit(a, b int, there, here assign.Change) merit {
	m := merit{Value: assign.Value{Traffic: there.Traffic() + here.Traffic()}}
	switch p.In.Objective {
	case model.LeastTime:
		m.Cost = p.longest(a, b, there, here) - max(p.In.Floor, p.time(p.slowest[0], assign.Change{}))
	case model.FewestHosts:
		m.Cost = p.opened(a, there) + p.opened(b, here)
	default:
		m.Cost = m.Traffic
	}
	if m.Cost == 0 && m.Traffic == 0 {
		m.imbalance = p.uneven(a, there) - p.uneven(a, assign.Change{}) + p.uneven(b, here) - p.uneven(b, assign.Change{})
	}
	return m
}

// longest is the makespan after changes of two hosts.
func (p *polish) longest(a, b int, there, here assign.Change) int64 {
	t := max(p.In.Floor, p.time(a, there), p.time(b, here))
	for _, h := range p.slowest[:min(3, len(p.slowest))] {
		if h != a && h != b {
			t = max(t, p.time(h, assign.Change{}))
		}
	}
	return t
}

// opened is 1 if a change puts the first unit on a host, -1 if it takes the last away.
func (p *polish) opened(h int, c assign.Change) int64 {
	before, after := min(p.Loads[h].VMs, 1), min(p.Loads[h].VMs+c.VMs, 1)
	return after - before
}

func (p *polish) uneven(h int, c assign.Change) float64 {
	return p.In.Room[h].Unevenness(p.UsedAfter(h, c))
}
