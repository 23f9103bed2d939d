package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/internal/kit"
	"github.com/scatter-vm/scatter/placement/local"
)

func TestSolveEqualsBruteForce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		best, cost := kit.Brute(&p)
		pl, err := Solve(context.Background(), p)
		var inf *InfeasibleError
		if best == nil {
			if !errors.As(err, &inf) {
				t.Fatalf("infeasible, got %+v, %v", pl, err)
			}
			return
		}
		if err != nil {
			t.Fatalf("%v, but %v costs %d", err, best, cost)
		}
		broken, got, traffic := kit.Verdict(&p, pl.Host)
		if broken != "" || got != pl.Cost || traffic != pl.Traffic {
			t.Fatalf("%+v: %s; costs %d, traffic %d", pl, broken, got, traffic)
		}
		if pl.LowerBound > cost {
			t.Fatalf("lower bound %d, but %v costs %d", pl.LowerBound, best, cost)
		}
		if pl.Cost < cost || pl.Optimal && pl.Cost != cost {
			t.Fatalf("cost %d, but %v costs %d", pl.Cost, best, cost)
		}
	})
}

// TestSearchEqualsBruteForce does without exhaustion, for all that is not beyond proof. Where hosts are full, several VMs must at times change
// places at once, which the search does not try: it misses the best of one such problem in some hundreds. Solve does not: it exhausts problems
// of this size.
func TestSearchEqualsBruteForce(t *testing.T) {
	missed := 0
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		best, cost := kit.Brute(&p)
		v := newSolver(t, &p)
		if _, homeless := v.in.Homeless(); best == nil && !homeless || len(v.in.Units) == 0 {
			return
		}
		s := v.seek(context.Background(), 300_000*len(v.in.Units))
		if s == nil {
			if best != nil {
				t.Fatalf("found nothing, but %v costs %d", best, cost)
			}
			return
		}
		local.Polish(t.Context(), s)
		pl := newReport(s, v.numbering).placement()
		broken, got, _ := kit.Verdict(&p, pl.Host)
		if broken != "" || got != pl.Cost || got < cost {
			t.Fatalf("%+v: %s; costs %d, but %v costs %d", pl, broken, got, best, cost)
		}
		if got > cost {
			missed++
		}
	})
	if missed > 3 {
		t.Errorf("%d placements are not the best", missed)
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		q, vmAt, hostAt := shuffle(t, p)
		a, errA := Solve(context.Background(), p)
		b, errB := Solve(context.Background(), q)
		if errA != nil || errB != nil {
			if fmt.Sprint(errA) != fmt.Sprint(errB) {
				t.Fatalf("%v\n%v", errA, errB)
			}
			return
		}
		for v, h := range b.Host {
			if a.Host[vmAt[v]] != hostAt[h] {
				t.Fatalf("vm %d: host %d, shuffled %d", vmAt[v], a.Host[vmAt[v]], hostAt[h])
			}
		}
	})
}

// shuffle reorders a problem; vmAt and hostAt map new indices to old ones.
func shuffle(t *rapid.T, p Problem) (q Problem, vmAt, hostAt []int) {
	q = p
	for i := range p.VMs {
		vmAt = append(vmAt, i)
	}
	for i := range p.Hosts {
		hostAt = append(hostAt, i)
	}
	vmAt, hostAt = rapid.Permutation(vmAt).Draw(t, "vm order"), rapid.Permutation(hostAt).Draw(t, "host order")
	q.VMs, q.Hosts, q.Classes = nil, nil, nil
	for _, v := range vmAt {
		q.VMs = append(q.VMs, p.VMs[v])
	}
	for _, h := range hostAt {
		q.Hosts = append(q.Hosts, p.Hosts[h])
	}
	for _, c := range p.Classes {
		var vms []int
		for _, v := range c.VMs {
			vms = append(vms, slices.Index(vmAt, v))
		}
		q.Classes = append(q.Classes, Class{VMs: rapid.Permutation(vms).Draw(t, "owners"), Bytes: c.Bytes})
	}
	q.Classes = rapid.Permutation(q.Classes).Draw(t, "class order")
	q.Constraints = rapid.Permutation(p.Constraints).Draw(t, "constraint order")
	return q, vmAt, hostAt
}
