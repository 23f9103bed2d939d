package search

import (
	"math"
	"math/rand/v2"
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
func (r *search) descents() (found pool) {
	share := min(mostDescent, descentOfHost/float64(len(r.In.Room))) * float64(r.Effort)
	var used atomic.Int64
	for round := range maxRounds {
		spent := float64(used.Load())
		if r.ctx.Err() != nil || spent >= share {
			break
		}
		parents := found
		if spent < freshShare*share || len(parents) < 2 {
			parents = nil
		}
		born := r.each(mostLanes, func(i int) *solution {
			rng := r.chance(math.MaxUint64 - uint64(round*mostLanes+i))
			s, effort := r.descend(rng, parents)
			used.Add(int64(effort))
			return s
		})
		found = found.with(born, descentPool)
	}
	r.Effort -= int(used.Load())
	return found[:min(len(found), poolSize)]
}

// descend finds a solution by coarsening, annealing what is left, and passes on the way back up; or from two of the parents, if there are any, by
// coarsening within what they agree on, from the better one on. Then it coarsens within the hosts and makes passes again, as long as that gains
// something. nil if it finds none.
func (r *search) descend(rng *rand.Rand, parents pool) (s *solution, used int) {
	if len(parents) == 0 {
		s, used = r.valley(rng, nil, nil)
	} else {
		a, b := parents.two(rng)
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

// valley goes down the levels, keeping units of different cells apart, and up again, from an assignment if there is one.
func (r *search) valley(rng *rand.Rand, at []uint16, cell []int32) (s *solution, used int) {
	levels := multilevel.Levels(r.In, rng, r.Idle, coarseUnits*len(r.In.Room), cell)
	used = len(levels) * r.In.Classes.Sweep()
	for i := range levels[1:] {
		at = multilevel.Lift(&levels[i+1], at)
	}
	bottom := &levels[len(levels)-1]
	state := assign.New(bottom.In)
	if at != nil {
		state.Adopt(at)
	} else {
		effort := coarseSweeps * bottom.In.Classes.Sweep()
		used += effort
		if r.start(state, bottom.Idle, rng); !r.anneal(state, rng).Run(1, effort) {
			return nil, used
		}
	}
	state, effort := r.climb(levels, state, rng)
	if used += effort; !state.Complete(r.Idle) {
		return nil, used
	}
	return &solution{state.At, state.Worth()}, used
}

// climb makes passes on the coarsest level, and then on each finer one from what came of it, and returns the state on the finest.
func (r *search) climb(levels []multilevel.Level, s *assign.State, rng *rand.Rand) (finest *assign.State, used int) {
	used = local.Passes(r.ctx, s, rng)
	for k := len(levels) - 1; k > 0; k-- {
		s = assign.At(levels[k-1].In, levels[k].Project(s.At))
		used += local.Passes(r.ctx, s, rng)
	}
	return s, used
}
