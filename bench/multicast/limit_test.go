package main

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestExpectedAgainstDice sends symbols to simulated targets until each has enough.
func TestExpectedAgainstDice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, c := range []struct {
		k, n int
		p    float64
	}{{10, 1, 0.3}, {182, 8, 0.01}, {182, 8, 0.05}, {50, 200, 0.1}, {7, 3, 0}} {
		const rounds = 2000
		total := 0
		for range rounds {
			worst := 0
			for range c.n {
				sent := 0
				for have := 0; have < c.k; sent++ {
					if r.Float64() >= c.p {
						have++
					}
				}
				worst = max(worst, sent)
			}
			total += worst
		}
		got, want := expected(c.k, c.n, c.p), float64(total)/rounds
		if math.Abs(got-want) > 0.01*want {
			t.Errorf("%d symbols to %d targets with loss %v: %.2f, by dice %.2f", c.k, c.n, c.p, got, want)
		}
	}
}

func TestLimitGrowsWithLossAndTargets(t *testing.T) {
	least := 0.0
	for _, c := range []cell{{Targets: 1}, {Targets: 1, Loss: 1}, {Targets: 8, Loss: 1}, {Targets: 8, Loss: 5}, {Targets: 200, Loss: 5}} {
		if l := limit(c); l <= least {
			t.Errorf("%v: limit %.4f is not above %.4f", c, l, least)
		} else {
			least = l
		}
	}
}
