package kit

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"

	"github.com/scatter-vm/scatter/placement/problem"
)

// Verdict is what the dumb twin finds about a placement: why it breaks the problem's rules, "" if it does not, and what
// it costs.
func Verdict(p *problem.Problem, host []int) (broken string, cost, traffic int64) {
	w := &twin{p: p, host: host, bytes: make([]int64, len(p.Hosts)), covered: make([]int64, len(p.VMs))}
	for i := range p.Classes {
		w.deliver(&p.Classes[i])
	}
	return w.broken(), w.cost(), w.traffic
}

// twin counts a placement out, without any table that could be wrong.
type twin struct {
	p       *problem.Problem
	host    []int
	bytes   []int64 // that each host receives
	covered []int64 // bytes of each VM that classes cover
	source  int64   // bytes that the source sends
	traffic int64
}

// deliver sends a class to the hosts of its owners, and to their racks.
func (w *twin) deliver(c *problem.Class) {
	at := map[int]bool{}
	owners := slices.Clone(c.VMs)
	slices.Sort(owners)
	for _, v := range slices.Compact(owners) {
		w.covered[v] += c.Bytes
		if w.host[v] >= 0 {
			at[w.host[v]] = true
		}
	}
	racks := map[string]bool{}
	for h := range at {
		w.bytes[h] += c.Bytes
		racks[w.p.Hosts[h].Rack] = true
	}
	delete(racks, "")
	w.traffic += c.Bytes * int64(len(at)+len(racks))
	w.source += c.Bytes * int64(min(len(at), 1))
}

func (w *twin) cost() int64 {
	switch w.p.Objective {
	case problem.Makespan:
		return w.makespan()
	case problem.Hosts:
		return w.hosts()
	}
	return w.traffic
}

func (w *twin) makespan() (most int64) {
	fastest := w.fastest()
	for h, b := range w.bytes {
		most = max(most, ceilTime(b, cmp.Or(w.p.Hosts[h].LinkBPS, fastest)))
	}
	if w.p.SourceBPS > 0 {
		most = max(most, ceilTime(w.source, w.p.SourceBPS))
	}
	return most
}

func (w *twin) fastest() (bps int64) {
	for _, h := range w.p.Hosts {
		bps = max(bps, h.LinkBPS)
	}
	return cmp.Or(bps, 10e9)
}

func ceilTime(bytes, bps int64) int64 {
	t := new(big.Int).Mul(big.NewInt(bytes), big.NewInt(8e9))
	return t.Add(t, big.NewInt(bps-1)).Div(t, big.NewInt(bps)).Int64()
}

func (w *twin) hosts() int64 {
	used := map[int]bool{}
	for _, h := range w.host {
		if h >= 0 {
			used[h] = true
		}
	}
	return int64(len(used))
}

func (w *twin) broken() string {
	for h := range w.p.Hosts {
		if w.overfull(h) {
			return fmt.Sprintf("host %d is overfull", h)
		}
	}
	for i := range w.p.Constraints {
		if !w.obeyed(&w.p.Constraints[i]) {
			return fmt.Sprintf("constraint %d is broken", i)
		}
	}
	return ""
}

func (w *twin) overfull(h int) bool {
	p, spec := w.p, &w.p.Hosts[h]
	memory, vcpus, vms := w.taken(h)
	return float64(memory) > float64(spec.Memory)*(1-p.Headroom) || spec.VCPUs > 0 && float64(vcpus) > float64(spec.VCPUs)*cmp.Or(p.Overcommit, 1) || spec.MaxVMs > 0 && vms > spec.MaxVMs
}

func (w *twin) taken(h int) (memory int64, vcpus, vms int) {
	shared := w.p.Capacity == problem.Shared
	if shared {
		memory = w.bytes[h]
	}
	for v, at := range w.host {
		if at != h {
			continue
		}
		vcpus, vms = vcpus+w.p.VMs[v].VCPUs, vms+1
		if shared {
			memory += max(0, w.p.VMs[v].Memory-w.covered[v])
		} else {
			memory += w.p.VMs[v].Memory
		}
	}
	return memory, vcpus, vms
}

func (w *twin) obeyed(c *problem.Constraint) bool {
	at := append(w.hostsOf(c), w.residentHosts(c)...)
	if c.Kind == problem.AntiAffinity {
		return w.apart(c, at)
	}
	return !slices.ContainsFunc(at, func(h int) bool {
		spec := &w.p.Hosts[h]
		switch c.Kind {
		case problem.Pin:
			return !slices.Contains(c.Hosts, spec.Name)
		case problem.Exclude:
			return slices.Contains(c.Hosts, spec.Name)
		case problem.Label:
			return !problem.Carries(spec.Labels, c.Labels)
		}
		return c.Kind == problem.Affinity && h != at[0]
	})
}

// apart tells whether no domain has more members than it may, unless residents are too many by themselves.
func (w *twin) apart(c *problem.Constraint, at []int) bool {
	count, residents := w.perDomain(c, at), w.perDomain(c, w.residentHosts(c))
	for d, n := range count {
		if n > max(c.Max, 1) && n > residents[d] {
			return false
		}
	}
	return true
}

func (w *twin) perDomain(c *problem.Constraint, hosts []int) map[string]int {
	count := map[string]int{}
	for _, h := range hosts {
		domain := fmt.Sprint(h)
		if rack := w.p.Hosts[h].Rack; c.Scope == problem.ScopeRack && rack != "" {
			domain = "rack " + rack
		}
		count[domain]++
	}
	return count
}

// hostsOf lists the hosts of the VMs that a constraint concerns.
func (w *twin) hostsOf(c *problem.Constraint) (hosts []int) {
	for v, vm := range w.p.VMs {
		named := slices.Contains(c.VMs, vm.Name) || len(c.VMs) == 0 && len(c.Select) == 0
		if (named || len(c.Select) > 0 && problem.Carries(vm.Labels, c.Select)) && w.host[v] >= 0 {
			hosts = append(hosts, w.host[v])
		}
	}
	return hosts
}

// residentHosts lists the hosts of the residents that a constraint concerns.
func (w *twin) residentHosts(c *problem.Constraint) (hosts []int) {
	for h, spec := range w.p.Hosts {
		for _, r := range spec.Residents {
			if slices.Contains(c.VMs, r) {
				hosts = append(hosts, h)
			}
		}
	}
	return hosts
}

// Brute tries every placement and returns the cheapest.
func Brute(p *problem.Problem) (best []int, cost int64) {
	host := make([]int, len(p.VMs))
	for {
		if broken, c, _ := Verdict(p, host); broken == "" && (best == nil || c < cost) {
			best, cost = append([]int{}, host...), c
		}
		if !next(host, len(p.Hosts)) {
			return best, cost
		}
	}
}

// next counts up in hosts; false after the last.
func next(host []int, hosts int) bool {
	for i := range host {
		if host[i]++; host[i] < hosts {
			return true
		}
		host[i] = 0
	}
	return false
}
