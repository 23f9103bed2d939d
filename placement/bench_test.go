package placement

import (
	"testing"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/internal/kit"
	"github.com/scatter-vm/scatter/placement/pack"
)

// BenchmarkSolve reports the cost in percent of what greedy placement by overlap costs, and of what is known to be
// possible where it is.
func BenchmarkSolve(b *testing.B) {
	for _, x := range []struct {
		name    string
		problem func() (p Problem, known int64)
	}{
		{"exact-14x5", unknown(func() Problem { return kit.Tight(14, 5, 1) })},
		{"families-96x16x8", func() (Problem, int64) { return kit.Families(96, 16, 8, 1) }},
		{"fleet-50x4", unknown(func() Problem { return kit.Fleet(50, 4, 2000, 0.05, 1) })},
		{"fleet-60x8", unknown(func() Problem { return kit.Fleet(60, 8, 5000, 0.03, 2) })},
		{"fleet-100x8", unknown(func() Problem { return kit.Fleet(100, 8, 5000, 0.05, 3) })},
		{"fleet-200x32", unknown(func() Problem { return kit.Fleet(200, 32, 50000, 0.1, 1) })},
		{"fleet-2000x200", unknown(func() Problem { return kit.Fleet(2000, 200, 500000, 0.1, 1) })},
		{"netlist-12000x2", unknown(func() Problem { return kit.Netlist(12000, 14000, 2, 0.03, 1) })},
		{"netlist-12000x8", unknown(func() Problem { return kit.Netlist(12000, 14000, 8, 0.03, 1) })},
		{"netlist-12000x32", unknown(func() Problem { return kit.Netlist(12000, 14000, 32, 0.03, 1) })},
		{"planted-12000x32", func() (Problem, int64) { return kit.Planted(12000, 14000, 32, 0.05, 40, 1) }},
		{"random-12000x8", unknown(func() Problem { return kit.RandomNets(12000, 14000, 8, 0.03, 1) })},
	} {
		b.Run(x.name, func(b *testing.B) {
			p, known := x.problem()
			in := newSolver(b, &p).in
			s := assign.New(in)
			pack.Greedy(s, pack.BySize(in))
			greedy := s.Traffic()
			var pl *Placement
			for b.Loop() {
				pl = solve(b, p)
			}
			b.ReportMetric(100*float64(pl.Cost)/float64(greedy), "%greedy")
			if known > 0 {
				b.ReportMetric(100*float64(pl.Cost)/float64(known), "%known")
			}
		})
	}
}

func unknown(f func() Problem) func() (Problem, int64) {
	return func() (Problem, int64) { return f(), 0 }
}
