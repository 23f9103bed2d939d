package planning

import (
	"fmt"
	"maps"
	"slices"
)

// Anonymise gives a copy of a problem in which every name is replaced by a number: VMs, hosts, racks, residents, constraints, keys and
// values of labels. The comment goes. Sizes, classes and the order of everything stay.
func Anonymise(p *Problem) *Problem {
	a := anonymiser{vms: alias("vm"), hosts: alias("host"), racks: alias("rack"), keys: alias("key"), values: alias("value")}
	out := *p
	out.Comment = ""
	out.VMs, out.Hosts, out.Constraints = slices.Clone(p.VMs), slices.Clone(p.Hosts), slices.Clone(p.Constraints)
	for i := range out.VMs {
		v := &out.VMs[i]
		v.Name, v.Labels = a.vms(v.Name), a.labels(v.Labels)
	}
	for i := range out.Hosts {
		h := &out.Hosts[i]
		h.Name, h.Labels, h.Residents = a.hosts(h.Name), a.labels(h.Labels), each(h.Residents, a.vms)
		if h.Rack != "" {
			h.Rack = a.racks(h.Rack)
		}
	}
	for i := range out.Constraints {
		c := &out.Constraints[i]
		if c.Name != "" {
			c.Name = fmt.Sprintf("%s %d", c.Kind, i+1)
		}
		c.VMs, c.Hosts, c.Select, c.Labels = each(c.VMs, a.vms), each(c.Hosts, a.hosts), a.labels(c.Select), a.labels(c.Labels)
	}
	return &out
}

type anonymiser struct{ vms, hosts, racks, keys, values func(string) string }

// alias numbers names as they come.
func alias(prefix string) func(string) string {
	known := make(map[string]string)
	return func(name string) string {
		if _, ok := known[name]; !ok {
			known[name] = fmt.Sprint(prefix, len(known)+1)
		}
		return known[name]
	}
}

func (a anonymiser) labels(labels map[string]string) map[string]string {
	if labels == nil {
		return nil
	}
	out := make(map[string]string, len(labels))
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out[a.keys(k)] = a.values(labels[k])
	}
	return out
}

func each(names []string, f func(string) string) []string {
	if names == nil {
		return nil
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = f(n)
	}
	return out
}
