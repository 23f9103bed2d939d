package placement

// used is the memory that the units on a host take.
func (s *state) used(h int) int64 { return s.usedAfter(h, change{}) }

func (s *state) usedAfter(h int, c change) int64 {
	memory := s.load[h].claim + c.claim
	if s.in.shared {
		memory += s.load[h].bytes + c.bytes
	}
	return memory
}

// holds reports whether a host has room after a change.
func (s *state) holds(h int, c change) bool {
	l, room := &s.load[h], &s.in.room[h]
	return s.usedAfter(h, c) <= room.memory && l.vcpus+c.vcpus <= room.vcpus && l.vms+c.vms <= room.vms
}

// fits reports whether u, not there yet, may be put on h.
func (s *state) fits(u int32, h int) bool {
	if !s.in.allows(u, h) {
		return false
	}
	_, here := s.changes(u, h)
	return s.holds(h, here) && s.parted(u, h)
}

// parted reports whether every anti-affinity lets u join h.
func (s *state) parted(u int32, h int) bool {
	for _, i := range s.in.groupsOf[u] {
		g := &s.in.groups[i]
		d := g.domain[h]
		n := s.taken[i][d] + g.weight[u]
		if s.placed(u) && g.domain[s.At[u]] == d {
			n -= g.weight[u]
		}
		if n > g.limit {
			return false
		}
	}
	return true
}

// grouped reports whether the anti-affinities hold where u is.
func (s *state) grouped(u int32) bool {
	for _, i := range s.in.groupsOf[u] {
		g := &s.in.groups[i]
		if s.taken[i][g.domain[s.At[u]]] > g.limit {
			return false
		}
	}
	return true
}

// tradable reports whether u and v may trade hosts, room apart.
func (s *state) tradable(u, v int32) bool {
	a, b := int(s.At[u]), int(s.At[v])
	return a != b && s.in.allows(u, b) && s.in.allows(v, a)
}

// trade is how the loads of u's and v's hosts change when the two trade places. kept and held are what u's and v's host go
// on needing because of classes both own; see shared.
func (s *state) trade(u, v int32, kept, held change) (there, here change) {
	out, in := s.changes(u, int(s.At[v]))
	back, forth := s.changes(v, int(s.At[u]))
	return out.plus(forth).plus(kept), in.plus(back).plus(held)
}

// shared is what the hosts of u and v go on needing because of classes both own when the two trade places.
func (s *state) shared(u, v int32) (kept, held change) {
	kept.bytes, held.bytes = s.Common(u, v)
	if s.racks != nil {
		kept.uplink, held.uplink = s.uplinksKept(u, v)
	}
	return kept, held
}

// swap lets u and v trade hosts if room and constraints permit.
func (s *state) swap(u, v int32) bool {
	if !s.tradable(u, v) {
		return false
	}
	a, b := int(s.At[u]), int(s.At[v])
	kept, held := s.shared(u, v)
	if there, here := s.trade(u, v, kept, held); !s.holds(a, there) || !s.holds(b, here) {
		return false
	}
	s.move(u, b)
	s.move(v, a)
	if s.grouped(u) && s.grouped(v) {
		return true
	}
	s.move(v, b)
	s.move(u, a)
	return false
}
