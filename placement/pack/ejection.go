package pack

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
)

// ejection finds room for units that found none, by ejection: a unit takes the place of others that have proved easier to
// house, which then look for room themselves. This is the ejection pool of vehicle routing: a unit's weight is the number
// of times it failed, and the search drifts by random exchanges in between.
type ejection struct {
	greedy
	ctx    context.Context // ends the search early
	rng    *rand.Rand
	weight []int64
	pool   []int32
	spent  int // pins touched
}

func newEjection(ctx context.Context, s *assign.State, rng *rand.Rand) *ejection {
	r := &ejection{greedy: greedy{s}, ctx: ctx, rng: rng, weight: make([]int64, len(s.At))}
	for u := range r.weight {
		r.weight[u] = 1
	}
	return r
}

// run houses the units left, hardest last in, first out. It gives up after some effort and returns those still without
// room; the state then is a valid placement of the others.
func (r *ejection) run(left []int32, effort int) []int32 {
	r.pool = append(r.pool[:0], left...)
	for len(r.pool) > 0 && r.spent < effort && r.ctx.Err() == nil {
		u := r.pool[len(r.pool)-1]
		r.pool = r.pool[:len(r.pool)-1]
		r.spent += r.N
		if h := r.cheapest(u); h != assign.Nowhere {
			r.Move(u, h)
			continue
		}
		r.weight[u]++
		if !r.eject(u) {
			r.pool = append(r.pool, u)
		}
		r.drift()
	}
	for i := len(r.pool) - 1; i >= 0; i-- {
		if h := r.cheapest(r.pool[i]); h != assign.Nowhere {
			r.Move(r.pool[i], h)
			r.pool = slices.Delete(r.pool, i, i+1)
		}
	}
	return r.pool
}

// eject puts u where the least weight must go for it.
func (r *ejection) eject(u int32) bool {
	members := r.Members()
	var best []int32
	bestHost, bestWeight := assign.Nowhere, int64(0)
	for _, h := range r.rng.Perm(r.N) {
		if !r.In.Allows(u, h) {
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
		r.Move(v, r.Limbo)
	}
	if best != nil {
		r.Move(u, bestHost)
		r.pool = append(r.pool, best...)
	}
	return best != nil
}

// weigh is the weight of units together.
func (r *ejection) weigh(units []int32) (sum int64) {
	for _, u := range units {
		sum += r.weight[u]
	}
	return sum
}

// victims are light units on h without which u would fit; nil if nothing helps. The host is as before.
func (r *ejection) victims(u int32, h int, members []int32) []int32 {
	slices.SortFunc(members, func(a, b int32) int { return cmp.Compare(r.weight[a], r.weight[b]) })
	out := r.oneVictim(u, h, members)
	if out == nil {
		out = r.manyVictims(u, h, members)
	}
	return out
}

// oneVictim is a unit on h without which u would fit, the lightest.
func (r *ejection) oneVictim(u int32, h int, members []int32) []int32 {
	_, here := r.Changes(u, h)
	for _, v := range members {
		out, _ := r.Changes(v, h)
		if r.Holds(h, here.Plus(out)) && r.fitsWithout(u, h, v) {
			return []int32{v}
		}
	}
	return nil
}

func (r *ejection) fitsWithout(u int32, h int, v int32) bool {
	r.Move(v, r.Limbo)
	ok := r.Fits(u, h)
	r.Move(v, h)
	r.spent += 2 * len(r.In.Classes.Classes(v))
	return ok
}

// manyVictims removes units in random order of weight until u fits, then keeps those that still fit beside it.
func (r *ejection) manyVictims(u int32, h int, members []int32) []int32 {
	key := make(map[int32]int64, len(members))
	for _, v := range members {
		key[v] = r.weight[v]*16 + r.rng.Int64N(16*r.weight[v])
	}
	slices.SortFunc(members, func(a, b int32) int { return cmp.Or(cmp.Compare(key[a], key[b]), cmp.Compare(a, b)) })
	var out []int32
	for _, v := range members {
		if r.Fits(u, h) {
			break
		}
		r.Move(v, r.Limbo)
		out = append(out, v)
	}
	ok := r.Fits(u, h)
	if ok {
		r.Move(u, h)
		out = slices.DeleteFunc(out, func(v int32) bool {
			back := r.Fits(v, h)
			if back {
				r.Move(v, h)
			}
			return back
		})
		r.Move(u, r.Limbo)
	}
	for _, v := range out {
		r.Move(v, h)
	}
	if !ok {
		return nil
	}
	return out
}

// drift makes a few random moves and exchanges that stay feasible.
func (r *ejection) drift() {
	for range 10 {
		u, v := int32(r.rng.IntN(len(r.At))), int32(r.rng.IntN(len(r.At)))
		switch {
		case !r.Placed(u) || !r.Placed(v) || r.At[u] == r.At[v]:
		case r.Fits(u, int(r.At[v])):
			r.Move(u, int(r.At[v]))
		default:
			r.Swap(u, v)
		}
	}
}
