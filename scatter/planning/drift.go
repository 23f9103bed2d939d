package planning

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/multicast/groups"
	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
)

// mostDrift is how much of what VMs share, and of what they need, may have changed since a plan was made.
const mostDrift = 0.10

// GroupsFor is the plan's groups in the numbering of hosts. A placement that was changed by hand needs other groups: then there are none.
func (p *Plan) GroupsFor(hosts []string) (kept []groups.Kept) {
	for _, v := range p.VMs {
		if v.Host != p.Placement[v.Name] {
			return nil
		}
	}
	for _, g := range p.Groups {
		k := groups.Kept{Lane: g.Lane}
		for _, name := range g.Hosts {
			if h := slices.Index(hosts, name); h >= 0 && !slices.Contains(k.Hosts, h) {
				k.Hosts = append(k.Hosts, h)
			}
		}
		if g.Lane > 0 && len(k.Hosts) > 1 {
			kept = append(kept, k)
		}
	}
	return kept
}

// VMsByName finds the VMs of a problem.
func VMsByName(p *Problem) map[string]*placement.VM {
	out := make(map[string]*placement.VM, len(p.VMs))
	for i := range p.VMs {
		out[p.VMs[i].Name] = &p.VMs[i]
	}
	return out
}

// HostsByName finds the hosts of a problem.
func HostsByName(p *Problem) map[string]*placement.Host {
	out := make(map[string]*placement.Host, len(p.Hosts))
	for i := range p.Hosts {
		out[p.Hosts[i].Name] = &p.Hosts[i]
	}
	return out
}

// Drift tells why a kept plan does not fit a problem: other VMs or hosts, less room, other contents.
func Drift(kept *Plan, now *Problem) (changes []model.Blocker) {
	vms, hosts := VMsByName(now), HostsByName(now)
	planned := make(map[string]*PlanVM)
	for i := range kept.VMs {
		planned[kept.VMs[i].Name] = &kept.VMs[i]
	}
	wants := make(map[string]int64)
	for _, name := range slices.Sorted(maps.Keys(kept.Placement)) {
		vm, host := vms[name], kept.Placement[name]
		switch {
		case vm == nil:
			changes = append(changes, model.Blocker{VM: name, Problem: "is in the plan, but is not among the VMs to move"})
			continue
		case hosts[host] == nil:
			changes = append(changes, model.Blocker{VM: name, Host: host, Problem: "is planned there, but the host is not among the targets"})
		}
		wants[host] += vm.Memory
		if p := planned[name]; p != nil && (p.MemoryBytes != vm.Memory || p.VCPUs != vm.VCPUs) {
			changes = append(changes, model.Blocker{VM: name, Problem: fmt.Sprintf("had %d MiB and %d vcpus when it was planned, has %d MiB and %d",
				p.MemoryBytes>>20, p.VCPUs, vm.Memory>>20, vm.VCPUs)})
		}
	}
	for _, v := range now.VMs {
		if _, ok := kept.Placement[v.Name]; !ok && !slices.Contains(kept.Unplaced, v.Name) {
			changes = append(changes, model.Blocker{VM: v.Name, Problem: "is to move, but is not in the plan"})
		}
	}
	for _, h := range kept.Hosts {
		if now := hosts[h.Name]; now != nil && now.Memory < h.MemoryBytes && now.Memory < wants[h.Name] {
			changes = append(changes, model.Blocker{Host: h.Name, Problem: fmt.Sprintf("has room for %d MiB, the plan puts %d MiB there (it had %d MiB)",
				now.Memory>>20, wants[h.Name]>>20, h.MemoryBytes>>20)})
		}
	}
	return append(changes, contentDrift(kept, now)...)
}

// contentDrift compares what the VMs share, pair by pair, and what each needs. A plan that was written by hand may not say.
func contentDrift(kept *Plan, now *Problem) (changes []model.Blocker) {
	if len(kept.VMs) == 0 {
		return nil
	}
	var sharing, content comparison
	then := make(map[[2]string]int64)
	for _, s := range kept.Sharing {
		then[s.VMs] = s.Bytes
	}
	for _, s := range sharingOf(now) {
		sharing.add(strings.Join(s.VMs[:], " and "), then[s.VMs], s.Bytes)
		delete(then, s.VMs)
	}
	for _, s := range kept.Sharing {
		if bytes, left := then[s.VMs]; left {
			sharing.add(strings.Join(s.VMs[:], " and "), bytes, 0)
		}
	}
	needs := contentOf(now)
	for _, v := range kept.VMs {
		if bytes, ok := needs[v.Name]; ok {
			content.add(v.Name, v.ContentBytes, bytes)
		}
	}
	if why := sharing.verdict(); why != "" {
		changes = append(changes, model.Blocker{Problem: "what the VMs share has changed by " + why})
	}
	if why := content.verdict(); why != "" {
		changes = append(changes, model.Blocker{Problem: "what the VMs hold has changed by " + why})
	}
	return changes
}

// comparison adds up how much two lists of bytes differ.
type comparison struct {
	before, changed int64
	worst           int64
	example         string
}

func (c *comparison) add(name string, then, now int64) {
	d := max(now-then, then-now)
	c.before += then
	c.changed += d
	if d > c.worst {
		c.worst, c.example = d, fmt.Sprintf("%s: %.1f MiB, were %.1f", name, float64(now)/(1<<20), float64(then)/(1<<20))
	}
}

// verdict says how much has changed, if that is more than may.
func (c *comparison) verdict() string {
	if float64(c.changed) <= mostDrift*float64(c.before) {
		return ""
	}
	if c.before == 0 {
		return fmt.Sprintf("%.1f MiB from nothing (%s)", float64(c.changed)/(1<<20), c.example)
	}
	return fmt.Sprintf("%.0f %% (most: %s)", 100*float64(c.changed)/float64(c.before), c.example)
}

// contentOf is the distinct bytes that each VM needs.
func contentOf(p *Problem) map[string]int64 {
	needs := make(map[string]int64, len(p.VMs))
	for _, v := range p.VMs {
		needs[v.Name] = 0
	}
	for _, c := range p.Classes {
		for _, vm := range c.VMs {
			needs[p.VMs[vm].Name] += c.Bytes
		}
	}
	return needs
}

// KeepOut makes VMs stay that the plan leaves here.
func KeepOut(p *Problem, unplaced []string) {
	vms := VMsByName(p)
	stay := Constraint{Name: "the plan leaves them here", Kind: placement.Exclude}
	for _, vm := range unplaced {
		if vms[vm] != nil {
			stay.VMs = append(stay.VMs, vm)
		}
	}
	if len(stay.VMs) == 0 {
		return
	}
	for _, h := range p.Hosts {
		stay.Hosts = append(stay.Hosts, h.Name)
	}
	p.Constraints = append(p.Constraints, stay)
	p.Partial = true
}
