package placement

import (
	"maps"
	"slices"
)

// conflict names what keeps units from being placed.
func (in *instance) conflict(left []int32) error {
	e := &InfeasibleError{}
	if len(in.empty) > 0 {
		left, e.Proven = in.empty[:1], true
	}
	constraints := map[int32]bool{}
	for _, u := range left {
		for _, v := range in.units[u].vms {
			e.VMs = append(e.VMs, in.p.VMs[v].Name)
		}
		for _, c := range in.constrain[u] {
			constraints[c] = true
		}
	}
	for _, c := range slices.Sorted(maps.Keys(constraints)) {
		e.Constraints = append(e.Constraints, int(c))
		e.Names = append(e.Names, in.p.Constraints[c].title())
	}
	if !e.Proven {
		e.Resources = []string{"memory"}
	}
	return e
}

// title is how messages call a constraint.
func (c *Constraint) title() string {
	if c.Name != "" {
		return c.Name
	}
	return c.Kind
}
