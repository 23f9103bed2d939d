package placement

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/exact"
	"github.com/scatter-vm/scatter/placement/internal/kit"
	"github.com/scatter-vm/scatter/placement/local"
	"github.com/scatter-vm/scatter/placement/pack"
)

// thorough skips what takes more than seconds.
func thorough(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes long")
	}
}

// byOverlap is the traffic when each VM, the largest first, goes where it adds least.
func byOverlap(t *testing.T, p Problem) int64 {
	t.Helper()
	in := newSolver(t, &p).in
	s := assign.New(in)
	if left := pack.Greedy(s, pack.BySize(in)); len(left) > 0 {
		t.Fatalf("%d units found no room", len(left))
	}
	return s.Traffic()
}

// TestSmallProblemsAreSolvedExactly, and the search, which larger ones are left to, would have come close. Hosts are hard to
// fill.
func TestSmallProblemsAreSolvedExactly(t *testing.T) {
	n := 100
	if testing.Short() {
		n = 16
	}
	var sum, worst float64
	solved := 0
	for i := 0; solved < n; i++ {
		p := kit.Tight(6+i%9, 2+i/9%4, uint64(i))
		v := newSolver(t, &p)
		exact := exact.Solve(v.in)
		if len(p.VMs) == 6 {
			host, cost := kit.Brute(&p)
			if (host == nil) != (exact == nil) || host != nil && cost != exact.Traffic() {
				t.Fatalf("instance %d: %v costs %d by trying all, not so by exhaustion over subsets", i, host, cost)
			}
		}
		if exact == nil {
			if host := pack.Anyhow(v.in, p.Seed); host != nil {
				t.Fatalf("instance %d: nothing found, but %v has room", i, host)
			}
			infeasible(t, p)
			if i > 2*n {
				t.Fatalf("only %d of %d instances have a placement", solved, i)
			}
			continue
		}
		solved++
		best := exact.Traffic()
		if pl := solve(t, p); pl.Cost != best || !pl.Optimal || pl.LowerBound != best {
			t.Errorf("instance %d: cost %d, optimal %v, bound %d; the best is %d", i, pl.Cost, pl.Optimal, pl.LowerBound, best)
		}
		found := v.seek(t.Context(), effort(&p, len(v.in.Units)))
		if found == nil {
			t.Fatalf("instance %d: nothing found, %d is possible", i, best)
		}
		local.Polish(t.Context(), found)
		gap := float64(found.Traffic())/float64(best) - 1
		sum, worst = sum+gap, max(worst, gap)
	}
	t.Logf("%d instances; the search alone: mean gap %.3f %%, worst %.2f %%", n, 100*sum/float64(n), 100*worst)
	if sum/float64(n) > 0.002 || worst > 0.03 {
		t.Error("the search alone is not close enough")
	}
}

// TestSecondsAreNearlyAsGoodAsMinutes compares the usual effort with a multiple.
func TestSecondsAreNearlyAsGoodAsMinutes(t *testing.T) {
	thorough(t)
	for _, p := range []Problem{kit.Fleet(60, 8, 5000, 0.03, 1), kit.Fleet(200, 32, 50000, 0.1, 1)} {
		usual := solve(t, p).Cost
		p.Budget = 10 * time.Second
		if long := solve(t, p).Cost; float64(usual) > 1.02*float64(long) {
			t.Errorf("%d VMs: cost %d, after long %d", len(p.VMs), usual, long)
		}
	}
}

func TestLargeFleet(t *testing.T) {
	thorough(t)
	p := kit.Fleet(2000, 200, 500000, 0.1, 1)
	pl := solve(t, p)
	greedy := byOverlap(t, p)
	t.Logf("%.1f %% of greedy", 100*float64(pl.Cost)/float64(greedy))
	if float64(pl.Cost) > 0.9*float64(greedy) {
		t.Errorf("cost %d, by overlap %d", pl.Cost, greedy)
	}
	var m runtime.MemStats
	if runtime.ReadMemStats(&m); m.Sys > 2<<30 {
		t.Errorf("took %d MiB", m.Sys>>20)
	}
}

// TestManyUnits compares what is delivered beyond one copy of each class, which is all that placement can save.
func TestManyUnits(t *testing.T) {
	thorough(t)
	for _, hosts := range []int{2, 32} {
		t.Run(fmt.Sprint(hosts), func(t *testing.T) {
			p := kit.Netlist(12000, 14000, hosts, 0.03, 1)
			var once int64
			for _, c := range p.Classes {
				once += c.Bytes
			}
			cost, greedy := solve(t, p).Cost, byOverlap(t, p)
			part := float64(cost) / float64(greedy)
			extra := float64(cost-once) / math.Max(float64(greedy-once), 1)
			t.Logf("%.1f %% of greedy, beyond one copy %.1f %%", 100*part, 100*extra)
			if extra > 0.75 || part > 0.80 {
				t.Errorf("cost %d, by overlap %d, once %d", cost, greedy, once)
			}
		})
	}
}
