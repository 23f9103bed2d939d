package placement

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/compile"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

func solve(t testing.TB, p Problem) *Placement {
	t.Helper()
	pl, err := Solve(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	if broken, cost, traffic := kit.Verdict(&p, pl.Host); broken != "" || cost != pl.Cost || traffic != pl.Traffic {
		t.Fatalf("%s; costs %d, traffic %d, says %d, %d", broken, cost, traffic, pl.Cost, pl.Traffic)
	}
	return pl
}

// newSolver is what Solve makes of a problem.
func newSolver(t rapid.TB, p *Problem) *solver {
	t.Helper()
	in, numbering, err := compile.Problem(p)
	if err != nil {
		t.Fatal(err)
	}
	return &solver{p, in, numbering}
}

func TestFamiliesReachTheKnownOptimum(t *testing.T) {
	for _, shape := range [][3]int{{24, 8, 4}, {24, 4, 4}, {48, 8, 6}, {96, 16, 8}} {
		for seed := range uint64(3) {
			p, best := kit.Families(shape[0], shape[1], shape[2], seed)
			if pl := solve(t, p); pl.Cost != best || !pl.Optimal {
				t.Errorf("%v: cost %d, best %d, bound %d", shape, pl.Cost, best, pl.LowerBound)
			}
		}
	}
}

// TestPlantedBlocksAreFound: many classes of equal weight, of which few cross from one block to another, are what annealing unit by
// unit gets stuck in, at a cost up to half as much again.
func TestPlantedBlocksAreFound(t *testing.T) {
	type shape struct{ vms, classes, hosts int }
	shapes, seeds := []shape{{400, 8000, 16}, {200, 2000, 8}, {300, 3000, 10}, {600, 6000, 20}}, uint64(2)
	if testing.Short() {
		shapes, seeds = shapes[:1], 1
	}
	for _, c := range shapes {
		for seed := range seeds {
			p, cost := kit.Planted(c.vms, c.classes, c.hosts, 0.05, 20, seed)
			if pl := solve(t, p); pl.Cost > cost {
				t.Errorf("%v, seed %d: cost %d, the blocks' is %d", c, seed, pl.Cost, cost)
			}
		}
	}
}

func TestResultDependsOnSeedAlone(t *testing.T) {
	p := kit.Fleet(40, 6, 500, 0.1, 1)
	search := func() []uint16 { // for so many steps, however long they take
		s, _, err := newSolver(t, &p).solve(t.Context(), 20_000_000)
		if err != nil {
			t.Fatal(err)
		}
		return s.At
	}
	first := search()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	if again := search(); !slices.Equal(first, again) {
		t.Errorf("%v\n%v", first, again)
	}
}

func TestSolveEndsWithItsContext(t *testing.T) {
	why := errors.New("called off")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { cancel(why) }()
	if pl, err := Solve(ctx, kit.Fleet(200, 16, 20000, 0.1, 1)); !errors.Is(err, why) {
		t.Errorf("%v, %v", pl, err)
	}
}

func TestClockCutsOff(t *testing.T) {
	p := kit.Fleet(60, 8, 500, 0.1, 1)
	v := newSolver(t, &p)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Nanosecond, errClock)
	defer cancel()
	if s, proven, err := v.solve(ctx, effort(&p, len(v.in.Units))); s == nil || proven || err != nil || !s.Complete(nil) {
		t.Errorf("%v, %v, %v", s, proven, err)
	}
}

func TestEqualCostSpreadsMemory(t *testing.T) {
	for _, n := range []int{12, 36} { // by exhaustion and by search
		p := kit.Uniform(n, 3, float64(n))
		p.Hosts[1].Memory *= 2
		pl := solve(t, p)
		if got := []int{pl.Loads[0].VMs, pl.Loads[1].VMs, pl.Loads[2].VMs}; !slices.Equal(got, []int{n / 4, n / 2, n / 4}) {
			t.Errorf("%d vms: loads %v", n, got)
		}
	}
}

