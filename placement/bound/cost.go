// Package bound proves by counting what no placement can do: cost less than that, or fit at all.
package bound

import (
	"cmp"
	"slices"

	"github.com/scatter-vm/scatter/placement/model"
)

// Cost is a cost by the objective that no placement of the units that count undercuts.
func Cost(in *model.Instance, counts func(u int32) bool) int64 {
	return newBound(in).of(counts)
}

// Hosts is the least number of hosts that have room for the units that count, looking at each resource alone.
func Hosts(in *model.Instance, counts func(u int32) bool) int64 {
	b := newBound(in)
	return b.hostsFor(b.chosen(counts))
}

// bound knows costs that no placement undercuts: every class needs as many hosts, and racks, as its units fill by
// themselves.
type bound struct {
	in    *model.Instance
	hosts offers
	racks offers // on top of the hosts without a rack
}

// offers is, for each resource, the most that so many hosts or racks can offer: the first without any.
type offers struct{ memory, vcpus, vms []int64 }

// of is the bound for the units that count.
func (b *bound) of(counts func(u int32) bool) int64 {
	units := b.chosen(counts)
	switch b.in.Objective {
	case model.FewestHosts:
		return b.hostsFor(units)
	case model.LeastTime:
		return b.makespan(units, counts)
	}
	return b.traffic(units, counts, b.linksFor)
}

func (b *bound) chosen(counts func(u int32) bool) (units []int32) {
	for u := range b.in.Units {
		if counts(int32(u)) {
			units = append(units, int32(u))
		}
	}
	return units
}

func newBound(in *model.Instance) *bound {
	b := &bound{in: in, hosts: newOffers(model.Room{}, in.Room)}
	racks := make([]model.Room, in.Racks+1)
	for h, r := range in.Room {
		all := &racks[in.Uplink[h]]
		*all = all.Plus(r)
	}
	b.racks = newOffers(racks[in.Racks], racks[:in.Racks])
	return b
}

func newOffers(base model.Room, rooms []model.Room) offers {
	return offers{
		prefix(base, rooms, func(r model.Room) int64 { return r.Memory }),
		prefix(base, rooms, func(r model.Room) int64 { return r.VCPUs }),
		prefix(base, rooms, func(r model.Room) int64 { return r.VMs }),
	}
}

// prefix sums offers, the greatest first, on top of a base.
func prefix(base model.Room, rooms []model.Room, of func(model.Room) int64) []int64 {
	out := []int64{of(base)}
	for _, r := range rooms {
		out = append(out, of(r))
	}
	slices.SortFunc(out[1:], func(a, b int64) int { return cmp.Compare(b, a) })
	for i := range out[1:] {
		out[i+1] = min(out[i]+out[i+1], model.Unlimited)
	}
	return out
}

// enough is the least number that offers what is wanted.
func (o *offers) enough(want model.Room) int64 {
	of := func(offer []int64, want int64) int64 {
		i, _ := slices.BinarySearch(offer, want)
		return int64(i)
	}
	return max(of(o.memory, want.Memory), of(o.vcpus, want.VCPUs), of(o.vms, want.VMs))
}

// hostsFor is the least number of hosts that have room for the units, looking at each resource alone.
func (b *bound) hostsFor(units []int32) int64 {
	if len(units) == 0 {
		return 0
	}
	return b.hosts.enough(wanted(b.in, units))
}

// linksFor is the least number of links, those of racks included, that reach the units.
func (b *bound) linksFor(units []int32) int64 {
	if len(units) == 0 {
		return 0
	}
	want := wanted(b.in, units)
	return b.hosts.enough(want) + b.racks.enough(want)
}

// traffic is the sum over classes of bytes times what least says that their units need.
func (b *bound) traffic(units []int32, counts func(u int32) bool, least func(units []int32) int64) int64 {
	var sum int64
	g := &b.in.Classes
	var owners []int32
	for c := range g.Weight {
		owners = owners[:0]
		for _, u := range g.Pins(int32(c)) {
			if counts(int32(u)) {
				owners = append(owners, int32(u))
			}
		}
		sum += g.Weight[c] * least(owners)
	}
	for _, u := range units {
		sum += b.in.Units[u].Own * least([]int32{u})
	}
	return sum
}

// makespan is the time that the links take together, that of the source's, or the largest unit's on the fastest.
func (b *bound) makespan(units []int32, counts func(u int32) bool) int64 {
	var fastest, sum int64
	for _, v := range b.in.BPS {
		fastest = max(fastest, v)
		sum = min(sum+v, model.Unlimited)
	}
	if sum == 0 {
		return b.in.Floor
	}
	least := max(b.in.Floor, model.SendTime(b.traffic(units, counts, b.hostsFor), sum))
	for _, u := range units {
		bytes := b.in.Units[u].Own
		for _, c := range b.in.Classes.Classes(u) {
			bytes += b.in.Classes.Weight[c]
		}
		least = max(least, model.SendTime(bytes, fastest))
	}
	return least
}
