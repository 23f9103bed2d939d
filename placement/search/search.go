// Package search looks for the cheapest assignment where there are too many to try: a pool of solutions is annealed from scratch, or found by
// descents through coarser levels, and then bred, by keeping together what two of them do while the rest is searched again.
package search

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// Tuning of the search. What it does depends on nothing of the machine, so that the result is the same everywhere. A sweep
// is the effort of moving every unit once.
const (
	mostLanes   = 4   // tasks of a generation
	hostSweeps  = 10  // per host, that a task should be able to afford
	unitSweeps  = 30  // units per sweep that it should afford if units are many
	fewSweeps   = 50  // the least of that
	manySweeps  = 400 // the most of that
	longSweeps  = 4000
	mostTasks   = 64 // beyond which tasks are made longer, up to longSweeps
	poolSize    = 6
	breedHeat   = 0.5
	refineHeat  = 0.2
	fullShare   = 0.15    // of the effort, for all classes after a sample of the light ones
	scoutShare  = 0.1     // of the effort, for a scout
	twoCores    = 500     // units from which on there are two tasks at least
	stateBudget = 1 << 30 // bytes of states that may exist at once
)

// recipe is a way to anneal from scratch; tasks take turns.
type recipe struct {
	hot, price float64
	few        int // units per host to coarsen to, 0 = anneal at once
}

var recipes = [...]recipe{{1, 4, 0}, {1, 4, 10}, {2, 8, 0}, {1, 6, 25}, {1.5, 6, 0}, {1, 4, 50}}

// scout is a way that finds what belongs together where annealing unit by unit hardly ever does: few classes cross, all weigh alike.
var scout = recipe{1, 4, 5}

// Search is what to look for, and how hard.
type Search struct {
	In     *model.Instance
	Seed   uint64
	Effort int      // in owners and classes visited
	Idle   []bool   // units to leave in limbo; nil: none
	Known  []uint16 // an assignment within all room, if one is known
	Bound  int64    // a cost at which to stop
}

// Run returns the hosts of the units in the cheapest assignment found; false if it found none. Where ctx ends early, it returns the best so far.
func (s Search) Run(ctx context.Context) (host []uint16, found bool) {
	r := &search{Search: s, ctx: ctx}
	if best := r.run(); best != nil {
		return best.host, true
	}
	return nil, false
}

// search is a search under way. What is left of its effort shrinks.
type search struct {
	Search
	ctx   context.Context
	light int64 // weight below which fresh samples classes
}

// run fills a pool with solutions from scratch, by descents or a scout first, and breeds them. It returns nil if it found none.
func (r *search) run() *solution {
	limit, sweep := r.In.Thinning()
	r.light = limit
	found := r.scout()
	found = r.generate(found, sweep)
	switch {
	case len(found) > 0:
		return found[0]
	case r.Known != nil:
		return &solution{r.Known, assign.At(r.In, r.Known).Worth()}
	}
	return nil
}

// generate breeds solutions in pairs, generation by generation, until the effort is spent, the bound is reached or a whole generation agrees. The
// first generations, and one in four tasks later, are from scratch.
func (r *search) generate(found pool, sweep int) pool {
	generations, lanes := r.divide(sweep)
	effort := r.Effort / (generations * lanes)
	for g := range generations {
		if r.ctx.Err() != nil || len(found) > 0 && found[0].Cost <= r.Bound {
			break
		}
		parents, fresh := found, g < (generations+2)/4
		born := r.each(lanes, func(i int) *solution { return r.task(g*mostLanes+i, fresh || g%4 == 3 && i == 0, parents, effort) })
		found = found.with(born, poolSize)
		if len(born) == mostLanes && born.worth(found[0].Value) {
			break
		}
	}
	return found
}

// scout spends a part of the effort on solutions by clusters: by descents, or else on one, if there are enough units.
func (r *search) scout() pool {
	if r.passable() {
		return r.descents()
	}
	if len(r.In.Units) < 2*scout.few*len(r.In.Room) {
		return nil
	}
	effort := int(scoutShare * float64(r.Effort))
	r.Effort -= effort
	if s := r.fresh(scout, r.chance(math.MaxUint64), effort); s != nil {
		return pool{s}
	}
	return nil
}

// chance is the source of chance of one task, so that it does not matter which of several ends first.
func (r *search) chance(task uint64) *rand.Rand { return rand.New(rand.NewPCG(r.Seed, task)) }

// divide tells how many generations of how many tasks the effort is for. A sweep takes so much of it.
func (r *search) divide(sweep int) (generations, lanes int) {
	units := len(r.In.Units)
	enough := hostSweeps * len(r.In.Room)
	if units >= twoCores {
		enough = max(fewSweeps, min(units/unitSweeps, manySweeps))
	}
	enough = max(1, enough) * sweep
	tasks := max(min(units/twoCores, 1)+1, min(r.Effort/enough, max(mostTasks, r.Effort/(longSweeps*sweep))))
	lanes = min(tasks, mostLanes)
	return tasks / lanes, lanes
}

// each runs f(0) to f(n-1), as many at once as there are CPUs and memory for their states, and returns the solutions
// found, in order.
func (r *search) each(n int, f func(i int) *solution) pool {
	out := make(pool, n)
	bytes := r.In.Classes.SpreadBytes(len(r.In.Room) + r.In.Racks)
	tickets := make(chan struct{}, max(1, min(n, runtime.GOMAXPROCS(0), stateBudget/max(bytes, 1))))
	var wg sync.WaitGroup
	for i := range n {
		tickets <- struct{}{}
		wg.Go(func() {
			out[i] = f(i)
			<-tickets
		})
	}
	wg.Wait()
	return slices.DeleteFunc(out, func(s *solution) bool { return s == nil })
}
