package placement

import (
	"context"
	"math"
	"math/rand/v2"
)

// Tuning of the annealing, found on fleets and circuits of many sizes. Heat and price are in units of the mean loss of a
// proposal that loses.
const (
	annealBatch   = 256 // steps between two looks at the schedule
	stepEffort    = 16  // effort of a step beside what it touches
	partnerEffort = 16  // effort of trying a partner
	cooling       = 8.0 // first heat over last

	priceRise = 8.0 // last price of excess over first
	partners  = 4   // units tried for an exchange
)

// anneal improves a state by simulated annealing over moves and exchanges. Proposals follow the classes: a unit is offered
// the host of another owner of one of its classes. Room may be exceeded at a price that rises as heat falls; without that
// freedom, tightly packed hosts of odd sizes hardly ever find an exchange. Other constraints always hold. Units in limbo
// stay there.
type anneal struct {
	*state
	ctx     context.Context
	dice    dice
	members [][]int32
	place   []int32 // of each unit among its host's members
	excess  []excess
	over    int // hosts with excess
	tried   int // partners of exchanges
	unit    measure
	links   *links
	heat    float64
	price   float64
	best    []uint16 // the cheapest assignment within all room
	value   value
	found   bool
	bound   int64 // a cost at which to stop

	firstPrice float64 // of the excess of a mean unit, in mean losses
}

// value is what an assignment costs: by the objective, then in traffic.
type value struct{ cost, traffic int64 }

func (v value) less(w value) bool {
	return v.cost < w.cost || v.cost == w.cost && v.traffic < w.traffic
}

// measure turns resources into fractions of what a mean unit takes.
type measure struct{ memory, vcpus, vms float64 }

// excess is by how many mean units a host is overfull.
type excess = float64

func newAnneal(ctx context.Context, s *state, rng *rand.Rand) *anneal {
	a := &anneal{state: s, ctx: ctx, dice: newDice(rng), bound: -1, firstPrice: 4, members: s.members(), place: make([]int32, len(s.At)), best: make([]uint16, len(s.At))}
	for _, units := range a.members {
		for i, u := range units {
			a.place[u] = int32(i)
		}
	}
	a.links = newLinks(s)
	a.unit = s.in.meanUnit()
	a.excess = make([]excess, s.n)
	for h := range s.n {
		a.setExcess(h, a.beyond(h, change{}))
	}
	return a
}

func (in *instance) meanUnit() measure {
	var memory, vcpus, vms int64
	for i := range in.units {
		u := &in.units[i]
		memory, vcpus, vms = memory+u.claim+u.own, vcpus+u.vcpus, vms+int64(u.count)
	}
	per := func(sum int64) float64 { return float64(len(in.units)) / float64(max(sum, 1)) }
	return measure{per(memory), per(vcpus), per(vms)}
}

// run cools from from times to to times the mean loss, spending effort. The state ends as the best within all room; false
// means there was none.
func (a *anneal) run(from, to float64, effort int) bool {
	a.consider()
	if len(a.At) == 0 || a.n == 0 {
		return a.found
	}
	mean := a.meanLoss()
	start, steps, used, strictness := a.effort(), 0, 0, 1.0
	for used < effort && a.ctx.Err() == nil && !(a.found && a.value.cost <= a.bound) {
		progress := float64(used) / float64(effort)
		a.heat = mean * from * math.Pow(to/from, progress)
		a.price = mean * a.firstPrice * math.Pow(priceRise, progress) * strictness
		for range annealBatch {
			a.step()
		}
		steps += annealBatch
		used = a.effort() - start + stepEffort*steps + partnerEffort*a.tried
		strictness = a.adapt(strictness)
		if progress > 0.3 || len(a.At) < 500 {
			a.consider()
		}
	}
	a.finish()
	a.consider()
	if a.found {
		a.adopt(a.best)
	}
	return a.found
}

// adapt makes excess dearer as long as there is any.
func (a *anneal) adapt(strictness float64) float64 {
	if a.over > 0 {
		return strictness * 1.01
	}
	return math.Max(1, strictness/1.01)
}

// finish descends, ever more strictly as long as there is excess.
func (a *anneal) finish() {
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
func (a *anneal) consider() {
	if a.over > 0 {
		return
	}
	if v := a.worth(); !a.found || v.less(a.value) {
		copy(a.best, a.At)
		a.value, a.found = v, true
	}
}

// meanLoss is the mean loss of the proposals that lose.
func (a *anneal) meanLoss() float64 {
	var sum float64
	n := 0
	for range 10000 {
		u := int32(a.dice.roll(len(a.At)))
		h := a.propose(u)
		if h == a.Limbo || !a.placed(u) || h == int(a.At[u]) {
			continue
		}
		there, here := a.changes(u, h)
		if loss := a.links.loss(a.state, int(a.At[u]), h, there, here); loss > 0 {
			sum += loss
			n++
		}
	}
	return math.Max(sum/float64(max(n, 1)), 1)
}
