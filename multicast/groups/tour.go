package groups

import "math/rand/v2"

// Bounds of the search for an order.
const (
	neighbours = 8  // that are tried for each place
	maxSegment = 3  // places that are moved together
	kickReach  = 30 // places between the cuts of a kick
)

// sequence orders sets so that a membership which follows them, from nobody to nobody, changes least. The result is the
// order and the number of changes. Optimal up to exactSets; beyond, the best of a local search
// with so many kicks for each set.
func sequence(sets []hostset, rng *rand.Rand, kicks int) (order []int, changes int) {
	m := newDistances(sets)
	var tour []int32
	if len(sets) <= exactSets {
		tour = m.exact()
	} else {
		t := newTour(m, rng)
		t.search(kicks * len(sets))
		tour = t.fromEmpty()
	}
	for _, c := range tour[1:] {
		order = append(order, int(c)-1)
	}
	return order, m.length(tour)
}

// tour is a closed tour through all places, and its search: 2-opt and Or-opt over near places, with random double
// bridges that are kept when they lead to nothing worse.
type tour struct {
	*distances
	near   [][]int32
	at     []int32 // place by position
	pos    []int32 // position by place
	length int
	rng    *rand.Rand

	queue  []int32 // places whose surroundings have changed
	queued []bool
}

func newTour(m *distances, rng *rand.Rand) *tour {
	t := &tour{distances: m, near: m.nearest(min(neighbours, m.n-1)), at: m.nearestNeighbour(), rng: rng,
		pos: make([]int32, m.n), queued: make([]bool, m.n)}
	for i, c := range t.at {
		t.pos[c] = int32(i)
	}
	t.length = m.length(t.at)
	return t
}

// nearestNeighbour is the tour that always goes on to the nearest place left.
func (m *distances) nearestNeighbour() []int32 {
	tour := make([]int32, m.n)
	for i := range tour {
		tour[i] = int32(i)
	}
	for i := 1; i < m.n; i++ {
		best := i
		for j := i + 1; j < m.n; j++ {
			if m.of(tour[i-1], tour[j]) < m.of(tour[i-1], tour[best]) {
				best = j
			}
		}
		tour[i], tour[best] = tour[best], tour[i]
	}
	return tour
}

// fromEmpty is the tour from place 0 on.
func (t *tour) fromEmpty() []int32 {
	start := t.pos[0]
	return append(append([]int32{}, t.at[start:]...), t.at[:start]...)
}

func (t *tour) next(c int32) int32 { return t.at[t.wrap(int(t.pos[c])+1)] }

func (t *tour) prev(c int32) int32 { return t.at[t.wrap(int(t.pos[c])-1)] }

// wrap brings a position that is at most one round off back into the tour.
func (t *tour) wrap(i int) int {
	switch {
	case i < 0:
		return i + t.n
	case i >= t.n:
		return i - t.n
	}
	return i
}

func (t *tour) put(i int, c int32) {
	t.at[i], t.pos[c] = c, int32(i)
}

func (t *tour) push(c int32) {
	if !t.queued[c] {
		t.queued[c] = true
		t.queue = append(t.queue, c)
	}
}

// search improves the tour, then kicks it and improves it again, kicks times.
func (t *tour) search(kicks int) {
	for _, c := range t.rng.Perm(t.n) {
		t.push(int32(c))
	}
	t.descend()
	if t.n < 8 {
		return
	}
	kept, length := append([]int32{}, t.at...), t.length
	for range kicks {
		t.kick()
		t.descend()
		if t.length <= length {
			copy(kept, t.at)
			length = t.length
			continue
		}
		for i, c := range kept {
			t.put(i, c)
		}
		t.length = length
	}
}

// descend improves until no place can be improved.
func (t *tour) descend() {
	for len(t.queue) > 0 {
		c := t.queue[len(t.queue)-1]
		t.queue = t.queue[:len(t.queue)-1]
		t.queued[c] = false
		for t.exchange(c) || t.relocate(c) {
		}
	}
}

// kick swaps two neighbouring stretches of the tour.
func (t *tour) kick() {
	reach := min(kickReach, t.n/3)
	start := t.rng.IntN(t.n)
	first, second := 1+t.rng.IntN(reach), 1+t.rng.IntN(reach)
	stretch := make([]int32, 0, 2*kickReach)
	for i := range first + second {
		stretch = append(stretch, t.at[t.wrap(start+(first+i)%(first+second))])
	}
	before, after := t.at[t.wrap(start-1)], t.at[t.wrap(start+first+second)]
	a, b, c, d := t.at[start], t.at[t.wrap(start+first-1)], t.at[t.wrap(start+first)], t.at[t.wrap(start+first+second-1)]
	t.length += int(t.of(before, c)+t.of(d, a)+t.of(b, after)) - int(t.of(before, a)+t.of(b, c)+t.of(d, after))
	for i, p := range stretch {
		t.put(t.wrap(start+i), p)
	}
	for _, p := range []int32{before, a, b, c, d, after} {
		t.push(p)
	}
}
