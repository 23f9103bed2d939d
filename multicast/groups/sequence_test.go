package groups

import (
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// changesOf counts the joins and leaves of one lane that carries sets in an order.
func changesOf(sets []hostset, order []int) int {
	n, members := 0, newHostset(64)
	for _, i := range order {
		n += distance(members, sets[i])
		members = sets[i]
	}
	return n + members.size()
}

// shortest tries all orders.
func shortest(sets []hostset, order []int, left []int) int {
	if len(left) == 0 {
		return changesOf(sets, order)
	}
	best := 1 << 30
	for i := range left {
		rest := slices.Delete(slices.Clone(left), i, i+1)
		best = min(best, shortest(sets, append(order, left[i]), rest))
	}
	return best
}

func TestExactOrderIsBest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sets := randomSets(4, rapid.IntRange(0, 6).Draw(t, "sets"), rapid.Uint64().Draw(t, "seed"))
		order, got := sequence(sets, nil, 0)
		if want := shortest(sets, nil, indices(len(sets))); got != want || changesOf(sets, order) != want {
			t.Fatalf("order %v changes %d, says %d, best %d", order, changesOf(sets, order), got, want)
		}
	})
}

// searched is the order that the local search finds, for any number of sets.
func searched(sets []hostset, seed uint64) (order []int, changes int) {
	t := newTour(newDistances(sets), rand.New(rand.NewPCG(seed, 0)))
	t.search(fineKicks * len(sets))
	for _, c := range t.fromEmpty()[1:] {
		order = append(order, int(c)-1)
	}
	return order, t.length
}

// TestUpToTwelveSetsTheOrderIsBest compares the search with the exact order, which small problems get.
func TestUpToTwelveSetsTheOrderIsBest(t *testing.T) {
	missed, total := 0, 0
	for n := 1; n <= exactSets; n++ {
		for seed := range 3 * seeds(4) {
			sets := randomSets(4+int(seed%9), n, seed)
			order, best := sequence(sets, nil, 0)
			if got := changesOf(sets, order); got != best || best < bound(newDistances(sets)) {
				t.Fatalf("order %v changes %d, says %d", order, got, best)
			}
			found, changes := searched(sets, seed)
			if got := changesOf(sets, found); got != changes || got < best || len(found) != n {
				t.Fatalf("order %v changes %d, says %d, best %d", found, got, changes, best)
			}
			total++
			if changes > best {
				missed++
			}
		}
	}
	t.Logf("search: %d of %d optimal", total-missed, total)
	if missed > total/20 {
		t.Errorf("search missed the best order in %d of %d", missed, total)
	}
}

// TestSearchKeepsTheTour: what the moves say about length and order is so.
func TestSearchKeepsTheTour(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "sets")
		sets := randomSets(7, n, rapid.Uint64().Draw(t, "seed"))
		order, changes := searched(sets, 1)
		if got := changesOf(sets, order); got != changes {
			t.Fatalf("changes %d, says %d", got, changes)
		}
		slices.Sort(order)
		if !slices.Equal(order, indices(n)) {
			t.Fatalf("order of %v", order)
		}
	})
}

// TestChangesAreNearTheBound: random families of target sets.
func TestChangesAreNearTheBound(t *testing.T) {
	t.Log("hosts sets | random  by size  nearest neighbour | sequence  Held-Karp bound  ratio | fewer than random")
	for _, c := range []struct{ hosts, sets int }{{4, 15}, {8, 60}, {12, 200}, {16, 300}} {
		for seed := range seeds(3) {
			sets := randomSets(c.hosts, c.sets, seed)
			order, got := sequence(sets, rand.New(rand.NewPCG(seed, 0)), fineKicks)
			if n := changesOf(sets, order); n != got {
				t.Fatalf("%d changes, says %d", n, got)
			}
			least := bound(newDistances(sets))
			ratio := float64(got) / float64(least)
			random := changesOf(sets, indices(len(sets)))
			t.Logf("%5d %4d | %6d %8d %18d | %8d %16d %6.3f | %.0f %%", c.hosts, c.sets, random, changesOf(sets, bySize(sets)),
				changesOf(sets, byNearest(sets)), got, least, ratio, 100-100*float64(got)/float64(random))
			if ratio > 1.05 {
				t.Errorf("%d hosts, %d sets: %d changes, bound %d", c.hosts, c.sets, got, least)
			}
		}
	}
}

// TestAllSubsets: the best order is a Gray code, in which each set differs in one host from the one before.
func TestAllSubsets(t *testing.T) {
	const best = 256
	for seed := range seeds(3) {
		sets := randomSets(8, 255, seed)
		order, got := sequence(sets, rand.New(rand.NewPCG(seed, 0)), fineKicks)
		t.Logf("8 hosts, all 255 sets: %d changes, Gray code %d", got, best)
		if n := changesOf(sets, order); n != got || got < best || got > best*102/100 {
			t.Errorf("%d changes, says %d", n, got)
		}
	}
}

// bySize orders sets from the smallest to the largest.
func bySize(sets []hostset) []int {
	order := indices(len(sets))
	slices.SortStableFunc(order, func(a, b int) int { return sets[a].size() - sets[b].size() })
	return order
}

// byNearest always goes on to the nearest set left.
func byNearest(sets []hostset) []int {
	var order []int
	for _, c := range newDistances(sets).nearestNeighbour()[1:] {
		order = append(order, int(c)-1)
	}
	return order
}
