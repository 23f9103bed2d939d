package placement

import (
	"math/rand/v2"
	"slices"
)

// stage is a level with the effort to spend on it.
type stage struct {
	level
	effort int
}

// stages are the levels from the instance itself to the coarsest. Unless all classes are heavy, the light ones are only
// sampled on all but the first.
func (r *search) stages(how recipe, rng *rand.Rand, effort int) []stage {
	few := len(r.in.units)
	if how.few > 0 {
		few = how.few * len(r.in.room)
	}
	var out []stage
	arena := r.in
	if r.light > 0 {
		full := int(fullShare * float64(effort))
		out = append(out, stage{level{in: r.in, idle: r.idle}, full})
		arena, effort = r.in.sparse(rng, r.light), effort-full
	}
	levels := arena.levels(rng, r.idle, few, nil)
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
		s := newState(stages[k].in)
		heat := refineHeat
		if host == nil {
			r.start(s, stages[k].idle, rng)
			heat = how.hot
		} else {
			s.adopt(stages[k+1].project(host))
		}
		a := r.anneal(s, rng)
		a.firstPrice = how.price
		found := a.run(heat, heat/cooling, stages[k].effort)
		if k == 0 && found && s.complete(r.idle) {
			return &solution{s.At, a.value}
		}
		host = s.At
	}
	return nil
}

// breed anneals, from the better parent a on, among the assignments that keep together what both do, and then refines the
// outcome unit by unit.
func (r *search) breed(a, b *solution, rng *rand.Rand, effort int) *solution {
	arena := r.in
	if r.light > 0 {
		arena = arena.sparse(rng, r.light)
	}
	cluster := agreed(a.host, b.host)
	coarse := level{in: arena.contract(cluster), cluster: cluster}
	s := newState(coarse.in)
	s.adopt(lift(&coarse, a.host))
	r.anneal(s, rng).run(breedHeat, breedHeat/cooling, effort/2)
	fine := newState(r.in)
	fine.adopt(coarse.project(s.At))
	x := r.anneal(fine, rng)
	if !x.run(refineHeat, refineHeat/cooling, effort/2) {
		return nil
	}
	return &solution{fine.At, x.value}
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
func (r *search) start(s *state, idle []bool, rng *rand.Rand) {
	left := s.pack(idle, rng)
	if len(left) > 0 && r.known != nil && len(s.At) == len(r.known) {
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

// complete reports whether all units but the idle ones are placed.
func (s *state) complete(idle []bool) bool {
	return !slices.ContainsFunc(s.idlers(), func(u int32) bool { return idle == nil || !idle[u] })
}

// idlers lists the units in limbo.
func (s *state) idlers() (units []int32) {
	for u := range int32(len(s.At)) {
		if !s.placed(u) {
			units = append(units, u)
		}
	}
	return units
}

// anneal prepares to improve a state. Only on the instance itself does reaching the bound mean that it is over.
func (r *search) anneal(s *state, rng *rand.Rand) *anneal {
	a := newAnneal(r.ctx, s, rng)
	if s.in.p.Objective != Makespan && s.in == r.in {
		a.bound = r.bound
	}
	return a
}
