package pack

import (
	"cmp"
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
)

// BySize orders the units so that those hard to place come first: few hosts allowed, then much memory.
func BySize(in *model.Instance) []int32 {
	order := make([]int32, len(in.Units))
	hosts := make([]int, len(in.Units))
	for u := range order {
		order[u] = int32(u)
		hosts[u] = in.HostsFor(int32(u)).Len()
	}
	slices.SortStableFunc(order, func(a, b int32) int {
		x, y := &in.Units[a], &in.Units[b]
		return cmp.Or(
			cmp.Compare(min(hosts[a], 2), min(hosts[b], 2)),
			cmp.Compare(y.Claim+y.Own, x.Claim+x.Own),
			cmp.Compare(y.VCPUs, x.VCPUs),
			cmp.Compare(hosts[a], hosts[b]))
	})
	return order
}

// byPriority orders the units so that the more important come first, of equal ones the smaller.
func byPriority(in *model.Instance) []int32 {
	order := BySize(in)
	slices.Reverse(order)
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(in.Units[b].Priority, in.Units[a].Priority) })
	return order
}

// byRoom lists hosts of a set by memory, the roomiest first or with sign 1 last.
func byRoom(in *model.Instance, set model.HostSet, sign int) (hosts []int) {
	for h := range in.Room {
		if set.Has(h) {
			hosts = append(hosts, h)
		}
	}
	slices.SortStableFunc(hosts, func(a, b int) int { return sign * cmp.Compare(in.Room[a].Memory, in.Room[b].Memory) })
	return hosts
}
