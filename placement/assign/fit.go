package assign

// Changes are those of u's host and of h if u moved there.
func (s *State) Changes(u int32, h int) (there, here Change) {
	x := &s.In.Units[u]
	n := int64(x.Count)
	there = Change{-x.Claim, -x.Own - s.Leave[u], 0, -x.VCPUs, -n}
	here = Change{x.Claim, x.Own + s.Arrival(u, h), 0, x.VCPUs, n}
	if s.racks != nil {
		there.Uplink, here.Uplink = s.racks.after(u, h)
	}
	return there, here
}

// Used is the memory that the units on a host take.
func (s *State) Used(h int) int64 { return s.UsedAfter(h, Change{}) }

// UsedAfter is the memory that the units on a host take after a change.
func (s *State) UsedAfter(h int, c Change) int64 {
	memory := s.Loads[h].Claim + c.Claim
	if s.In.Shared {
		memory += s.Loads[h].Bytes + c.Bytes
	}
	return memory
}

// Holds reports whether a host has room after a change.
func (s *State) Holds(h int, c Change) bool {
	l, room := &s.Loads[h], &s.In.Room[h]
	return s.UsedAfter(h, c) <= room.Memory && l.VCPUs+c.VCPUs <= room.VCPUs && l.VMs+c.VMs <= room.VMs
}

// Fits reports whether u, not there yet, may be put on h.
func (s *State) Fits(u int32, h int) bool {
	if !s.In.Allows(u, h) {
		return false
	}
	_, here := s.Changes(u, h)
	return s.Holds(h, here) && s.Parted(u, h)
}
