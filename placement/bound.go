package placement

import (
	"cmp"
	"slices"
)

// bound knows costs that no placement undercuts: every class needs as many hosts, and racks, as its units fill by
// themselves.
type bound struct {
	in    *instance
	hosts offers
	racks offers // on top of the hosts without a rack
}

// offers is, for each resource, the most that so many hosts or racks can offer: the first without any.
type offers struct{ memory, vcpus, vms []int64 }

// of is the bound for the units that count.
func (b *bound) of(counts func(u int32) bool) int64 {
	units := b.chosen(counts)
	switch b.in.p.Objective {
	case Hosts:
		return b.hostsFor(units)
	case Makespan:
		return b.makespan(units, counts)
	}
	return b.traffic(units, counts, b.linksFor)
}

func (b *bound) chosen(counts func(u int32) bool) (units []int32) {
	for u := range b.in.units {
		if counts(int32(u)) {
			units = append(units, int32(u))
		}
	}
	return units
}

func newBound(in *instance) *bound {
	b := &bound{in: in, hosts: newOffers(room{}, in.room)}
	racks := make([]room, in.racks+1)
	for h, r := range in.room {
		all := &racks[in.uplink[h]]
		*all = room{min(all.memory+r.memory, unlimited), min(all.vcpus+r.vcpus, unlimited), min(all.vms+r.vms, unlimited)}
	}
	b.racks = newOffers(racks[in.racks], racks[:in.racks])
	return b
}

func newOffers(base room, rooms []room) offers {
	return offers{
		prefix(base, rooms, func(r room) int64 { return r.memory }),
		prefix(base, rooms, func(r room) int64 { return r.vcpus }),
		prefix(base, rooms, func(r room) int64 { return r.vms }),
	}
}

// prefix sums offers, the greatest first, on top of a base.
func prefix(base room, rooms []room, of func(room) int64) []int64 {
	out := []int64{of(base)}
	for _, r := range rooms {
		out = append(out, of(r))
	}
	slices.SortFunc(out[1:], func(a, b int64) int { return cmp.Compare(b, a) })
	for i := range out[1:] {
		out[i+1] = min(out[i]+out[i+1], unlimited)
	}
	return out
}

// enough is the least number that offers what is wanted.
func (o *offers) enough(want room) int64 {
	of := func(offer []int64, want int64) int64 {
		i, _ := slices.BinarySearch(offer, want)
		return int64(i)
	}
	return max(of(o.memory, want.memory), of(o.vcpus, want.vcpus), of(o.vms, want.vms))
}

// want is what units take together, wherever they are.
func (b *bound) want(units []int32) (sum room) {
	for _, u := range units {
		x := &b.in.units[u]
		sum.memory += x.claim
		if b.in.shared {
			sum.memory += x.own
		}
		sum.vcpus += x.vcpus
		sum.vms += int64(x.count)
	}
	return sum
}

// hostsFor is the least number of hosts that have room for the units, looking at each resource alone.
func (b *bound) hostsFor(units []int32) int64 {
	if len(units) == 0 {
		return 0
	}
	return b.hosts.enough(b.want(units))
}

// linksFor is the least number of links, those of racks included, that reach the units.
func (b *bound) linksFor(units []int32) int64 {
	if len(units) == 0 {
		return 0
	}
	want := b.want(units)
	return b.hosts.enough(want) + b.racks.enough(want)
}

// traffic is the sum over classes of bytes times what least says that their units need.
func (b *bound) traffic(units []int32, counts func(u int32) bool, least func(units []int32) int64) int64 {
	var sum int64
	g := &b.in.classes
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
		sum += b.in.units[u].own * least([]int32{u})
	}
	return sum
}

// makespan is the time that the links take together, that of the source's, or the largest unit's on the fastest.
func (b *bound) makespan(units []int32, counts func(u int32) bool) int64 {
	var fastest, sum int64
	for _, v := range b.in.bps {
		fastest = max(fastest, v)
		sum = min(sum+v, unlimited)
	}
	if sum == 0 {
		return b.in.floor
	}
	least := max(b.in.floor, sendTime(b.traffic(units, counts, b.hostsFor), sum))
	for _, u := range units {
		bytes := b.in.units[u].own
		for _, c := range b.in.classes.Classes(u) {
			bytes += b.in.classes.Weight[c]
		}
		least = max(least, sendTime(bytes, fastest))
	}
	return least
}
