package groups

import (
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// allGroups are all sets of at least two hosts.
func allGroups(hosts int) []hostset {
	var all []hostset
	for w := uint64(1); w < 1<<hosts; w++ {
		if bits.OnesCount64(w) > 1 {
			all = append(all, hostset{w})
		}
	}
	return all
}

// cheapest tries all choices of groups, each in its best order on one lane, and returns the least price.
func cheapest(in *instance, all, chosen []hostset) int64 {
	_, changes := sequence(chosen, nil, 0)
	best := in.Prices.Change * int64(changes)
	for i := range in.sets {
		least := in.excessAlone(i)
		for _, g := range chosen {
			least = min(least, in.excess(i, g))
		}
		best += least
	}
	if len(chosen) < in.Limits.Groups {
		for i := range all {
			best = min(best, cheapest(in, all[i+1:], append(chosen, all[i])))
		}
	}
	return best
}

// TestChoiceNearTheBest compares with all choices of up to three groups, with and without a price of joins and leaves.
func TestChoiceNearTheBest(t *testing.T) {
	worst, sum, missed, n := 1.0, 0.0, 0, 0
	for seed := range uint64(60) {
		p := zipfFamily(4, 10, 1+int(seed%3), seed)
		if seed%4 == 0 {
			p = zipfFamily(5, 20, 2, seed)
		}
		p.Prices = []Prices{{1, 1, 0}, {1, 1, 5e7}, {1, 1, 5e8}, {3, 1, 5e7}, {1, 2, 0}}[seed/3%5]
		plan, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p = p.withDefaults()
		best := cheapest(compile(&p), allGroups(p.Hosts), nil)
		got := excessOf(p.Prices, plan.Cost)
		ratio := float64(got) / float64(best)
		if ratio < 1 {
			t.Fatalf("seed %d: price %d, best of all %d", seed, got, best)
		}
		worst, sum, n = max(worst, ratio), sum+ratio, n+1
		if got > best {
			missed++
		}
	}
	t.Logf("price over the best of all choices: mean %.4f, worst %.4f, %d of %d best", sum/float64(n), worst, n-missed, n)
	if worst > 1.05 || sum/float64(n) > 1.005 {
		t.Error("too dear")
	}
}

// excessOf is the price of a plan beyond that of sending every set once to exactly its hosts: copies cost the source,
// waste the hosts.
func excessOf(p Prices, c Cost) int64 {
	return p.Source*c.Duplicated + p.Host*c.Wasted + p.Change*int64(c.Joins+c.Leaves)
}

// TestCarriageIsKeptUpToDate: after any changes of groups, each set knows its two cheapest ways.
func TestCarriageIsKeptUpToDate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		p = p.withDefaults()
		in := compile(&p)
		if len(in.sets) == 0 {
			return
		}
		rng := rand.New(rand.NewPCG(p.Seed, 0))
		c := newCover(in, 0)
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			hosts := in.sets[rng.IntN(len(in.sets))].hosts
			g := rng.IntN(len(c.groups) + 1)
			switch change := rng.IntN(4); {
			case g == len(c.groups) || change == 0:
				c.insert(hosts)
			case change == 1:
				c.remove(g)
			case change == 2:
				c.groups[g] = hosts
				c.replaced([]int{g})
			default:
				c.inOrder(rng, roughKicks)
			}
			c.check(t)
		}
	})
}

func (c *cover) check(t *rapid.T) {
	var bytes int64
	for i := range c.carried {
		s, costs := c.carried[i], []int64{c.in.excessAlone(i)}
		bytes += s.least
		for _, g := range c.groups {
			costs = append(costs, c.in.excess(i, g))
		}
		if s.least != costs[s.near+1] || s.second != nothing && s.spare != costs[s.second+1] || s.near == s.second {
			t.Fatalf("set %d: %+v, costs %v", i, s, costs)
		}
		slices.Sort(costs)
		if s.least != costs[0] || len(costs) > 1 && s.spare != costs[1] {
			t.Fatalf("set %d: %+v, costs %v", i, s, costs)
		}
	}
	if bytes != c.bytes {
		t.Fatalf("%d bytes, says %d", bytes, c.bytes)
	}
}

