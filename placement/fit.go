package placement

// used is the memory that the units on a host take.
func (s *state) used(h int) int64 {
	if s.in.shared {
		return s.load[h].claim + s.load[h].bytes
	}
	return s.load[h].claim
}

// need is the memory that u would take on a host in its present state.
func (s *state) need(u int32, h int) int64 {
	if s.in.shared {
		return s.in.units[u].claim + s.in.units[u].own + s.arrival(u, h)
	}
	return s.in.units[u].claim
}

// frees is the memory that u's leaving its host would free.
func (s *state) frees(u int32) int64 {
	if s.in.shared {
		return s.in.units[u].claim + s.in.units[u].own + s.leave[u]
	}
	return s.in.units[u].claim
}

// fits reports whether u, not there yet, may be put on h.
func (s *state) fits(u int32, h int) bool {
	unit, l, room := &s.in.units[u], &s.load[h], &s.in.room[h]
	return s.in.allows(u, h) &&
		l.vcpus+unit.vcpus <= room.vcpus &&
		l.vms+int64(unit.count) <= room.vms &&
		s.used(h)+s.need(u, h) <= room.memory &&
		(len(s.in.groupsOf[u]) == 0 || s.parted(u, h))
}

// parted reports whether every anti-affinity lets u join h.
func (s *state) parted(u int32, h int) bool {
	for _, i := range s.in.groupsOf[u] {
		g := &s.in.groups[i]
		d := g.domain[h]
		n := s.taken[i][d] + g.weight[u]
		if s.placed(u) && g.domain[s.host[u]] == d {
			n -= g.weight[u]
		}
		if n > g.limit {
			return false
		}
	}
	return true
}

// swappable reports whether u and v may trade hosts, going by sizes alone; fits must confirm anti-affinities and shared
// memory after v has left.
func (s *state) swappable(u, v int32) bool {
	a, b := int(s.host[u]), int(s.host[v])
	if !s.in.allows(u, b) || !s.in.allows(v, a) {
		return false
	}
	x, y := &s.in.units[u], &s.in.units[v]
	cpu, vms, mem := y.vcpus-x.vcpus, int64(y.count-x.count), y.claim-x.claim
	return s.load[a].vcpus+cpu <= s.in.room[a].vcpus && s.load[b].vcpus-cpu <= s.in.room[b].vcpus &&
		s.load[a].vms+vms <= s.in.room[a].vms && s.load[b].vms-vms <= s.in.room[b].vms &&
		(s.in.shared || s.load[a].claim+mem <= s.in.room[a].memory && s.load[b].claim-mem <= s.in.room[b].memory)
}

// feasible reports whether every unit is placed and every host holds what it has.
func (s *state) feasible() bool {
	for u := range s.host {
		if !s.placed(int32(u)) || !s.in.allows(int32(u), int(s.host[u])) {
			return false
		}
	}
	for h := range s.n {
		if s.over(h) {
			return false
		}
	}
	for i := range s.taken {
		for d, n := range s.taken[i] {
			if n > max(s.in.groups[i].limit, s.in.groups[i].start[d]) {
				return false
			}
		}
	}
	return true
}

func (s *state) over(h int) bool {
	l, room := &s.load[h], &s.in.room[h]
	return s.used(h) > room.memory || l.vcpus > room.vcpus || l.vms > room.vms
}
