package placement

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// Tuning of the search. What it does depends on nothing of the machine, so that the result is the same everywhere. A sweep
// is the effort of moving every unit once.
const (
	mostLanes   = 4    // tasks of a generation
	fewSweeps   = 50   // that a task should be able to afford; more if units are many
	manySweeps  = 200  // the most of that
	longSweeps  = 1000 // beyond which a task is made longer rather than one of more than mostTasks
	mostTasks   = 64
	poolSize    = 6
	breedHeat   = 0.5
	refineHeat  = 0.2
	stateBudget = 1 << 30 // bytes of states that may exist at once
)

// recipe is a way to anneal from scratch; tasks take turns.
type recipe struct {
	hot, price float64
	few        int // units per host to coarsen to, 0 = anneal at once
}

var recipes = [...]recipe{{1, 4, 0}, {1, 4, 10}, {2, 8, 0}, {1, 6, 25}, {1.5, 6, 0}, {1, 4, 50}}

// solution is an assignment within all room.
type solution struct {
	host []uint16
	value
}

// search looks for the cheapest assignment of an instance.
type search struct {
	in     *instance
	ctx    context.Context
	seed   uint64
	effort int
	idle   []bool   // units to leave in limbo
	known  []uint16 // an assignment within all room, if one is known
	bound  int64    // a cost at which to stop
}

// run fills a pool with solutions from scratch and breeds them in pairs, generation by generation, until the effort is
// spent, the bound is reached or a whole generation agrees. It returns nil if it found none.
func (r *search) run() *solution {
	generations, lanes := r.divide()
	effort := r.effort / (generations * lanes)
	var pool []*solution
	for g := range generations {
		if r.ctx.Err() != nil || len(pool) > 0 && pool[0].cost <= r.bound {
			break
		}
		parents, fresh := pool, g < (generations+2)/4
		born := r.each(lanes, func(i int) *solution { return r.task(g*mostLanes+i, fresh || g%4 == 3 && i == 0, parents, effort) })
		pool = best(append(pool, born...), poolSize)
		if len(born) == mostLanes && pool[0].equals(born) {
			break
		}
	}
	if len(pool) == 0 && r.known != nil {
		s := newState(r.in)
		s.adopt(r.known)
		return &solution{r.known, s.worth()}
	}
	if len(pool) == 0 {
		return nil
	}
	return pool[0]
}

// divide tells how many generations of how many tasks the effort is for.
func (r *search) divide() (generations, lanes int) {
	sweep := r.in.sweep()
	enough := max(fewSweeps, min(len(r.in.units)/10, manySweeps)) * sweep
	tasks := max(2, min(r.effort/enough, max(mostTasks, r.effort/(longSweeps*sweep))))
	lanes = min(tasks, mostLanes)
	return tasks / lanes, lanes
}

// equals reports whether all solutions are worth as much as s.
func (s *solution) equals(all []*solution) bool {
	return !slices.ContainsFunc(all, func(t *solution) bool { return t.value != s.value })
}

// task finds a solution from scratch or breeds two.
func (r *search) task(number int, fresh bool, parents []*solution, effort int) *solution {
	rng := rand.New(rand.NewPCG(r.seed, uint64(number)))
	if fresh || len(parents) < 2 {
		return r.fresh(recipes[number%len(recipes)], rng, effort)
	}
	a, b := rng.IntN(len(parents)), rng.IntN(len(parents)-1)
	if b >= a {
		b++
	}
	return r.breed(parents[min(a, b)], parents[max(a, b)], rng, effort)
}

// each runs f(0) to f(n-1), as many at once as there are CPUs and memory for their states, and returns the solutions
// found, in order.
func (r *search) each(n int, f func(i int) *solution) []*solution {
	out := make([]*solution, n)
	bytes := 8*len(r.in.units)*(len(r.in.room)+1) + 4*r.in.classes.rows*(len(r.in.room)+1)
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
		return cmp.Or(cmp.Compare(a.cost, b.cost), cmp.Compare(a.traffic, b.traffic), slices.Compare(a.host, b.host))
	})
	pool = slices.CompactFunc(pool, func(a, b *solution) bool { return slices.Equal(a.host, b.host) })
	return pool[:min(n, len(pool))]
}

