// Package local improves an assignment that is within all room by local search: passes of moves some of which lose, and descents that take
// whatever betters it until nothing does.
package local

import (
	"context"
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/chance"
	"github.com/scatter-vm/scatter/placement/hypergraph"
)

// passes improves a state by k-way Fiduccia-Mattheyses local search: in a pass units move one after the other, none of them twice, the move
// that gains most first even if it loses, and in the end all moves after the cheapest state within all room are taken back. Where few classes
// cross, that finds ways over ridges that annealing unit by unit does not. (Fiduccia and Mattheyses, DAC 1982; Sanchis, IEEE Transactions on
// Computers 1989.) Only traffic counts, and the state must be within all room.
type passes struct {
	*assign.State
	ctx     context.Context
	classes *hypergraph.Graph
	dice    chance.Dice
	queues  []queue // of each host: units that may go there
	full    []bool  // hosts to which the best unit did not fit, until one leaves
	whole   []int64 // bytes of each unit's classes
	left    []int64 // what leave was when a unit's gains were last computed
	still   []int32 // the pass in which a unit moved
	seen    []int32 // the move after which a unit's gains were last computed
	pass    int32
	moves   int32
	made    []made
	work    int // gains computed, each of which is worth several visits
}

// made is a move that can be taken back.
type made struct {
	unit int32
	from uint16
}

const (
	passesAtMost = 20
	hopefulMoves = 100 // without success, after which a pass ends, and a part of the units
	hopefulPart  = 0.02
)

// Passes improves a state, within all room, by Fiduccia-Mattheyses passes until one gains nothing, and returns the effort.
func Passes(ctx context.Context, s *assign.State, rng *rand.Rand) int {
	return newPasses(ctx, s, rng).run()
}

func newPasses(ctx context.Context, s *assign.State, rng *rand.Rand) *passes {
	n := len(s.At)
	f := &passes{State: s, ctx: ctx, classes: &s.In.Classes, dice: chance.NewDice(rng), queues: make([]queue, s.N), full: make([]bool, s.N), whole: make([]int64, n),
		left: make([]int64, n), still: make([]int32, n), seen: make([]int32, n)}
	for h := range f.queues {
		f.queues[h].place = make([]int32, n)
	}
	g := f.classes
	for u := range f.whole {
		for _, c := range g.Classes(int32(u)) {
			f.whole[u] += g.Weight[c]
		}
	}
	return f
}

// run makes passes until one gains nothing. It returns the effort.
func (f *passes) run() int {
	before := f.Touched()
	for range passesAtMost {
		if f.ctx.Err() != nil || !f.gains() {
			break
		}
	}
	return f.Touched() - before + f.work
}

// gains makes a pass and tells whether it gained anything.
func (f *passes) gains() bool {
	f.begin()
	hopeful := hopefulMoves + int(hopefulPart*float64(len(f.At)))
	var sum, most int64
	kept := 0
	for len(f.made)-kept < hopeful {
		u, h := f.choose()
		if u == assign.Nowhere {
			break
		}
		sum += f.queues[h].gainOf(u)
		f.take(u, h)
		if sum > most {
			most, kept = sum, len(f.made)
		}
	}
	for i := len(f.made) - 1; i >= kept; i-- {
		f.Move(f.made[i].unit, int(f.made[i].from))
	}
	return most > 0
}

// begin fills the queues with all units that share something with another host.
func (f *passes) begin() {
	f.pass++
	f.made = f.made[:0]
	clear(f.full)
	for h := range f.queues {
		f.queues[h].clear()
	}
	n := len(f.At)
	for i, at := 0, f.dice.Roll(n); i < n; i++ {
		u := int32((at + i) % n)
		if f.Placed(u) {
			f.left[u] = f.Leave[u]
			for h := range f.N {
				f.appraise(u, h)
			}
		}
	}
}

// appraise computes what it gains to move u to h.
func (f *passes) appraise(u int32, h int) {
	f.work += 8
	arrival := f.Arrival(u, h)
	if h == int(f.At[u]) || arrival == f.whole[u] || !f.In.Allows(u, h) {
		f.queues[h].remove(u)
		return
	}
	f.queues[h].set(u, f.Leave[u]-arrival)
}

// choose returns the move that gains most among those that are permitted; nowhere if there is none.
func (f *passes) choose() (u int32, host int) {
	for {
		best := assign.Nowhere
		for h := range f.queues {
			if !f.full[h] && f.queues[h].len() > 0 && (best == assign.Nowhere || f.queues[best].top().less(f.queues[h].top())) {
				best = h
			}
		}
		if best == assign.Nowhere {
			return assign.Nowhere, 0
		}
		u := f.queues[best].top().unit
		_, here := f.Changes(u, best)
		switch {
		case !f.Holds(best, here):
			f.full[best] = true
		case !f.Parted(u, best):
			f.queues[best].remove(u)
		default:
			return u, best
		}
	}
}

// take moves u for good, as far as this pass goes, and computes anew what the move changes.
func (f *passes) take(u int32, h int) {
	from := int(f.At[u])
	f.made = append(f.made, made{u, uint16(from)})
	f.still[u] = f.pass
	for i := range f.queues {
		f.queues[i].remove(u)
	}
	f.Move(u, h)
	f.full[from] = false
	f.moves++
	g := f.classes
	for _, p := range g.Pairs(u) {
		f.review(int32(p.Mate), from, h)
	}
	for _, c := range g.Smalls(u) {
		for _, v := range g.Mates(c) {
			f.review(int32(v), from, h)
		}
	}
	for _, c := range g.Larges(u) {
		if f.Crowd(c, from) <= 1 || f.Crowd(c, h) <= 2 {
			for _, v := range g.Pins(c.Class) {
				f.review(int32(v), from, h)
			}
		}
	}
}

// review computes anew what moves of u gain after another unit has gone from one host to another.
func (f *passes) review(u int32, from, to int) {
	if f.seen[u] == f.moves || f.still[u] == f.pass || !f.Placed(u) {
		return
	}
	f.seen[u] = f.moves
	if f.left[u] == f.Leave[u] {
		f.appraise(u, from)
		f.appraise(u, to)
		return
	}
	f.left[u] = f.Leave[u]
	for h := range f.N {
		f.appraise(u, h)
	}
}
