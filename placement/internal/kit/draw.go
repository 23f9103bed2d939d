package kit

import (
	"fmt"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement/problem"
)

// Draw draws a small problem of any kind, feasible or not.
func Draw(t *rapid.T) problem.Problem {
	p := problem.Problem{
		Objective: rapid.SampledFrom([]string{"", problem.Traffic, problem.Makespan, problem.Hosts}).Draw(t, "objective"),
		Capacity:  rapid.SampledFrom([]string{"", problem.Sum, problem.Shared}).Draw(t, "capacity"),
		Seed:      rapid.Uint64().Draw(t, "seed"),
		SourceBPS: rapid.SampledFrom([]int64{0, 0, 1e9, 5e9}).Draw(t, "source"),
		Headroom:  rapid.SampledFrom([]float64{0, 0, 0.15}).Draw(t, "headroom"), Overcommit: rapid.SampledFrom([]float64{0, 0, 1.5}).Draw(t, "overcommit"),
	}
	n, hosts := rapid.IntRange(0, 6).Draw(t, "vms"), rapid.IntRange(1, 4).Draw(t, "hosts")
	for i := range n {
		p.VMs = append(p.VMs, drawVM(t, i))
	}
	for i := range hosts {
		p.Hosts = append(p.Hosts, drawHost(t, i))
	}
	if n == 0 {
		return p
	}
	for range rapid.IntRange(0, 8).Draw(t, "classes") {
		p.Classes = append(p.Classes, problem.Class{
			VMs: rapid.SliceOfN(rapid.IntRange(0, n-1), 0, 5).Draw(t, "owners"), Bytes: rapid.Int64Range(0, 6).Draw(t, "bytes"),
		})
	}
	for range rapid.IntRange(0, 2).Draw(t, "constraints") {
		p.Constraints = append(p.Constraints, drawConstraint(t, &p))
	}
	return p
}

func drawVM(t *rapid.T, i int) problem.VM {
	return problem.VM{
		Name: fmt.Sprintf("vm%d", i), Memory: rapid.Int64Range(0, 10).Draw(t, "memory"), VCPUs: rapid.IntRange(0, 3).Draw(t, "vcpus"),
		Labels: map[string]string{"app": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app")}, Priority: rapid.IntRange(0, 2).Draw(t, "priority"),
	}
}

func drawHost(t *rapid.T, i int) problem.Host {
	return problem.Host{
		Name: fmt.Sprintf("host%d", i), Memory: rapid.Int64Range(5, 30).Draw(t, "room"), VCPUs: rapid.IntRange(0, 8).Draw(t, "cpus"),
		MaxVMs: rapid.IntRange(0, 4).Draw(t, "max"), LinkBPS: rapid.Int64Range(0, 3).Draw(t, "link") * 1e9,
		Rack:   rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "rack"),
		Labels: map[string]string{"zone": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "zone")}, Residents: []string{fmt.Sprintf("old%d", i)},
	}
}

func drawConstraint(t *rapid.T, p *problem.Problem) problem.Constraint {
	vm := rapid.Custom(func(t *rapid.T) string { return p.VMs[rapid.IntRange(0, len(p.VMs)-1).Draw(t, "i")].Name })
	host := rapid.Custom(func(t *rapid.T) string { return p.Hosts[rapid.IntRange(0, len(p.Hosts)-1).Draw(t, "i")].Name })
	c := problem.Constraint{
		Kind: rapid.SampledFrom([]string{problem.Pin, problem.Exclude, problem.Affinity, problem.AntiAffinity, problem.AntiAffinity, problem.Label}).Draw(t, "kind"),
		VMs:  rapid.SliceOfN(vm, 0, 3).Draw(t, "vms"),
	}
	switch c.Kind {
	case problem.Pin, problem.Exclude:
		c.Hosts = rapid.SliceOfN(host, 1, 2).Draw(t, "hosts")
	case problem.Label:
		c.Labels = map[string]string{"zone": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "want")}
		c.Select = map[string]string{"app": "a"}
	case problem.AntiAffinity:
		c.Scope = rapid.SampledFrom([]string{"", problem.ScopeHost, problem.ScopeRack}).Draw(t, "scope")
		c.Max = rapid.IntRange(0, 2).Draw(t, "max")
		fallthrough
	case problem.Affinity:
		if rapid.Bool().Draw(t, "resident") && len(c.VMs) > 0 {
			c.VMs = append(c.VMs, p.Hosts[0].Residents[0])
		}
	}
	return c
}
