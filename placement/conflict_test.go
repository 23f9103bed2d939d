package placement

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/conflict"
	"github.com/scatter-vm/scatter/placement/internal/kit"
)

func infeasible(t *testing.T, p Problem) *InfeasibleError {
	t.Helper()
	pl, err := Solve(t.Context(), p)
	var inf *InfeasibleError
	if !errors.As(err, &inf) {
		t.Fatalf("got %+v, %v", pl, err)
	}
	return inf
}

func TestConflictIsNamedAndNoLargerThanNeeded(t *testing.T) {
	base := kit.Uniform(20, 4, 8)
	vm := func(i int) string { return base.VMs[i].Name }
	pin := Constraint{Kind: Pin, VMs: []string{vm(3)}, Hosts: []string{"host001"}}
	labels := Constraint{Kind: Label, Name: "gpu", VMs: []string{vm(5)}, Labels: map[string]string{"gpu": "yes"}}
	ban := Constraint{Kind: Exclude, VMs: []string{vm(3), vm(7)}, Hosts: []string{"host001", "host002"}}
	apart := Constraint{Kind: AntiAffinity, VMs: []string{vm(1), vm(2), vm(3), vm(4), vm(5)}}
	together := Constraint{Kind: Affinity, VMs: []string{vm(1), vm(2)}}
	harmless := Constraint{Kind: Exclude, VMs: []string{vm(0)}, Hosts: []string{"host000"}}
	for name, test := range map[string]struct {
		constraints []Constraint
		room        int64
		want        InfeasibleError
	}{
		"label nobody has":     {[]Constraint{harmless, labels}, 8, InfeasibleError{VMs: []string{vm(5)}, Constraints: []int{1}, Names: []string{"gpu"}}},
		"pin against exclude":  {[]Constraint{pin, harmless, ban}, 8, InfeasibleError{VMs: []string{vm(3)}, Constraints: []int{2, 0}, Names: []string{"exclude", "pin"}}},
		"together and apart":   {[]Constraint{harmless, together, apart}, 8, InfeasibleError{VMs: []string{vm(1), vm(2)}, Constraints: []int{1, 2}, Names: []string{"affinity", "anti-affinity"}}},
		"five apart on four":   {[]Constraint{apart, harmless}, 8, InfeasibleError{VMs: apart.VMs, Constraints: []int{0}, Names: []string{"anti-affinity"}}},
		"more than all memory": {[]Constraint{harmless}, 4, InfeasibleError{VMs: names(base.VMs[3:]), Resources: []string{Memory}}},
	} {
		p := base
		p.Hosts = slices.Clone(base.Hosts)
		for h := range p.Hosts {
			p.Hosts[h].Memory = test.room * kit.GiB
		}
		p.Constraints = test.constraints
		test.want.Proven = true
		got := infeasible(t, p)
		if name == "more than all memory" && len(got.VMs) == 17 {
			got.VMs = test.want.VMs // any 17 do not fit
		}
		if d := cmp.Diff(&test.want, got, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}

func names(vms []VM) (out []string) {
	for _, v := range vms {
		out = append(out, v.Name)
	}
	return out
}

// TestConflictIsOne takes what was named as a problem of its own: it must be infeasible, and feasible without any VM.
func TestConflictIsOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		_, err := Solve(context.Background(), p)
		var inf *InfeasibleError
		if !errors.As(err, &inf) {
			return
		}
		c := conflict.Part{Constraints: inf.Constraints, Resources: inf.Resources}
		for v := range p.VMs {
			if slices.Contains(inf.VMs, p.VMs[v].Name) {
				c.VMs = append(c.VMs, v)
			}
		}
		part := c.Of(&p)
		if best, _ := kit.Brute(&part); best != nil || len(inf.VMs) == 0 {
			t.Fatalf("%v: but %v does", err, best)
		}
		for i := range c.VMs {
			less := c
			less.VMs = slices.Delete(slices.Clone(c.VMs), i, i+1)
			part := less.Of(&p)
			if best, _ := kit.Brute(&part); best == nil {
				t.Fatalf("%v: nor without %s", err, p.VMs[c.VMs[i]].Name)
			}
		}
	})
}

func TestPartialLeavesOutTheLeastImportant(t *testing.T) {
	p := kit.Uniform(12, 2, 4)
	for i := range p.VMs {
		p.VMs[i].Priority = i % 3
	}
	p.Partial = true
	pl, err := Solve(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	for i, h := range pl.Host {
		if (h == -1) != (i%3 == 0) {
			t.Errorf("vm %d of priority %d is on host %d", i, i%3, h)
		}
		if r := pl.Reasons[i]; r.Host != h {
			t.Errorf("reason %+v", r)
		}
	}
}

func TestPartialPlacesAllItCan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := kit.Draw(t)
		p.Partial = true
		pl, err := Solve(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		if broken, cost, _ := kit.Verdict(&p, pl.Host); broken != "" || cost != pl.Cost {
			t.Fatalf("%+v: %s, costs %d", pl, broken, cost)
		}
		if best, _ := kit.Brute(&p); best != nil && slices.Contains(pl.Host, -1) {
			t.Fatalf("%v, but %v places all", pl.Host, best)
		}
	})
}

// TestShortOfMemoryOnManyHosts: however many hosts are short of it, memory is what is named: sums of room do not overflow.
func TestShortOfMemoryOnManyHosts(t *testing.T) {
	for _, hosts := range []int{1, 7, 8, 9, 40} {
		var p Problem
		for h := range hosts {
			p.Hosts = append(p.Hosts, Host{Name: fmt.Sprint("h", h), Memory: 2 << 30})
		}
		for v := range 2*hosts + 4 {
			p.VMs = append(p.VMs, VM{Name: fmt.Sprint("v", v), Memory: 1 << 30})
		}
		if got := infeasible(t, p); !slices.Equal(got.Resources, []string{Memory}) {
			t.Errorf("%d hosts: %v", hosts, got)
		}
	}
}
