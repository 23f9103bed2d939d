package model_test

import (
	"math/rand/v2"
	"testing"

	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/hypergraph"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

func TestSparseKeepsTheHeavyAndTheSum(t *testing.T) {
	p := kit.Fleet(60, 8, 5000, 0.1, 1)
	in, _, err := compile.Problem(&p)
	if err != nil {
		t.Fatal(err)
	}
	limit, sweep := in.Thinning()
	thin := in.Sampled(rand.New(rand.NewPCG(1, 1)), limit)
	sum := func(g *hypergraph.Graph) (s float64) {
		for _, w := range g.Weight {
			s += float64(w)
		}
		return s
	}
	if n, m := len(in.Classes.Weight), len(thin.Classes.Weight); m > n/2 {
		t.Errorf("%d of %d classes left", m, n)
	}
	if a, b := sum(&in.Classes), sum(&thin.Classes); b < 0.98*a || b > 1.02*a {
		t.Errorf("%.0f bytes became %.0f", a, b)
	}
	if got := thin.Classes.Sweep(); 10*got < 9*sweep || 10*got > 11*sweep {
		t.Errorf("a sweep takes %d, foreseen %d", got, sweep)
	}
}
