package placement

// nowhere is the host of a unit that is not placed.
const nowhere = -1

// state is an assignment of units to hosts with everything that is needed to judge a move in constant time. Moving a unit
// u from its host to h changes the traffic by enter[u][h] - leave[u].
type state struct {
	in   *instance
	n    int // hosts
	host []int32

	seat  []uint32  // class, host -> how many of its units are there, and the xor of their numbers
	leave []int64   // unit -> bytes of classes that only it needs on its host
	enter []int64   // unit, host -> bytes of its classes that the host does not need yet
	load  []load    // of each host
	taken [][]int64 // group, domain -> members there, residents included

	traffic int64 // without the units' own bytes
}

// load is what the units on a host take.
type load struct {
	claim, vcpus, vms int64
	bytes             int64 // of classes, units' own included
	units             int
}

// seat packs count and xor.
const (
	seatOne  = 1 << 16
	seatUnit = 1<<16 - 1
)

// newState returns the state with no unit placed.
func newState(in *instance) *state {
	s := &state{in: in, n: len(in.room), host: make([]int32, len(in.units)), load: make([]load, len(in.room))}
	s.seat = make([]uint32, len(in.classes.weight)*s.n)
	s.leave = make([]int64, len(in.units))
	s.enter = make([]int64, len(in.units)*s.n)
	for u := range in.units {
		s.host[u] = nowhere
		var sum int64
		for _, c := range in.classes.classesOf(int32(u)) {
			sum += in.classes.weight[c]
		}
		for h := range s.n {
			s.enter[u*s.n+h] = sum
		}
	}
	for i := range in.groups {
		s.taken = append(s.taken, append([]int64(nil), in.groups[i].start...))
	}
	return s
}

// gain is how much less traffic there is after moving u to h.
func (s *state) gain(u int32, h int) int64 { return s.leave[u] - s.enter[int(u)*s.n+h] }

// move puts a unit on another host, or nowhere.
func (s *state) move(u int32, to int) {
	if from := int(s.host[u]); from != nowhere {
		s.remove(u, from)
	}
	if s.host[u] = int32(to); to != nowhere {
		s.add(u, to)
	}
}

func (s *state) add(u int32, h int) {
	s.occupy(u, h, 1)
	g := &s.in.classes
	var leave int64
	for _, c := range g.classesOf(u) {
		seat := &s.seat[int(c)*s.n+h]
		old := *seat
		*seat = (old + seatOne) ^ uint32(u)
		w := g.weight[c]
		switch old >> 16 {
		case 0:
			leave += w
			s.traffic += w
			s.load[h].bytes += w
			for _, v := range g.pinsOf(c) {
				s.enter[int(v)*s.n+h] -= w
			}
		case 1:
			s.leave[old&seatUnit] -= w
		}
	}
	s.leave[u] = leave
}

func (s *state) remove(u int32, h int) {
	s.occupy(u, h, -1)
	g := &s.in.classes
	for _, c := range g.classesOf(u) {
		seat := &s.seat[int(c)*s.n+h]
		left := (*seat - seatOne) ^ uint32(u)
		*seat = left
		w := g.weight[c]
		switch left >> 16 {
		case 0:
			s.traffic -= w
			s.load[h].bytes -= w
			for _, v := range g.pinsOf(c) {
				s.enter[int(v)*s.n+h] += w
			}
		case 1:
			s.leave[left&seatUnit] += w
		}
	}
	s.leave[u] = 0
}

// occupy counts a unit on a host, or with sign -1 no longer.
func (s *state) occupy(u int32, h int, sign int64) {
	unit, l := &s.in.units[u], &s.load[h]
	l.claim += sign * unit.claim
	l.vcpus += sign * unit.vcpus
	l.vms += sign * int64(len(unit.vms))
	l.bytes += sign * unit.own
	l.units += int(sign)
	for _, g := range s.in.groupsOf[u] {
		s.taken[g][s.in.groups[g].domain[h]] += sign * s.in.groups[g].weight[u]
	}
}
