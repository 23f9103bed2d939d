package placement

// With racks, the bytes that cross links are those to every host that needs a class and those to every rack that has such a
// host. A host without a rack hangs on the source's switch: in the spread over racks it stands in limbo.

// moveRack follows a unit that moves to another host.
func (s *state) moveRack(u int32, to int) {
	there, here := s.uplinksAfter(u, to)
	s.uplinks += there + here
	if rack := s.in.uplink[to]; rack != s.racks.At[u] {
		s.racks.Relocate(u, int(rack))
	}
}

// uplinksAfter is by how much the bytes to the rack of u's host and to that of h grow if u moves to h.
func (s *state) uplinksAfter(u int32, h int) (there, here int64) {
	from, to, none := s.racks.At[u], s.in.uplink[h], uint16(s.racks.Limbo)
	if from == to {
		return 0, 0
	}
	if from != none {
		there = -s.in.units[u].own - s.racks.Leave[u]
	}
	if to != none {
		here = s.in.units[u].own + s.racks.Arrival(u, int(to))
	}
	return there, here
}

// uplinksKept is the bytes that the racks of u and v go on needing because of classes both own when the two trade places.
func (s *state) uplinksKept(u, v int32) (kept, held int64) {
	a, b, none := s.racks.At[u], s.racks.At[v], uint16(s.racks.Limbo)
	if a == b {
		return 0, 0
	}
	kept, held = s.racks.Common(u, v)
	if a == none {
		kept = 0
	}
	if b == none {
		held = 0
	}
	return kept, held
}

// effort is what the state has been through.
func (s *state) effort() int {
	if s.racks == nil {
		return s.Touched()
	}
	return s.Touched() + s.racks.Touched()
}
