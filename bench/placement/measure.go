package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/problem"
	"github.com/scatter-vm/scatter/placement"
)

// result is what was measured of one instance. Costs are traffic in bytes.
type result struct {
	instance
	cost, bound, known int64
	once               int64 // bytes of all classes: what goes to the first host of each
	optimal            bool
	long               int64              // cost of the long search; 0 = not made
	rules              map[string]float64 // cost by rule; those that found no room are missing
	took               time.Duration      // CPU time of one core, or time by the clock
	peak               int64              // bytes of memory
}

// measure solves an instance by scatter and by all rules.
func measure(ctx context.Context, c instance, long time.Duration) (result, error) {
	p, known := c.make()
	r := result{instance: c, known: known, rules: map[string]float64{}}
	for _, k := range p.Classes {
		r.once += k.Bytes
	}
	for i := range rules {
		if cost, fits := rules[i].cost(&p); fits {
			r.rules[rules[i].name] = cost
		}
	}
	if c.oneCore {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	}
	debug.FreeOSMemory()
	if err := resetPeak(); err != nil {
		return r, err
	}
	start, spent := time.Now(), cpuTime()
	best, err := placement.Solve(ctx, p)
	if err != nil {
		return r, err
	}
	if r.took = time.Since(start); c.oneCore {
		r.took = cpuTime() - spent // whatever else the machine does meanwhile
	}
	if r.peak, err = peak(); err != nil {
		return r, err
	}
	r.cost, r.bound, r.optimal = best.Cost, best.LowerBound, best.Optimal
	if c.vsLong == 0 || best.Optimal {
		return r, nil
	}
	p.Budget = long
	best, err = placement.Solve(ctx, p)
	if err != nil {
		return r, err
	}
	r.long = best.Cost
	return r, nil
}

// cpuTime is what the process has spent so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err) // the arguments are constants
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resetPeak makes the kernel forget how much memory the process has had; see proc(5), clear_refs.
func resetPeak() error { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// peak is the most memory that the process has had since, in bytes.
func peak() (int64, error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// String is a line about the result.
func (r result) String() string {
	s := fmt.Sprintf("%-46s %6.2f s, %5.1f %% of greedy, bound %5.1f %% of it", r.name, r.took.Seconds(),
		100*float64(r.cost)/r.rules["greedy"], 100*float64(r.bound)/float64(r.cost))
	if r.long > 0 {
		s += fmt.Sprintf(", %+.2f %% beside a long search", 100*r.overLong())
	}
	return s
}

// overLong is how much more the placement costs than that of a long search.
func (r result) overLong() float64 {
	if r.long == 0 {
		return 0
	}
	return float64(r.cost)/float64(r.long) - 1
}

// saved is the part of greedy's cost that scatter saves, or of its copies.
func (r result) saved() float64 {
	var once float64
	if r.copies {
		once = float64(r.once)
	}
	return 1 - (float64(r.cost)-once)/(r.rules["greedy"]-once)
}

// tiny sums up small problems.
type tiny struct {
	problems, proven  int     // that have a placement; whose best was proven to be it
	meanGap, worstGap float64 // cost over lower bound
}

// solveSmall solves n small problems with hardly any room to spare. Those that have too little are passed over.
func solveSmall(ctx context.Context, n int) (t tiny, err error) {
	for seed := uint64(0); t.problems < n; seed++ {
		p := problem.Tiny(6+int(seed%9), 2+int(seed%4), seed)
		best, err := placement.Solve(ctx, p)
		var full *placement.InfeasibleError
		if errors.As(err, &full) && full.Proven {
			continue
		}
		if err != nil {
			return t, fmt.Errorf("small problem %d: %w", seed, err)
		}
		t.problems++
		if best.Optimal {
			t.proven++
		}
		gap := float64(best.Cost)/math.Max(1, float64(best.LowerBound)) - 1
		t.meanGap += gap / float64(n)
		t.worstGap = max(t.worstGap, gap)
	}
	return t, nil
}
