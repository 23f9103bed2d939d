package kit

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"

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
		p.VMs = append(p.VMs, problem.VM{
			Name: fmt.Sprintf("vm%d", i), Memory: rapid.Int64Range(0, 10).Draw(t, "memory"), VCPUs: rapid.IntRange(0, 3).Draw(t, "vcpus"),
			Labels: map[string]string{"app": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app")}, Priority: rapid.IntRange(0, 2).Draw(t, "priority"),
		})
	}
	for i := range hosts {
		p.Hosts = append(p.Hosts, problem.Host{
			Name: fmt.Sprintf("host%d", i), Memory: rapid.Int64Range(5, 30).Draw(t, "room"), VCPUs: rapid.IntRange(0, 8).Draw(t, "cpus"),
			MaxVMs: rapid.IntRange(0, 4).Draw(t, "max"), LinkBPS: rapid.Int64Range(0, 3).Draw(t, "link") * 1e9,
			Rack:   rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "rack"),
			Labels: map[string]string{"zone": rapid.SampledFrom([]string{"x", "y"}).Draw(t, "zone")}, Residents: []string{fmt.Sprintf("old%d", i)},
		})
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

// Verdict is what the dumb twin finds about a placement: why it breaks the problem's rules, "" if it does not, and what
// it costs.
func Verdict(p *problem.Problem, host []int) (broken string, cost, traffic int64) {
	bytes := make([]int64, len(p.Hosts))
	covered := make([]int64, len(p.VMs))
	var source int64
	for _, c := range p.Classes {
		at := map[int]bool{}
		owners := slices.Clone(c.VMs)
		slices.Sort(owners)
		for _, v := range slices.Compact(owners) {
			covered[v] += c.Bytes
			if host[v] >= 0 {
				at[host[v]] = true
			}
		}
		racks := map[string]bool{}
		for h := range at {
			bytes[h] += c.Bytes
			racks[p.Hosts[h].Rack] = true
		}
		delete(racks, "")
		traffic += c.Bytes * int64(len(at)+len(racks))
		source += c.Bytes * int64(min(len(at), 1))
	}
	return brokenRule(p, host, bytes, covered), costOf(p, host, bytes, source, traffic), traffic
}

func costOf(p *problem.Problem, host []int, bytes []int64, source, traffic int64) int64 {
	var fastest, most int64
	for _, h := range p.Hosts {
		fastest = max(fastest, h.LinkBPS)
	}
	if fastest == 0 {
		fastest = 10e9
	}
	used := map[int]bool{}
	for _, h := range host {
		if h >= 0 {
			used[h] = true
		}
	}
	for h, b := range bytes {
		most = max(most, ceilTime(b, cmp.Or(p.Hosts[h].LinkBPS, fastest)))
	}
	if p.SourceBPS > 0 {
		most = max(most, ceilTime(source, p.SourceBPS))
	}
	switch p.Objective {
	case problem.Makespan:
		return most
	case problem.Hosts:
		return int64(len(used))
	}
	return traffic
}

func ceilTime(bytes, bps int64) int64 {
	t := new(big.Int).Mul(big.NewInt(bytes), big.NewInt(8e9))
	return t.Add(t, big.NewInt(bps-1)).Div(t, big.NewInt(bps)).Int64()
}

func brokenRule(p *problem.Problem, host []int, bytes, covered []int64) string {
	for h, spec := range p.Hosts {
		var memory int64
		vcpus, vms := 0, 0
		for v, at := range host {
			if at != h {
				continue
			}
			vcpus, vms = vcpus+p.VMs[v].VCPUs, vms+1
			if p.Capacity == problem.Shared {
				memory += max(0, p.VMs[v].Memory-covered[v])
			} else {
				memory += p.VMs[v].Memory
			}
		}
		if p.Capacity == problem.Shared {
			memory += bytes[h]
		}
		if float64(memory) > float64(spec.Memory)*(1-p.Headroom) || spec.VCPUs > 0 && float64(vcpus) > float64(spec.VCPUs)*cmp.Or(p.Overcommit, 1) || spec.MaxVMs > 0 && vms > spec.MaxVMs {
			return fmt.Sprintf("host %d is overfull", h)
		}
	}
	for i := range p.Constraints {
		if !obeyed(p, &p.Constraints[i], host) {
			return fmt.Sprintf("constraint %d is broken", i)
		}
	}
	return ""
}

// hostsOf lists the hosts of the VMs, and residents, that a constraint concerns.
func hostsOf(p *problem.Problem, c *problem.Constraint, host []int) []int {
	var out []int
	for v, vm := range p.VMs {
		if (slices.Contains(c.VMs, vm.Name) || len(c.VMs) == 0 && len(c.Select) == 0 || len(c.Select) > 0 && problem.Carries(vm.Labels, c.Select)) && host[v] >= 0 {
			out = append(out, host[v])
		}
	}
	for h, spec := range p.Hosts {
		for _, r := range spec.Residents {
			if slices.Contains(c.VMs, r) {
				out = append(out, h)
			}
		}
	}
	return out
}

func obeyed(p *problem.Problem, c *problem.Constraint, host []int) bool {
	at := hostsOf(p, c, host)
	count := map[string]int{}
	residents := map[string]int{}
	domain := func(h int) string {
		if c.Scope == problem.ScopeRack && p.Hosts[h].Rack != "" {
			return "rack " + p.Hosts[h].Rack
		}
		return fmt.Sprint(h)
	}
	for h, spec := range p.Hosts {
		for _, r := range spec.Residents {
			if slices.Contains(c.VMs, r) {
				residents[domain(h)]++
			}
		}
	}
	for _, h := range at {
		spec := &p.Hosts[h]
		count[domain(h)]++
		switch c.Kind {
		case problem.Pin:
			if !slices.Contains(c.Hosts, spec.Name) {
				return false
			}
		case problem.Exclude:
			if slices.Contains(c.Hosts, spec.Name) {
				return false
			}
		case problem.Label:
			if !problem.Carries(spec.Labels, c.Labels) {
				return false
			}
		case problem.Affinity:
			if h != at[0] {
				return false
			}
		}
	}
	for d, n := range count {
		if c.Kind == problem.AntiAffinity && n > max(c.Max, 1) && n > residents[d] {
			return false
		}
	}
	return true
}

// Brute tries every placement and returns the cheapest.
func Brute(p *problem.Problem) (best []int, cost int64) {
	host := make([]int, len(p.VMs))
	for {
		if broken, c, _ := Verdict(p, host); broken == "" && (best == nil || c < cost) {
			best, cost = append([]int{}, host...), c
		}
		i := 0
		for ; i < len(host); i++ {
			if host[i]++; host[i] < len(p.Hosts) {
				break
			}
			host[i] = 0
		}
		if i == len(host) {
			return best, cost
		}
	}
}
