package placement

import "slices"

// bound knows costs that no placement undercuts: every class needs as many hosts as its units fill by themselves. For
// each resource it holds the most that 1, 2, ... hosts can offer.
type bound struct {
	in                 *instance
	memory, vcpus, vms []int64
}

// least is the bound for all units.
func (b *bound) least() int64 { return b.of(func(int32) bool { return true }) }

// of is the bound for the units that count.
func (b *bound) of(counts func(u int32) bool) int64 {
	units := b.chosen(counts)
	switch b.in.p.Objective {
	case Hosts:
		return b.hosts(units)
	case Makespan:
		return b.makespan(units, counts)
	}
	return b.traffic(units, counts)
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
	b := &bound{in: in}
	b.memory = prefix(in.room, func(r room) int64 { return r.memory })
	b.vcpus = prefix(in.room, func(r room) int64 { return r.vcpus })
	b.vms = prefix(in.room, func(r room) int64 { return r.vms })
	return b
}

// prefix sums the hosts' offers, the greatest first.
func prefix(rooms []room, of func(room) int64) []int64 {
	var out []int64
	for _, r := range rooms {
		out = append(out, of(r))
	}
	slices.SortFunc(out, func(a, b int64) int { return int(max(-1, min(1, b-a))) })
	var sum int64
	for i := range out {
		sum = min(sum+out[i], unlimited)
		out[i] = sum
	}
	return out
}

// hosts is the least number of hosts that have room for the units, looking at each resource alone.
func (b *bound) hosts(units []int32) int64 {
	var memory, vcpus, vms int64
	if len(units) == 0 {
		return 0
	}
	for _, u := range units {
		unit := &b.in.units[u]
		memory += unit.claim
		if b.in.shared {
			memory += unit.own
		}
		vcpus += unit.vcpus
		vms += int64(unit.count)
	}
	return max(atLeast(b.memory, memory), atLeast(b.vcpus, vcpus), atLeast(b.vms, vms))
}

// atLeast is how many hosts it takes to offer what is wanted.
func atLeast(offer []int64, want int64) int64 {
	if want == 0 {
		return 1
	}
	i, _ := slices.BinarySearch(offer, want)
	return int64(i + 1)
}

// traffic is the sum over classes of bytes times hosts needed.
func (b *bound) traffic(units []int32, counts func(u int32) bool) int64 {
	var sum int64
	g := &b.in.classes
	var owners []int32
	for c := range g.weight {
		owners = owners[:0]
		for _, u := range g.pinsOf(int32(c)) {
			if counts(int32(u)) {
				owners = append(owners, int32(u))
			}
		}
		sum += g.weight[c] * b.hosts(owners)
	}
	for _, u := range units {
		sum += b.in.units[u].own
	}
	return sum
}

// makespan is the time that the links take together, or the largest unit alone on the fastest.
func (b *bound) makespan(units []int32, counts func(u int32) bool) int64 {
	var fastest, sum int64
	for _, v := range b.in.bps {
		fastest = max(fastest, v)
		sum = min(sum+v, unlimited)
	}
	if sum == 0 {
		return 0
	}
	least := sendTime(b.traffic(units, counts), sum)
	for _, u := range units {
		bytes := b.in.units[u].own
		for _, c := range b.in.classes.classesOf(u) {
			bytes += b.in.classes.weight[c]
		}
		least = max(least, sendTime(bytes, fastest))
	}
	return least
}
