// Package search looks for the cheapest assignment where there are too many to try: a pool of solutions is annealed from scratch, or found by
// descents through coarser levels, and then bred, by keeping together what two of them do while the rest is searched again.
package search

import (
	"cmp"
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

// solution is an assignment within all room.
type solution struct {
	host []uint16
	assign.Value
}

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
	best := r.run()
	if best == nil {
		return nil, false
	}
	return best.host, true
}

// search is a search under way. What is left of its effort shrinks.
type search struct {
	Search
	ctx   context.Context
	light int64 // weight below which fresh samples classes
}

// run fills a pool with solutions from scratch, by descents or a scout first, and breeds them in pairs, generation by generation, until the
// effort is spent, the bound is reached or a whole generation agrees. It returns nil if it found none.
func (r *search) run() *solution {
	limit, sweep := r.In.Thinning()
	r.light = limit
	pool := r.scout()
	generations, lanes := r.divide(sweep)
	effort := r.Effort / (generations * lanes)
	for g := range generations {
		if r.ctx.Err() != nil || len(pool) > 0 && pool[0].Cost <= r.Bound {
			break
		}
		parents, fresh := pool, g < (generations+2)/4
		born := r.each(lanes, func(i int) *solution { return r.task(g*mostLanes+i, fresh || g%4 == 3 && i == 0, parents, effort) })
		pool = best(append(pool, born...), poolSize)
		if len(born) == mostLanes && pool[0].equals(born) {
			break
		}
	}
	if len(pool) == 0 && r.Known != nil {
		return &solution{r.Known, assign.At(r.In, r.Known).Worth()}
	}
	if len(pool) == 0 {
		return nil
	}
	return pool[0]
}

// scout spends a part of the effort on solutions by clusters: by descents, or else on one, if there are enough units.
func (r *search) scout() []*solution {
	if r.passable() {
		return r.descents()
	}
	if len(r.In.Units) < 2*scout.few*len(r.In.Room) {
		return nil
	}
	effort := int(scoutShare * float64(r.Effort))
	r.Effort -= effort
	s := r.fresh(scout, rand.New(rand.NewPCG(r.Seed, math.MaxUint64)), effort)
	if s == nil {
		return nil
	}
	return []*solution{s}
}

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

// equals reports whether all solutions are worth as much as s.
func (s *solution) equals(all []*solution) bool {
	return !slices.ContainsFunc(all, func(t *solution) bool { return t.Value != s.Value })
}

// task finds a solution from scratch or breeds two.
func (r *search) task(number int, fresh bool, parents []*solution, effort int) *solution {
	rng := rand.New(rand.NewPCG(r.Seed, uint64(number)))
	if fresh || len(parents) < 2 {
		return r.fresh(recipes[number%len(recipes)], rng, effort)
	}
	a, b := two(rng, parents)
	return r.breed(a, b, rng, effort)
}

// two draws two solutions, the better one first.
func two(rng *rand.Rand, of []*solution) (a, b *solution) {
	i, j := rng.IntN(len(of)), rng.IntN(len(of)-1)
	if j >= i {
		j++
	}
	return of[min(i, j)], of[max(i, j)]
}

// each runs f(0) to f(n-1), as many at once as there are CPUs and memory for their states, and returns the solutions
// found, in order.
func (r *search) each(n int, f func(i int) *solution) []*solution {
	out := make([]*solution, n)
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

// best returns the n cheapest solutions that differ.
func best(pool []*solution, n int) []*solution {
	slices.SortStableFunc(pool, func(a, b *solution) int {
		return cmp.Or(cmp.Compare(a.Cost, b.Cost), cmp.Compare(a.Traffic, b.Traffic), slices.Compare(a.host, b.host))
	})
	pool = slices.CompactFunc(pool, func(a, b *solution) bool { return slices.Equal(a.host, b.host) })
	return pool[:min(n, len(pool))]
}