// TestFewGroupsForManySets: 200 target sets whose sizes follow Zipf's law share eight groups.
func TestFewGroupsForManySets(t *testing.T) {
	t.Log("hosts | MB wasted  duplicated | both: largest sets as groups   chosen   lower bound  ratio")
	for seed := range 2 * seeds(2) {
		hosts := 8 + 2*int(seed/3)
		p := zipfFamily(hosts, 200, 8, seed)
		plan, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p = p.withDefaults()
		in := compile(&p)
		got := plan.Cost.Duplicated + plan.Cost.Wasted
		least := in.coverBound(float64(got))
		ratio := float64(got) / least
		t.Logf("%5d | %9d %11d | %28d %8d %13.0f %6.3f", hosts, plan.Cost.Wasted/1e6, plan.Cost.Duplicated/1e6,
			in.largestAsGroups()/1e6, got/1e6, least/1e6, ratio)
		if ratio > 1.1 {
			t.Errorf("%d hosts, seed %d: %d bytes, bound %.0f", hosts, seed, got, least)
		}
	}
}

// TestLongSearchGainsLittle, where a bound would take too long.
func TestLongSearchGainsLittle(t *testing.T) {
	for _, c := range []struct{ hosts, sets, groups int }{{16, 200, 8}, {16, 1000, 64}}[:seeds(2)] {
		p := zipfFamily(c.hosts, c.sets, c.groups, 1)
		usual, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p.Effort = 5
		long, _ := Solve(p)
		a, b := usual.Cost.Duplicated+usual.Cost.Wasted, long.Cost.Duplicated+long.Cost.Wasted
		t.Logf("%d hosts, %d sets, %d groups: %d MB wasted and duplicated, by five times the effort %d (%.4f)", c.hosts, c.sets, c.groups, a/1e6, b/1e6, float64(a)/float64(b))
		if float64(a) > 1.1*float64(b) {
			t.Error("too much")
		}
	}
}

// largestAsGroups is the excess when the sets that gain most get groups, as a simple planner would do.
func (in *instance) largestAsGroups() int64 {
	c := newCover(in, 0)
	for i := range min(in.Limits.Groups, len(in.sets)) {
		c.insert(in.sets[i].hosts)
	}
	return c.bytes
}

// coverBound is a lower bound of the excess over all choices of groups: the Lagrangian relaxation of the condition that
// each set is carried once, with prices for sets adjusted towards the cost of a known choice.
func (in *instance) coverBound(known float64) float64 {
	r := &relaxation{in: in, price: make([]float64, len(in.sets))}
	for _, g := range allGroups(in.Hosts) {
		row := make([]float64, len(in.sets))
		for i := range row {
			row[i] = float64(in.excess(i, g))
		}
		r.cost = append(r.cost, row)
	}
	for i := range r.price {
		r.price[i] = float64(in.excessAlone(i)) / 2
	}
	best, scale := 0.0, 1.0
	for range 100 {
		value, slope := r.evaluate()
		if value > best {
			best = value
		} else {
			scale *= 0.97
		}
		norm := 0.0
		for _, s := range slope {
			norm += s * s
		}
		if norm == 0 {
			break
		}
		for i, s := range slope {
			r.price[i] = max(0, r.price[i]+scale*(known-value)/norm*s)
		}
	}
	return best
}

type relaxation struct {
	in    *instance
	cost  [][]float64 // by group and set
	price []float64   // that is paid for carrying a set
}

// evaluate finds what is cheapest when a set may be carried more than once, or not at all, for its price: the value of
// that, and for each set how many times too few it is carried.
func (r *relaxation) evaluate() (value float64, slope []float64) {
	slope = slices.Repeat([]float64{1}, len(r.price))
	for i, p := range r.price {
		value += p
		if alone := float64(r.in.excessAlone(i)); alone < p {
			value += alone - p
			slope[i]--
		}
	}
	reduced := make([]float64, len(r.cost))
	for g, row := range r.cost {
		for i, p := range r.price {
			reduced[g] += math.Min(0, row[i]-p)
		}
	}
	order := indices(len(r.cost))
	slices.SortFunc(order, func(a, b int) int { return int(math.Copysign(1, reduced[a]-reduced[b])) })
	for _, g := range order[:r.in.Limits.Groups] {
		value += reduced[g]
		for i, p := range r.price {
			if r.cost[g][i] < p {
				slope[i]--
			}
		}
	}
	return value, slope
}
