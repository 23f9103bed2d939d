package groups

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkOrder is what an order costs in time, and in joins and leaves.
func BenchmarkOrder(b *testing.B) {
	for _, c := range []struct{ hosts, sets int }{{8, 12}, {8, 60}, {12, 200}, {16, 300}, {16, 1000}} {
		sets := randomSets(c.hosts, c.sets, 1)
		for _, o := range []struct {
			name  string
			order func() []int
		}{
			{"random", func() []int { return indices(len(sets)) }},
			{"by-size", func() []int { return bySize(sets) }},
			{"nearest-neighbour", func() []int { return byNearest(sets) }},
			{"sequence", func() []int {
				order, _ := sequence(sets, rand.New(rand.NewPCG(1, 0)), fineKicks)
				return order
			}},
		} {
			b.Run(fmt.Sprintf("%dx%d/%s", c.hosts, c.sets, o.name), func(b *testing.B) {
				changes := 0
				for b.Loop() {
					changes = changesOf(sets, o.order())
				}
				b.ReportMetric(float64(changes), "changes")
			})
		}
	}
}

// BenchmarkSolve is what a whole plan costs.
func BenchmarkSolve(b *testing.B) {
	for _, c := range []struct{ sets, groups int }{{12, 64}, {50, 64}, {200, 8}, {200, 64}, {1000, 64}, {1000, 1000}} {
		p := zipfFamily(16, c.sets, c.groups, 1)
		p.Prices, p.Delay = Prices{1, 1, 1e5}, Delay{Join: 2e6, Leave: 250e6}
		b.Run(fmt.Sprintf("sets=%d/groups=%d", c.sets, c.groups), func(b *testing.B) {
			for b.Loop() {
				if _, err := Solve(p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
