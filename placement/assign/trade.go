package assign

// Tradable reports whether u and v may trade hosts, room apart.
func (s *State) Tradable(u, v int32) bool {
	a, b := int(s.At[u]), int(s.At[v])
	return a != b && s.In.Allows(u, b) && s.In.Allows(v, a)
}

// Trade is how the loads of u's and v's hosts change when the two trade places. kept and held are what u's and v's host go
// on needing because of classes both own; see Shared.
func (s *State) Trade(u, v int32, kept, held Change) (there, here Change) {
	out, in := s.Changes(u, int(s.At[v]))
	back, forth := s.Changes(v, int(s.At[u]))
	return out.Plus(forth).Plus(kept), in.Plus(back).Plus(held)
}

// Shared is what the hosts of u and v go on needing because of classes both own when the two trade places.
func (s *State) Shared(u, v int32) (kept, held Change) {
	kept.Bytes, held.Bytes = s.Common(u, v)
	if s.racks != nil {
		kept.Uplink, held.Uplink = s.racks.kept(u, v)
	}
	return kept, held
}

// Swap lets u and v trade hosts if room and constraints permit.
func (s *State) Swap(u, v int32) bool {
	if !s.Tradable(u, v) {
		return false
	}
	a, b := int(s.At[u]), int(s.At[v])
	kept, held := s.Shared(u, v)
	if there, here := s.Trade(u, v, kept, held); !s.Holds(a, there) || !s.Holds(b, here) {
		return false
	}
	s.Move(u, b)
	s.Move(v, a)
	if s.Obeys(u) && s.Obeys(v) {
		return true
	}
	s.Move(v, b)
	s.Move(u, a)
	return false
}
