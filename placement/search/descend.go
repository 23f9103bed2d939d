package search

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/local"
	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/multilevel"
)

const (
	coarseUnits   = 80  // per host, to which a descent coarsens
	coarseSweeps  = 300 // of annealing them
	mostQueues    = 64
	mostDescent   = 0.8 // of the effort, for descents
	descentOfHost = 3.2 // likewise, divided by the hosts: the more there are, the better is annealing
	freshShare    = 0.4 // of that, for descents from scratch
	descentPool   = 12
	maxRounds     = 1000
)

// passable tells whether passes help: they know traffic between hosts only, and take a queue for each host.
func (r *search) passable() bool {
	return r.In.Objective == model.LeastTraffic && r.In.Racks == 0 && len(r.In.Units) >= twoCores && len(r.In.Room) <= mostQueues
}

// descents spends a part of the effort on descents, and then on crossing what they have found.
func (r *search) descents() (pool []*solution) {
	share := min(mostDescent, descentOfHost/float64(len(r.In.Room))) * float64(r.Effort)
	var used atomic.Int64
	for round := range maxRounds {
		spent := float64(used.Load())
		if r.ctx.Err() != nil || spent >= share {
			break
		}
		parents := pool
		if spent < freshShare*share || len(parents) < 2 {
			parents = nil
		}
		born := r.each(mostLanes, func(i int) *solution {
			rng := rand.New(rand.NewPCG(r.Seed, math.MaxUint64-uint64(round*mostLanes+i)))
			s, effort := r.descend(rng, parents)
			used.Add(int64(effort))
			return s
		})
		pool = best(append(pool, born...), descentPool)
	}
	r.Effort -= int(used.Load())
	return pool[:min(len(pool), poolSize)]
}

// descend finds a solution by coarsening, annealing what is left, and passes on the way back up; or from two of the parents, if there are any, by
// coarsening within what they agree on, from the better one on. Then it coarsens within the hosts and makes passes again, as long as that gains
// something. nil if it finds none.
func (r *search) descend(rng *rand.Rand, parents []*solution) (s *solution, used int) {
	if len(parents) == 0 {
		s, used = r.valley(rng, nil, nil)
	} else {
		a, b := two(rng, parents)
		s, used = r.valley(rng, a.host, agreed(a.host, b.host))
	}
	for s != nil {
		next, effort := r.valley(rng, s.host, cellsOf(s.host))
		used += effort
		if next == nil || !next.Less(s.Value) {
			break
		}
		s = next
	}
	return s, used
}

func cellsOf(host []uint16) []int32 {
	out := make([]int32, len(host))
	for u, h := range host {
		out[u] = int32(h)
	}
	return out
}

// valley goes down the levels, keeping units of different cells apart, and up again.
func (r *search) valley(rng *rand.Rand, at []uint16, cell []int32) (*solution, int) {
	levels := multilevel.Levels(r.In, rng, r.Idle, coarseUnits*len(r.In.Room), cell)
	used := len(levels) * r.In.Classes.Sweep()
	for i := range levels[1:] {
		at = multilevel.Lift(&levels[i+1], at)
	}
	var s *assign.State
	for k, l := range slices.Backward(levels) {
		s = assign.New(l.In)
		switch {
		case k < len(levels)-1:
			s.Adopt(levels[k+1].Project(at))
		case at != nil:
			s.Adopt(at)
		default:
			r.start(s, l.Idle, rng)
			effort := coarseSweeps * l.In.Classes.Sweep()
			used += effort
			if !r.anneal(s, rng).Run(1, effort) {
				return nil, used
			}
		}
		used += local.Passes(r.ctx, s, rng)
		at = s.At
	}
	if !s.Complete(r.Idle) {
		return nil, used
	}
	return &solution{s.At, s.Worth()}, used
}
