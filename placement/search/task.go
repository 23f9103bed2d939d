package search

import (
	"context"
	"math/rand/v2"

	"github.com/scatter-vm/scatter/placement/anneal"
	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/multilevel"
	"github.com/scatter-vm/scatter/placement/pack"
)

// stage is a level with the effort to spend on it.
type stage struct {
	multilevel.Level
	effort int
}

// stages are the levels from the instance itself to the coarsest. Unless all classes are heavy, the light ones are only
// sampled on all but the first.
func (r *search) stages(how recipe, rng *rand.Rand, effort int) []stage {
	few := len(r.In.Units)
	if how.few > 0 {
		few = how.few * len(r.In.Room)
	}
	var out []stage
	arena := r.In
	if r.light > 0 {
		full := int(fullShare * float64(effort))
		out = append(out, stage{multilevel.Level{In: r.In, Idle: r.Idle}, full})
		arena, effort = r.In.Sampled(rng, r.light), effort-full
	}
	levels := multilevel.Levels(arena, rng, r.Idle, few, nil)
	for _, l := range levels {
		out = append(out, stage{l, effort / len(levels)})
	}
	return out
}

// fresh finds a solution from scratch, stage by stage.
func (r *search) fresh(how recipe, rng *rand.Rand, effort int) *solution {
	stages := r.stages(how, rng, effort)
	var host []uint16
	for k := len(stages) - 1; k >= 0; k-- {
		s := assign.New(stages[k].In)
		heat := refineHeat
		if host == nil {
			r.start(s, stages[k].Idle, rng)
			heat = how.hot
		} else {
			s.Adopt(stages[k+1].Project(host))
		}
		a := r.anneal(s, rng)
		a.FirstPrice = how.price
		found := a.Run(heat, stages[k].effort)
		if k == 0 && found && s.Complete(r.Idle) {
			return &solution{s.At, a.Value()}
		}
		host = s.At
	}
	return nil
}

// breed anneals, from the better parent a on, among the assignments that keep together what both do, and then refines the
// outcome unit by unit.
func (r *search) breed(a, b *solution, rng *rand.Rand, effort int) *solution {
	arena := r.In
	if r.light > 0 {
		arena = arena.Sampled(rng, r.light)
	}
	cluster := agreed(a.host, b.host)
	coarse := multilevel.Contract(arena, cluster)
	s := assign.New(coarse.In)
	s.Adopt(multilevel.Lift(&coarse, a.host))
	r.anneal(s, rng).Run(breedHeat, effort/2)
	fine := assign.New(r.In)
	fine.Adopt(coarse.Project(s.At))
	x := r.anneal(fine, rng)
	if !x.Run(refineHeat, effort/2) {
		return nil
	}
	return &solution{fine.At, x.Value()}
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

// start packs all units that are not idle. Should some find no room, it falls back on the known assignment, or else puts
// them where they overfill a host.
func (r *search) start(s *assign.State, idle []bool, rng *rand.Rand) {
	left := pack.Units(context.Background(), s, idle, rng)
	if len(left) > 0 && r.Known != nil && len(s.At) == len(r.Known) {
		s.Adopt(r.Known)
		return
	}
	for _, u := range left {
		for _, h := range rng.Perm(s.N) {
			if s.In.Allows(u, h) && s.Parted(u, h) {
				s.Move(u, h)
				break
			}
		}
	}
}

// anneal prepares to improve a state. Only on the instance itself does reaching the bound mean that it is over.
func (r *search) anneal(s *assign.State, rng *rand.Rand) *anneal.Annealing {
	a := anneal.New(r.ctx, s, rng)
	if s.In.Objective != model.LeastTime && s.In == r.In {
		a.Bound = r.Bound
	}
	return a
}