func TestFewestHosts(t *testing.T) {
	p := kit.Uniform(40, 10, 8)
	p.Objective, p.Budget = Hosts, 50*time.Millisecond
	p.Classes = []Class{{VMs: []int{0, 39}, Bytes: 7}, {VMs: []int{1, 2, 3}, Bytes: 5}}
	if pl := solve(t, p); pl.Cost != 5 || !pl.Optimal || pl.Traffic != 12 {
		t.Errorf("%d hosts, optimal %v, traffic %d", pl.Cost, pl.Optimal, pl.Traffic)
	}
}

func TestMakespanFollowsTheLinks(t *testing.T) {
	p := kit.Uniform(30, 3, 30)
	p.Objective, p.Budget = Makespan, 200*time.Millisecond
	for i := range p.VMs {
		p.Classes = append(p.Classes, Class{VMs: []int{i}, Bytes: 1 << 20})
	}
	p.Hosts[0].LinkBPS, p.Hosts[1].LinkBPS, p.Hosts[2].LinkBPS = 1e9, 2e9, 3e9
	pl := solve(t, p)
	if got := []int{pl.Loads[0].VMs, pl.Loads[1].VMs, pl.Loads[2].VMs}; !slices.Equal(got, []int{5, 10, 15}) || !pl.Optimal {
		t.Errorf("loads %v, cost %d, bound %d", got, pl.Cost, pl.LowerBound)
	}
}

func TestSharedMemoryHoldsMore(t *testing.T) {
	p, _ := kit.Families(24, 4, 4, 1)
	for h := range p.Hosts {
		p.Hosts[h].Memory = 5 * kit.GiB
	}
	if _, err := Solve(t.Context(), p); err == nil {
		t.Fatal("24 VMs of 1 GiB fit 20 GiB")
	}
	p.Capacity = Shared
	for i := range p.VMs {
		p.VMs[i].Memory = 400 << 20 // 300 MiB of the family, 100 of its own
	}
	for h := range p.Hosts {
		p.Hosts[h].Memory = 900 << 20
	}
	if pl := solve(t, p); !pl.Optimal || pl.Loads[0].Memory != 900<<20 {
		t.Errorf("%+v", pl.Loads)
	}
}

func TestReasonsSayWhatIsSaved(t *testing.T) {
	p := kit.Uniform(4, 3, 2)
	p.Classes = []Class{{VMs: []int{0, 2}, Bytes: 100}, {VMs: []int{0, 1, 2}, Bytes: 10}, {VMs: []int{1, 3}, Bytes: 7}}
	p.Constraints = []Constraint{{Kind: Pin, VMs: []string{p.VMs[3].Name}, Hosts: []string{"host002"}}}
	pl := solve(t, p)
	if pl.Host[0] != pl.Host[2] || pl.Host[1] != 2 {
		t.Fatalf("hosts %v", pl.Host)
	}
	if r := pl.Reasons[0]; r.VM != 0 || r.Host != pl.Host[0] || r.Saved != 110 || !r.Room || !slices.Equal(r.With, []int{2}) {
		t.Errorf("vm 0: %+v", r)
	}
	if r := pl.Reasons[1]; r.Saved != 7 || r.Next != 1-pl.Host[0] || !slices.Equal(r.With, []int{3}) {
		t.Errorf("vm 1: %+v", r)
	}
	if r := pl.Reasons[3]; r.Next != -1 || r.Host != 2 {
		t.Errorf("vm 3 is pinned: %+v", r)
	}
}

// TestMeshIsCutStraight: annealing unit by unit cuts a mesh in curves, up to a tenth longer.
func TestMeshIsCutStraight(t *testing.T) {
	thorough(t)
	const side = 110
	for hosts, cuts := range map[int]int{2: 1, 4: 2} {
		p := kit.Mesh(side, hosts)
		cut := solve(t, p).Cost - int64(len(p.Classes))
		if best := int64(cuts * side); 100*cut > 102*best {
			t.Errorf("%d hosts: %d classes are cut, the best is %d", hosts, cut, best)
		}
	}
}
