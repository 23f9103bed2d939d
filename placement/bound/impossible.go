package bound

import (
	"slices"

	"github.com/scatter-vm/scatter/placement/assign"
	"github.com/scatter-vm/scatter/placement/model"
)

// maxHostSets bounds the sets of hosts that Impossible looks at.
const maxHostSets = 64

// Impossible reports whether counting alone proves that the units cannot be placed: some unit fits no host that it is
// allowed on, or the units confined to some set of hosts want more than these have.
func Impossible(in *model.Instance) bool {
	if _, homeless := in.Homeless(); homeless {
		return true
	}
	s := assign.New(in)
	for u := range int32(len(in.Units)) {
		if !fitsSomewhere(s, u) {
			return true
		}
	}
	return slices.ContainsFunc(hostSets(in), func(set model.HostSet) bool { return confinedTo(in, set).overdrawn() })
}

func fitsSomewhere(s *assign.State, u int32) bool {
	for h := range s.N {
		if s.Fits(u, h) {
			return true
		}
	}
	return false
}

// hostSets lists the sets of hosts that units are confined to.
func hostSets(in *model.Instance) (sets []model.HostSet) {
	for u := range int32(len(in.Units)) {
		set := in.HostsFor(u)
		if len(sets) < maxHostSets && !slices.ContainsFunc(sets, func(s model.HostSet) bool { return slices.Equal(s, set) }) {
			sets = append(sets, set)
		}
	}
	return sets
}

// confinement is the units that a set of hosts must take, as they may run nowhere else.
type confinement struct {
	in     *model.Instance
	hosts  model.HostSet
	units  []int32
	inside []bool // unit -> it is one of these
}

func confinedTo(in *model.Instance, hosts model.HostSet) *confinement {
	c := &confinement{in: in, hosts: hosts, inside: make([]bool, len(in.Units))}
	for u := range int32(len(in.Units)) {
		if c.inside[u] = in.HostsFor(u).Within(hosts); c.inside[u] {
			c.units = append(c.units, u)
		}
	}
	return c
}

// overdrawn reports whether the units want more than the hosts have.
func (c *confinement) overdrawn() bool {
	want := wanted(c.in, c.units)
	if c.in.Shared {
		want.Memory += c.once()
	}
	var have model.Room
	for h, r := range c.in.Room {
		if c.hosts.Has(h) {
			have = have.Plus(r)
		}
	}
	return !want.Within(have) || c.crowded()
}

// once is the bytes of the classes that some of the units own, each once.
func (c *confinement) once() (sum int64) {
	g := &c.in.Classes
	for k, w := range g.Weight {
		if slices.ContainsFunc(g.Pins(int32(k)), func(u uint16) bool { return c.inside[u] }) {
			sum += w
		}
	}
	return sum
}

// crowded reports whether an anti-affinity has more members among the units than the hosts may take.
func (c *confinement) crowded() bool {
	for i := range c.in.Groups.All {
		g := &c.in.Groups.All[i]
		var want, have int64
		for u, w := range g.Weight {
			if c.inside[u] {
				want += w
			}
		}
		seen := map[int32]bool{}
		for h, d := range g.Domain {
			if c.hosts.Has(h) && !seen[d] {
				seen[d] = true
				have += max(0, g.Limit-g.Start[d])
			}
		}
		if want > have {
			return true
		}
	}
	return false
}
