package placement

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
)

// Tuning of the search. Lanes are fixed in number, not by the machine, so that the result is the same everywhere.
const (
	lanes        = 4
	rounds       = 3    // of breeding
	firstShare   = 0.55 // of the effort, for the lanes' own solutions
	breedHeat    = 0.5
	refineHeat   = 0.2
	stateBudget  = 1 << 30 // bytes of states that may exist at once
	effortPerSec = 200_000_000
)

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

// run lets every lane find a solution of its own and then breeds them in pairs. It returns nil if there was none.
func (r *search) run() *solution {
	pool := best(r.each(lanes, func(i int) *solution { return r.lane(i, int(firstShare*float64(r.effort)/lanes)) }), lanes)
	for round := range rounds {
		if len(pool) < 2 || r.ctx.Err() != nil || pool[0].cost <= r.bound {
			break
		}
		effort := int((1 - firstShare) * float64(r.effort) / rounds / lanes)
		parents := pool
		kids := r.each(lanes, func(i int) *solution { return r.breed(parents, round, i, effort) })
		pool = best(append(pool, kids...), lanes)
	}
	if len(pool) == 0 {
		return nil
	}
	return pool[0]
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

func (r *search) random(kind, lane int) *rand.Rand {
	return rand.New(rand.NewPCG(r.seed, uint64(kind)<<32|uint64(lane)))
}

// lane finds a solution: even lanes at once, odd ones level by level.
func (r *search) lane(i, effort int) *solution {
	rng := r.random(1, i)
	few := len(r.in.units)
	if i%2 == 1 {
		few = (2 + 8*i) * len(r.in.room)
	}
	levels := r.in.levels(rng, r.idle, few)
	var host []uint16
	for k := len(levels) - 1; k >= 0; k-- {
		l := &levels[k]
		s := newState(l.in)
		heat := hottest
		if host == nil {
			r.start(s, l.idle, rng)
		} else {
			s.adopt(levels[k+1].project(host))
			heat = refineHeat
		}
		a := r.anneal(s, rng)
		found := a.run(heat, heat/cooling, effort/len(levels))
		host = s.host
		if k > 0 {
			continue
		}
		if found && s.complete(r.idle) {
			return &solution{host, a.value}
		}
	}
	return nil
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
	if len(left) > 0 && r.known != nil && s.in == r.in {
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

// breed crosses two of the parents: the i-th with one of the others, by turns.
func (r *search) breed(parents []*solution, round, i, effort int) *solution {
	a := parents[i%len(parents)]
	b := parents[(i+1+round%(len(parents)-1))%len(parents)]
	if b.less(a.value) {
		a, b = b, a
	}
	rng := r.random(2+round, i)
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
