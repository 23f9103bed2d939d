package placement

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
)

// repair finds room for units that found none, by ejection: a unit takes the place of others that have proved easier to
// house, which then look for room themselves. This is the ejection pool of vehicle routing: a unit's weight is the number
// of times it failed, and the search drifts by random exchanges in between.
type repair struct {
	*state
	ctx    context.Context // ends the search early; nil: nothing does
	rng    *rand.Rand
	weight []int64
	pool   []int32
	spent  int // pins touched
}

func newRepair(s *state, rng *rand.Rand) *repair {
	r := &repair{state: s, rng: rng, weight: make([]int64, len(s.At))}
	for u := range r.weight {
		r.weight[u] = 1
	}
	return r
}

// run houses the units left, hardest last in, first out. It gives up after some effort and returns those still without
// room; the state then is a valid placement of the others.
func (r *repair) run(left []int32, effort int) []int32 {
	r.pool = append(r.pool[:0], left...)
	for len(r.pool) > 0 && r.spent < effort && !r.called() {
		u := r.pool[len(r.pool)-1]
		r.pool = r.pool[:len(r.pool)-1]
		r.spent += r.n
		if h := r.cheapest(u); h != nowhere {
			r.move(u, h)
			continue
		}
		r.weight[u]++
		if !r.eject(u) {
			r.pool = append(r.pool, u)
		}
		r.drift()
	}
	for i := len(r.pool) - 1; i >= 0; i-- {
		if h := r.cheapest(r.pool[i]); h != nowhere {
			r.move(r.pool[i], h)
			r.pool = slices.Delete(r.pool, i, i+1)
		}
	}
	return r.pool
}

// called tells whether the search is to end.
func (r *repair) called() bool { return r.ctx != nil && r.ctx.Err() != nil }

// eject puts u where the least weight must go for it.
func (r *repair) eject(u int32) bool {
	members := r.members()
	var best []int32
	bestHost, bestWeight := nowhere, int64(0)
	for _, h := range r.rng.Perm(r.n) {
		if !r.in.allows(u, h) {
			continue
		}
		r.spent += len(members[h])
		out := r.victims(u, h, members[h])
		if out == nil {
			continue
		}
		if w := r.weigh(out); best == nil || w < bestWeight {
			best, bestHost, bestWeight = out, h, w
		}
	}
	for _, v := range best {
		r.move(v, r.Limbo)
	}
	if best != nil {
		r.move(u, bestHost)
		r.pool = append(r.pool, best...)
	}
	return best != nil
}

func (r *repair) weigh(units []int32) (sum int64) {
	for _, u := range units {
		sum += r.weight[u]
	}
	return sum
}

// victims are light units on h without which u would fit; nil if nothing helps. The host is as before.
func (r *repair) victims(u int32, h int, members []int32) []int32 {
	slices.SortFunc(members, func(a, b int32) int { return cmp.Compare(r.weight[a], r.weight[b]) })
	out := r.oneVictim(u, h, members)
	if out == nil {
		out = r.manyVictims(u, h, members)
	}
	return out
}

func (r *repair) oneVictim(u int32, h int, members []int32) []int32 {
	_, here := r.changes(u, h)
	for _, v := range members {
		out, _ := r.changes(v, h)
		if r.holds(h, here.plus(out)) && r.fitsWithout(u, h, v) {
			return []int32{v}
		}
	}
	return nil
}

func (r *repair) fitsWithout(u int32, h int, v int32) bool {
	r.move(v, r.Limbo)
	ok := r.fits(u, h)
	r.move(v, h)
	r.spent += 2 * len(r.in.classes.Classes(v))
	return ok
}

// manyVictims removes units in random order of weight until u fits, then keeps those that still fit beside it.
func (r *repair) manyVictims(u int32, h int, members []int32) []int32 {
	key := make(map[int32]int64, len(members))
	for _, v := range members {
		key[v] = r.weight[v]*16 + r.rng.Int64N(16*r.weight[v])
	}
	slices.SortFunc(members, func(a, b int32) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
	var out []int32
	for _, v := range members {
		if r.fits(u, h) {
			break
		}
		r.move(v, r.Limbo)
		out = append(out, v)
	}
	ok := r.fits(u, h)
	if ok {
		r.move(u, h)
		out = slices.DeleteFunc(out, func(v int32) bool {
			back := r.fits(v, h)
			if back {
				r.move(v, h)
			}
			return back
		})
		r.move(u, r.Limbo)
	}
	for _, v := range out {
		r.move(v, h)
	}
	if !ok {
		return nil
	}
	return out
}

// drift makes a few random moves and exchanges that stay feasible.
func (r *repair) drift() {
	for range 10 {
		u, v := int32(r.rng.IntN(len(r.At))), int32(r.rng.IntN(len(r.At)))
		switch {
		case !r.placed(u) || !r.placed(v) || r.At[u] == r.At[v]:
		case r.fits(u, int(r.At[v])):
			r.move(u, int(r.At[v]))
		default:
			r.swap(u, v)
		}
	}
}

// pack places the units that are not idle where they fit, and returns those that found no room.
func (s *state) pack(idle []bool, rng *rand.Rand) (left []int32) {
	return s.packWithin(context.Background(), idle, rng)
}

// packWithin is pack, unless ctx ends before it is done.
func (s *state) packWithin(ctx context.Context, idle []bool, rng *rand.Rand) (left []int32) {
	order := slices.DeleteFunc(s.in.bySize(), func(u int32) bool { return idle != nil && idle[u] })
	r := newRepair(s, rng)
	r.ctx = ctx
	return r.run(s.greedy(order), s.in.repairEffort())
}

// repairEffort bounds the search for room, in pins touched.
func (in *instance) repairEffort() int {
	return 500*len(in.units)*len(in.room) + 10*in.classes.Owners()
}
