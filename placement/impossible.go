package placement

import "slices"

// maxHostSets bounds the sets of hosts that impossible looks at.
const maxHostSets = 64

// impossible reports whether counting alone proves that the units cannot be placed: some unit fits no host that it is
// allowed on, or the units confined to some set of hosts want more than these have.
func (in *instance) impossible() bool {
	if len(in.empty) > 0 {
		return true
	}
	s := newState(in)
	for u := range int32(len(in.units)) {
		if !slices.ContainsFunc(in.hostList(u), func(h int) bool { return s.fits(u, h) }) {
			return true
		}
	}
	for _, set := range in.hostSets() {
		if in.overdrawn(set) {
			return true
		}
	}
	return false
}

func (in *instance) hostList(u int32) (hosts []int) {
	for h := range in.room {
		if in.allows(u, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// hostSets lists the sets of hosts that units are confined to.
func (in *instance) hostSets() (sets [][]uint64) {
	for u := range int32(len(in.units)) {
		set := in.hostsFor(u)
		if len(sets) < maxHostSets && !slices.ContainsFunc(sets, func(s []uint64) bool { return slices.Equal(s, set) }) {
			sets = append(sets, set)
		}
	}
	return sets
}

// overdrawn reports whether the units confined to a set of hosts want more than these have.
func (in *instance) overdrawn(set []uint64) bool {
	var want, have room
	inside := make([]bool, len(in.units))
	for u := range int32(len(in.units)) {
		if inside[u] = within(in.hostsFor(u), set); inside[u] {
			x := &in.units[u]
			want.memory, want.vcpus, want.vms = want.memory+x.claim, want.vcpus+x.vcpus, want.vms+int64(x.count)
			if in.shared {
				want.memory += x.own
			}
		}
	}
	if in.shared {
		want.memory += in.onceWithin(inside)
	}
	for h, r := range in.room {
		if set[h>>6]>>(h&63)&1 != 0 {
			have.memory, have.vcpus, have.vms = have.memory+r.memory, min(have.vcpus+r.vcpus, unlimited), min(have.vms+r.vms, unlimited)
		}
	}
	return want.memory > have.memory || want.vcpus > have.vcpus || want.vms > have.vms || in.crowded(set, inside)
}

func within(a, b []uint64) bool {
	for i := range a {
		if a[i]&^b[i] != 0 {
			return false
		}
	}
	return true
}

// onceWithin is the bytes of the classes that some of the units own, each once.
func (in *instance) onceWithin(inside []bool) (sum int64) {
	g := &in.classes
	for c, w := range g.Weight {
		if slices.ContainsFunc(g.Pins(int32(c)), func(u uint16) bool { return inside[u] }) {
			sum += w
		}
	}
	return sum
}

// crowded reports whether an anti-affinity has more members among the units than the hosts may take.
func (in *instance) crowded(set []uint64, inside []bool) bool {
	for i := range in.groups {
		g := &in.groups[i]
		var want, have int64
		for u, w := range g.weight {
			if inside[u] {
				want += w
			}
		}
		seen := map[int32]bool{}
		for h, d := range g.domain {
			if set[h>>6]>>(h&63)&1 != 0 && !seen[d] {
				seen[d] = true
				have += max(0, g.limit-g.start[d])
			}
		}
		if want > have {
			return true
		}
	}
	return false
}
