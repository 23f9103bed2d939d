package placement

import (
	"context"
	"slices"
)

// maxPolishSwaps is up to how many units every pair is tried for an exchange.
const maxPolishSwaps = 3000

// polish makes the moves and exchanges that lower the cost, at equal cost the traffic, at equal traffic the imbalance of
// the hosts' memory, until none is left.
type polish struct {
	*state
	ctx     context.Context // ends it early
	slowest []int           // hosts by time, for the makespan the three slowest are enough
}

// merit is the value of an assignment with its imbalance in bytes.
type merit struct {
	value
	imbalance float64
}

// betters reports whether a difference makes an assignment better.
func (m merit) betters() bool {
	return m.cost < 0 || m.cost == 0 && (m.traffic < 0 || m.traffic == 0 && m.imbalance < -0.5)
}

func (s *state) polish(ctx context.Context) {
	p := &polish{state: s, ctx: ctx}
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
	if p.in.p.Objective != Makespan {
		return
	}
	p.slowest = p.slowest[:0]
	for h := range p.n {
		p.slowest = append(p.slowest, h)
	}
	slices.SortStableFunc(p.slowest, func(a, b int) int {
		return int(max(-1, min(1, p.time(b, change{})-p.time(a, change{}))))
	})
}

func (p *polish) time(h int, c change) int64 { return sendTime(p.load[h].bytes+c.bytes, p.in.bps[h]) }

func (p *polish) moves() (moved bool) {
	for u := range int32(len(p.At)) {
		if !p.placed(u) || p.ctx.Err() != nil {
			continue
		}
		best, bestMerit := nowhere, merit{}
		for h := range p.n {
			if h == int(p.At[u]) || !p.in.allows(u, h) {
				continue
			}
			there, here := p.changes(u, h)
			m := p.merit(int(p.At[u]), h, there, here)
			if m.betters() && m.minus(bestMerit).betters() && p.fits(u, h) {
				best, bestMerit = h, m
			}
		}
		if best != nowhere {
			p.move(u, best)
			p.rank()
			moved = true
		}
	}
	return moved
}

func (m merit) minus(n merit) merit {
	return merit{value{m.cost - n.cost, m.traffic - n.traffic}, m.imbalance - n.imbalance}
}

func (p *polish) swaps() (moved bool) {
	for u := range int32(len(p.At)) {
		if p.ctx.Err() != nil {
			return moved
		}
		for v := range u {
			if p.placed(u) && p.placed(v) && p.tradable(u, v) && p.worthwhile(u, v) && p.swap(u, v) {
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
	there, here := p.trade(u, v, change{}, change{})
	if !p.merit(a, b, there, here).betters() {
		return false
	}
	kept, held := p.shared(u, v)
	there, here = p.trade(u, v, kept, held)
	return p.merit(a, b, there, here).betters()
}

// merit is the difference that changes of two hosts make.
func (p *polish) merit(a, b int, there, here change) merit {
	m := merit{value: value{traffic: there.traffic() + here.traffic()}}
	switch p.in.p.Objective {
	case Makespan:
		m.cost = p.longest(a, b, there, here) - max(p.in.floor, p.time(p.slowest[0], change{}))
	case Hosts:
		m.cost = p.opened(a, there) + p.opened(b, here)
	default:
		m.cost = m.traffic
	}
	if m.cost == 0 && m.traffic == 0 {
		m.imbalance = p.uneven(a, there) - p.uneven(a, change{}) + p.uneven(b, here) - p.uneven(b, change{})
	}
	return m
}

// longest is the makespan after changes of two hosts.
func (p *polish) longest(a, b int, there, here change) int64 {
	t := max(p.in.floor, p.time(a, there), p.time(b, here))
	for _, h := range p.slowest[:min(3, len(p.slowest))] {
		if h != a && h != b {
			t = max(t, p.time(h, change{}))
		}
	}
	return t
}

// opened is 1 if a change puts the first unit on a host, -1 if it takes the last away.
func (p *polish) opened(h int, c change) int64 {
	before, after := min(p.load[h].vms, 1), min(p.load[h].vms+c.vms, 1)
	return after - before
}

func (p *polish) uneven(h int, c change) float64 {
	return imbalance(p.usedAfter(h, c), p.in.room[h].memory)
}

// imbalance is least in sum when all hosts are filled to the same degree.
func imbalance(used, room int64) float64 {
	return float64(used) / float64(max(room, 1)) * float64(used)
}
