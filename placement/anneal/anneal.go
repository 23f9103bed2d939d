// Package anneal improves an assignment by simulated annealing, move by move and exchange by exchange.
package anneal

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/chance"
	"github.com/scatter-vm/scatter/placement/hypergraph"
)

// Tuning of the annealing, found on fleets and circuits of many sizes. Heat and price are in units of the mean loss of a
// proposal that loses.
const (
	annealBatch   = 256 // steps between two looks at the schedule
	stepEffort    = 16  // effort of a step beside what it touches
	partnerEffort = 16  // effort of trying a partner
	cooling       = 8.0 // first heat over last

	usualPrice = 4.0 // first price of excess
	priceRise  = 8.0 // last price of excess over first
	partners   = 4   // units tried for an exchange
)

// Annealing improves a state by simulated annealing over moves and exchanges. Proposals follow the classes: a unit is offered
// the host of another owner of one of its classes. Room may be exceeded at a price that rises as heat falls; without that
// freedom, tightly packed hosts of odd sizes hardly ever find an exchange. Other constraints always hold. Units in limbo
// stay there.
type Annealing struct {
	*assign.State
	Bound      int64   // a cost at which to stop; -1, as it is at first: none
	FirstPrice float64 // of the excess of a mean unit, in mean losses

	ctx     context.Context
	classes *hypergraph.Graph
	dice    chance.Dice
	roster  roster
	excess  []excess
	over    int // hosts with excess
	tried   int // partners of exchanges
	unit    measure
	links   *links
	heat    float64
	price   float64
	best    []uint16 // the cheapest assignment within all room
	value   assign.Value
	found   bool
}

// New prepares to improve a state.
func New(ctx context.Context, s *assign.State, rng *rand.Rand) *Annealing {
	a := &Annealing{State: s, ctx: ctx, classes: &s.In.Classes, dice: chance.NewDice(rng), Bound: -1, FirstPrice: usualPrice, roster: newRoster(s), best: make([]uint16, len(s.At))}
	a.links = newLinks(s)
	a.unit = meanUnit(s.In.Units)
	a.excess = make([]excess, s.N)
	for h := range s.N {
		a.setExcess(h, a.beyond(h, assign.Change{}))
	}
	return a
}

// Run cools down from heat times the mean loss, spending effort. The state ends as the best within all room; false means there was none.
func (a *Annealing) Run(heat float64, effort int) bool {
	a.consider()
	if len(a.At) == 0 || a.N == 0 {
		return a.found
	}
	mean := a.meanLoss()
	start, steps, used, strictness := a.Effort(), 0, 0, 1.0
	for used < effort && a.ctx.Err() == nil && !(a.found && a.value.Cost <= a.Bound) {
		progress := float64(used) / float64(effort)
		a.heat = mean * heat * math.Pow(1/cooling, progress)
		a.price = mean * a.FirstPrice * math.Pow(priceRise, progress) * strictness
		for range annealBatch {
			a.step()
		}
		steps += annealBatch
		used = a.Effort() - start + stepEffort*steps + partnerEffort*a.tried
		strictness = a.adapt(strictness)
		if progress > 0.3 || len(a.At) < 500 {
			a.consider()
		}
	}
	a.finish()
	a.consider()
	if a.found {
		a.Adopt(a.best)
	}
	return a.found
}

// Value is what the best assignment within all room costs, if Run found one.
func (a *Annealing) Value() assign.Value { return a.value }

// adapt makes excess dearer as long as there is any.
func (a *Annealing) adapt(strictness float64) float64 {
	if a.over > 0 {
		return strictness * 1.01
	}
	return math.Max(1, strictness/1.01)
}

// finish descends, ever more strictly as long as there is excess.
func (a *Annealing) finish() {
	a.heat = 0
	for round := range 50 {
		if a.ctx.Err() != nil && a.found {
			return
		}
		for range len(a.At) {
			a.step()
		}
		if a.over > 0 {
			a.price *= 1.3
		} else if round >= 10 {
			return
		}
	}
}

// consider keeps the assignment if it is the cheapest so far within all room.
func (a *Annealing) consider() {
	if a.over > 0 {
		return
	}
	if v := a.Worth(); !a.found || v.Less(a.value) {
		copy(a.best, a.At)
		a.value, a.found = v, true
	}
}

// meanLoss is the mean loss of the proposals that lose.
func (a *Annealing) meanLoss() float64 {
	var sum float64
	n := 0
	for range 10000 {
		u := int32(a.dice.Roll(len(a.At)))
		h := a.propose(u)
		if h == a.Limbo || !a.Placed(u) || h == int(a.At[u]) {
			continue
		}
		there, here := a.Changes(u, h)
		if loss := a.links.loss(a.State, int(a.At[u]), h, there, here); loss > 0 {
			sum += loss
			n++
		}
	}
	return math.Max(sum/float64(max(n, 1)), 1)
}
