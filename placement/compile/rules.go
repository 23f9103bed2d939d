package compile

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
	"github.com/scatter-vm/scatter/placement/problem"
)

// rules are the constraints with their names resolved.
type rules struct {
	p        *problem.Problem
	hosts    []int          // host of the instance -> index into Problem.Hosts
	vm       map[string]int // -> index into Problem.VMs
	host     map[string]int // -> host of the instance
	resident map[string]int // -> host of the instance
	together unions         // VMs that affinities unite
	named    [][]int        // constraint -> VMs it concerns
	away     [][]string     // constraint -> residents it concerns
}

func newRules(p *problem.Problem, n *Numbering) (*rules, error) {
	r := &rules{p: p, hosts: n.Hosts, vm: map[string]int{}, host: map[string]int{}, resident: map[string]int{}, together: newUnions(len(p.VMs))}
	r.index()
	for i := range p.Constraints {
		if err := r.read(i, &p.Constraints[i]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// index lists what names mean.
func (r *rules) index() {
	for v := range r.p.VMs {
		r.vm[r.p.VMs[v].Name] = v
	}
	for h, id := range r.hosts {
		r.host[r.p.Hosts[id].Name] = h
		for _, name := range r.p.Hosts[id].Residents {
			r.resident[name] = h
		}
	}
}

// read resolves the names in a constraint.
func (r *rules) read(i int, c *problem.Constraint) error {
	if err := check(i, c, r.host); err != nil {
		return err
	}
	vms, away, err := r.concerned(i, c)
	if err != nil {
		return err
	}
	r.named, r.away = append(r.named, vms), append(r.away, away)
	if c.Kind == problem.Affinity {
		for _, v := range vms {
			r.together.unite(vms[0], v)
		}
	}
	return nil
}

// check finds what makes no sense in a constraint by itself.
func check(i int, c *problem.Constraint, hosts map[string]int) error {
	if err := checkKind(i, c); err != nil {
		return err
	}
	for _, name := range c.Hosts {
		if _, ok := hosts[name]; !ok {
			return problem.Invalid(fmt.Sprintf("no host %q", name), "constraints[%d].hosts", i)
		}
	}
	if c.Scope != "" && c.Scope != problem.ScopeHost && c.Scope != problem.ScopeRack {
		return problem.Invalid(fmt.Sprintf("%q is neither host nor rack", c.Scope), "constraints[%d].scope", i)
	}
	if c.Max < 0 {
		return problem.Invalid("negative", "constraints[%d].max", i)
	}
	return nil
}

// checkKind finds whether a constraint has what its kind needs.
func checkKind(i int, c *problem.Constraint) error {
	switch c.Kind {
	case problem.Pin, problem.Exclude:
		if len(c.Hosts) == 0 {
			return problem.Invalid("empty", "constraints[%d].hosts", i)
		}
	case problem.Label:
		if len(c.Labels) == 0 {
			return problem.Invalid("empty", "constraints[%d].labels", i)
		}
	case problem.Affinity, problem.AntiAffinity:
	default:
		return problem.Invalid(fmt.Sprintf("%q is none of pin, exclude, affinity, anti-affinity, label", c.Kind), "constraints[%d].kind", i)
	}
	return nil
}

// concerned lists the VMs to place, ascending, and the residents that a constraint is about.
func (r *rules) concerned(i int, c *problem.Constraint) (vms []int, away []string, err error) {
	for _, name := range c.VMs {
		if v, ok := r.vm[name]; ok {
			vms = append(vms, v)
		} else if _, ok := r.resident[name]; ok {
			away = append(away, name)
		} else {
			return nil, nil, problem.Invalid(fmt.Sprintf("%q is neither to be placed nor resident", name), "constraints[%d].vms", i)
		}
	}
	if len(c.Select) > 0 || len(c.VMs) == 0 {
		for v := range r.p.VMs {
			if problem.Carries(r.p.VMs[v].Labels, c.Select) {
				vms = append(vms, v)
			}
		}
	}
	slices.Sort(vms)
	slices.Sort(away)
	return slices.Compact(vms), slices.Compact(away), nil
}

// apply makes of the constraints where each unit may run, and which must be kept apart.
func (r *rules) apply(n *Numbering, hs *model.Hosts) (model.Permits, model.Groups) {
	permits, groups := model.NewPermits(len(n.VMs), len(n.Hosts)), model.NewGroups(len(n.VMs))
	for i := range r.p.Constraints {
		if r.p.Constraints[i].Kind == problem.AntiAffinity {
			g := r.group(i, n, hs)
			evict(&g, &permits)
			groups.Add(g)
			continue
		}
		left := r.left(i)
		for _, v := range r.named[i] {
			permits.Narrow(n.Units[v], left)
		}
	}
	return permits, groups
}

// evict leaves no host to units whose own members are too many for a group.
func evict(g *model.Group, permits *model.Permits) {
	for u, w := range g.Weight {
		if w > g.Limit {
			permits.Narrow(u, model.NewHostSet(len(g.Domain)))
		}
	}
}

// left is the set of hosts that a constraint leaves to its VMs.
func (r *rules) left(i int) model.HostSet {
	set := model.NewHostSet(len(r.hosts))
	for h := range r.hosts {
		if r.leaves(i, h) {
			set.Add(h)
		}
	}
	return set
}

// leaves reports whether a constraint leaves a host to its VMs.
func (r *rules) leaves(i, h int) bool {
	c, host := &r.p.Constraints[i], &r.p.Hosts[r.hosts[h]]
	switch c.Kind {
	case problem.Pin:
		return slices.Contains(c.Hosts, host.Name)
	case problem.Exclude:
		return !slices.Contains(c.Hosts, host.Name)
	case problem.Label:
		return problem.Carries(host.Labels, c.Labels)
	case problem.Affinity:
		return !slices.ContainsFunc(r.away[i], func(name string) bool { return r.resident[name] != h })
	}
	return true
}

// group is an anti-affinity, with the residents that it concerns.
func (r *rules) group(i int, n *Numbering, hs *model.Hosts) model.Group {
	c := &r.p.Constraints[i]
	g := model.Group{Limit: int64(max(c.Max, 1)), Weight: map[int32]int64{}, Domain: make([]int32, len(n.Hosts)), Start: make([]int64, 2*len(n.Hosts))}
	for h := range n.Hosts {
		g.Domain[h] = domain(hs, h, c.Scope)
	}
	for _, name := range r.away[i] {
		g.Start[g.Domain[r.resident[name]]]++
	}
	for _, v := range r.named[i] {
		g.Weight[n.Units[v]]++
	}
	return g
}