// fresh finds a solution from scratch, at once or level by level: first with the light classes only sampled, then with
// all.
func (r *search) fresh(how recipe, rng *rand.Rand, effort int) *solution {
	arena := r.in.sparse(rng)
	few := len(arena.units)
	if how.few > 0 {
		few = how.few * len(arena.room)
	}
	levels := arena.levels(rng, r.idle, few)
	if arena != r.in {
		levels = slices.Insert(levels, 0, level{in: r.in, idle: r.idle})
	}
	var host []uint16
	for k := len(levels) - 1; k >= 0; k-- {
		l := &levels[k]
		s := newState(l.in)
		heat := how.hot
		if host == nil {
			r.start(s, l.idle, rng)
		} else {
			s.adopt(levels[k+1].project(host))
			heat = refineHeat
		}
		a := r.anneal(s, rng)
		a.firstPrice = how.price
		found := a.run(heat, heat/cooling, effort/len(levels))
		if k == 0 && found && s.complete(r.idle) {
			return &solution{s.host, a.value}
		}
		host = s.host
	}
	return nil
}

// sweep is about the effort of moving every unit once.
func (in *instance) sweep() int {
	g := &in.classes
	return 64 + 64*len(in.units) + len(g.mates) + len(g.pairs) + 4*len(g.larges)
}

// anneal prepares to improve a state. Only on the instance itself does reaching the bound mean that it is over.
func (r *search) anneal(s *state, rng *rand.Rand) *anneal {
	a := newAnneal(r.ctx, s, rng)
	if s.in.p.Objective == Makespan || s.in != r.in {
		return a
	}
	a.bound = r.bound
	return a
}

// complete reports whether all units but the idle ones are placed.
func (s *state) complete(idle []bool) bool {
	for u := range s.host {
		if !s.placed(int32(u)) && (idle == nil || !idle[u]) {
			return false
		}
	}
	return true
}

// start packs all units that are not idle. Should some find no room, it falls back on the known assignment, or else puts
// them where they overfill a host.
func (r *search) start(s *state, idle []bool, rng *rand.Rand) {
	left := s.pack(idle, rng)
	if len(left) > 0 && r.known != nil && len(s.host) == len(r.known) {
		s.adopt(r.known)
		return
	}
	for _, u := range left {
		for _, h := range rng.Perm(s.n) {
			if s.in.allows(u, h) && s.parted(u, h) {
				s.move(u, h)
				break
			}
		}
	}
}

// breed anneals, from the better parent a on, among the assignments that keep together what both do, and then refines the
// outcome unit by unit.
func (r *search) breed(a, b *solution, rng *rand.Rand, effort int) *solution {
	cluster := agreed(a.host, b.host)
	coarse := r.in.contract(cluster)
	host := make([]uint16, len(coarse.units))
	for u, k := range cluster {
		host[k] = a.host[u]
	}
	s := newState(coarse)
	s.adopt(host)
	r.anneal(s, rng).run(breedHeat, breedHeat/cooling, effort/2)
	fine := newState(r.in)
	fine.adopt((&level{in: coarse, cluster: cluster}).project(s.host))
	x := r.anneal(fine, rng)
	if !x.run(refineHeat, refineHeat/cooling, effort/2) {
		return nil
	}
	return &solution{fine.host, x.value}
}

// agreed unites the units that two assignments both keep together, and returns the unit of the coarser instance for each.
func agreed(a, b []uint16) []int32 {
	number := map[[2]uint16]int32{}
	out := make([]int32, len(a))
	for u := range a {
		key := [2]uint16{a[u], b[u]}
		k, ok := number[key]
		if !ok {
			k = int32(len(number))
			number[key] = k
		}
		out[u] = k
	}
	return out
}
