package placement

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/scatter-vm/scatter/placement/problem"
)

// rules resolves the names in constraints while an instance is compiled.
type rules struct {
	in       *instance
	vm       map[string]int // -> index into Problem.VMs
	host     map[string]int // -> host of the instance
	resident map[string]int // -> host of the instance
	parent   []int          // union-find over the VMs that affinities unite
	named    [][]int        // constraint -> VMs it concerns
	away     [][]string     // constraint -> residents it concerns
}

func newRules(in *instance) (*rules, error) {
	r := &rules{in: in, vm: map[string]int{}, host: map[string]int{}, resident: map[string]int{}}
	for i, v := range in.p.VMs {
		r.vm[v.Name] = i
		r.parent = append(r.parent, i)
	}
	for h, id := range in.hostID {
		r.host[in.p.Hosts[id].Name] = h
		for _, name := range in.p.Hosts[id].Residents {
			r.resident[name] = h
		}
	}
	for i := range in.p.Constraints {
		if err := r.read(i, &in.p.Constraints[i]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *rules) read(i int, c *Constraint) error {
	if err := check(i, c, r.host); err != nil {
		return err
	}
	vms, away, err := r.concerned(i, c)
	if err != nil {
		return err
	}
	r.named, r.away = append(r.named, vms), append(r.away, away)
	if c.Kind == Affinity {
		for _, v := range vms {
			r.unite(vms[0], v)
		}
	}
	return nil
}

// check finds what makes no sense in a constraint by itself.
func check(i int, c *Constraint, hosts map[string]int) error {
	switch c.Kind {
	case Pin, Exclude:
		if len(c.Hosts) == 0 {
			return problem.Invalid("empty", "constraints[%d].hosts", i)
		}
	case Label:
		if len(c.Labels) == 0 {
			return problem.Invalid("empty", "constraints[%d].labels", i)
		}
	case Affinity, AntiAffinity:
	default:
		return problem.Invalid(fmt.Sprintf("%q is none of pin, exclude, affinity, anti-affinity, label", c.Kind), "constraints[%d].kind", i)
	}
	for _, name := range c.Hosts {
		if _, ok := hosts[name]; !ok {
			return problem.Invalid(fmt.Sprintf("no host %q", name), "constraints[%d].hosts", i)
		}
	}
	if c.Scope != "" && c.Scope != ScopeHost && c.Scope != ScopeRack {
		return problem.Invalid(fmt.Sprintf("%q is neither host nor rack", c.Scope), "constraints[%d].scope", i)
	}
	if c.Max < 0 {
		return problem.Invalid("negative", "constraints[%d].max", i)
	}
	return nil
}

// concerned lists the VMs to place, ascending, and the residents that a constraint is about.
func (r *rules) concerned(i int, c *Constraint) (vms []int, away []string, err error) {
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
		for v := range r.in.p.VMs {
			if problem.Carries(r.in.p.VMs[v].Labels, c.Select) {
				vms = append(vms, v)
			}
		}
	}
	slices.Sort(vms)
	slices.Sort(away)
	return slices.Compact(vms), slices.Compact(away), nil
}

func (r *rules) root(v int) int {
	for r.parent[v] != v {
		r.parent[v] = r.parent[r.parent[v]]
		v = r.parent[v]
	}
	return v
}

func (r *rules) unite(a, b int) { r.parent[r.root(a)] = r.root(b) }

// restrict applies the constraints to the units.
func (in *instance) restrict(r *rules) {
	in.allowAll()
	in.constrain = make([][]int32, len(in.units))
	in.groupsOf = make([][]int32, len(in.units))
	for i := range in.p.Constraints {
		switch c := &in.p.Constraints[i]; c.Kind {
		case AntiAffinity:
			in.addGroup(int32(i), c, r)
		default:
			hosts := r.hosts(i, c)
			for _, v := range r.named[i] {
				in.intersect(in.unitOf[v], int32(i), hosts)
			}
		}
	}
	for u := range in.units {
		if !slices.ContainsFunc(in.allowed[u*in.words:(u+1)*in.words], func(w uint64) bool { return w != 0 }) {
			in.empty = append(in.empty, int32(u))
		}
	}
}

func (in *instance) allowAll() {
	in.allowed = make([]uint64, len(in.units)*in.words)
	for u := range in.units {
		for h := range in.hostID {
			in.allowed[u*in.words+h>>6] |= 1 << (h & 63)
		}
	}
}

func (in *instance) intersect(u, constraint int32, hosts []uint64) {
	for w := range hosts {
		in.allowed[int(u)*in.words+w] &= hosts[w]
	}
	if n := len(in.constrain[u]); n == 0 || in.constrain[u][n-1] != constraint {
		in.constrain[u] = append(in.constrain[u], constraint)
	}
}

// hosts is the set of hosts a constraint leaves to its VMs.
func (r *rules) hosts(i int, c *Constraint) []uint64 {
	set := make([]uint64, r.in.words)
	for h, id := range r.in.hostID {
		spec := &r.in.p.Hosts[id]
		ok := true
		switch c.Kind {
		case Pin:
			ok = slices.Contains(c.Hosts, spec.Name)
		case Exclude:
			ok = !slices.Contains(c.Hosts, spec.Name)
		case Label:
			ok = problem.Carries(spec.Labels, c.Labels)
		case Affinity:
			ok = !slices.ContainsFunc(r.away[i], func(name string) bool { return r.resident[name] != h })
		}
		if ok {
			set[h>>6] |= 1 << (h & 63)
		}
	}
	return set
}

// addGroup turns an anti-affinity into a group. Units with too many members of their own get no host.
func (in *instance) addGroup(i int32, c *Constraint, r *rules) {
	g := group{constraint: i, limit: int64(max(c.Max, 1)), weight: map[int32]int64{}, domain: make([]int32, len(in.hostID))}
	for h := range in.hostID {
		g.domain[h] = in.domain(h, c.Scope)
	}
	g.start = make([]int64, 2*len(in.hostID))
	for _, name := range r.away[i] {
		g.start[g.domain[r.resident[name]]]++
	}
	for _, v := range r.named[i] {
		g.weight[in.unitOf[v]]++
	}
	for _, u := range slices.Sorted(maps.Keys(g.weight)) {
		in.groupsOf[u] = append(in.groupsOf[u], int32(len(in.groups)))
		in.constrain[u] = append(in.constrain[u], i)
		if g.weight[u] > g.limit {
			in.intersect(u, i, make([]uint64, in.words))
		}
	}
	in.groups = append(in.groups, g)
}

const unlimited = math.MaxInt64 / 4
