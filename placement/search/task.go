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

// task finds a solution from scratch or breeds two.
func (r *search) task(number int, fresh bool, parents pool, effort int) *solution {
	rng := r.chance(uint64(number))
	if fresh || len(parents) < 2 {
		return r.fresh(recipes[number%len(recipes)], rng, effort)
	}
	a, b := parents.two(rng)
	return r.breed(a, b, rng, effort)
}

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
	if r.light > 0 {
		full := int(fullShare * float64(effort))
		out = append(out, stage{multilevel.Level{In: r.In, Idle: r.Idle}, full})
		effort -= full
	}
	levels := multilevel.Levels(r.arena(rng), rng, r.Idle, few, nil)
	for _, l := range levels {
		out = append(out, stage{l, effort / len(levels)})
	}
	return out
}

// arena is the instance, with the light classes sampled where that pays.
func (r *search) arena(rng *rand.Rand) *model.Instance {
	if r.light > 0 {
		return r.In.Sampled(rng, r.light)
	}
	return r.In
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
	arena := r.arena(rng)
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

// start packs all units that are not idle. Should some find no room, it falls back on the known assignment, or else puts
// them where they overfill a host.
func (r *search) start(s *assign.State, idle []bool, rng *rand.Rand) {
	left := pack.Units(context.Background(), s, idle, rng)
	if len(left) > 0 && r.Known != nil && len(s.At) == len(r.Known) {
		s.Adopt(r.Known)
		return
	}
	for _, u := range left {
		overfill(s, u, rng)
	}
}

// overfill puts a unit on a host that it may run on, whether there is room or not.
func overfill(s *assign.State, u int32, rng *rand.Rand) {
	for _, h := range rng.Perm(s.N) {
		if s.In.Allows(u, h) && s.Parted(u, h) {
			s.Move(u, h)
			return
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
