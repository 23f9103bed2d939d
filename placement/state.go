package placement

import "slices"

// nowhere is the host of a unit that is not placed.
const nowhere = -1

// state is an assignment of units to hosts with everything that is needed to judge a move in constant time: moving a unit
// u from its host to h changes the traffic by enter(u, h) - leave[u].
type state struct {
	in   *instance
	n    int // hosts
	host []int32

	seat  []uint32  // of large classes, by row and host: how many of its units are there, and the xor of their numbers
	leave []int64   // unit -> bytes of classes that only it needs on its host
	enter []int64   // host, unit -> bytes of the unit's classes that the host does not need yet
	load  []load    // of each host
	taken [][]int64 // group, domain -> members there, residents included

	traffic int64 // without the units' own bytes
	touched int   // owners and classes visited so far: the measure of effort
}

// load is what the units on a host take.
type load struct {
	claim, vcpus, vms int64
	bytes             int64 // of classes, units' own included
	units             int
}

// A seat packs count and xor.
const (
	seatOne  = 1 << 16
	seatUnit = 1<<16 - 1
)

// newState returns the state with no unit placed.
func newState(in *instance) *state {
	s := &state{in: in, n: len(in.room), host: make([]int32, len(in.units)), load: make([]load, len(in.room))}
	s.seat = make([]uint32, in.classes.rows*s.n)
	s.leave = make([]int64, len(in.units))
	s.enter = make([]int64, len(in.units)*s.n)
	for u := range in.units {
		s.host[u] = nowhere
		for _, c := range in.classes.classesOf(int32(u)) {
			s.enter[u] += in.classes.weight[c]
		}
	}
	for h := 1; h < s.n; h++ {
		copy(s.enter[h*len(in.units):], s.enter[:len(in.units)])
	}
	for i := range in.groups {
		s.taken = append(s.taken, slices.Clone(in.groups[i].start))
	}
	return s
}

// clear takes all units off their hosts.
func (s *state) clear() {
	for u, h := range s.host {
		if h != nowhere {
			s.move(int32(u), nowhere)
		}
	}
}

// adopt moves every unit where another assignment has it.
func (s *state) adopt(host []int32) {
	for u, h := range host {
		if s.host[u] != h {
			s.move(int32(u), int(h))
		}
	}
}

// arrival is the traffic that u would add on h.
func (s *state) arrival(u int32, h int) int64 { return s.enter[h*len(s.host)+int(u)] }

// gain is how much less traffic there is after moving u to h.
func (s *state) gain(u int32, h int) int64 { return s.leave[u] - s.arrival(u, h) }

// move puts a unit on another host, or nowhere.
func (s *state) move(u int32, to int) {
	if from := int(s.host[u]); from != nowhere {
		s.host[u] = nowhere
		s.remove(u, from)
	}
	if to != nowhere {
		s.add(u, to)
		s.host[u] = int32(to)
	}
}

// add counts u on h, where s.host does not have it yet.
func (s *state) add(u int32, h int) {
	s.occupy(u, h, 1)
	g := &s.in.classes
	enter := s.enter[h*len(s.host) : (h+1)*len(s.host)]
	var leave int64
	for _, c := range g.classesOf(u) {
		w := g.weight[c]
		pins := g.pinsOf(c)
		others, last := s.others(c, pins, u, h, seatOne)
		switch others {
		case 0:
			leave += w
			for _, v := range pins {
				enter[v] -= w
			}
		case 1:
			s.leave[last] -= w
		}
		s.touched += len(pins)
	}
	s.leave[u] = leave
	s.traffic += leave
	s.load[h].bytes += leave
}

// remove no longer counts u on h, where s.host does not have it any more.
func (s *state) remove(u int32, h int) {
	s.occupy(u, h, -1)
	g := &s.in.classes
	enter := s.enter[h*len(s.host) : (h+1)*len(s.host)]
	for _, c := range g.classesOf(u) {
		w := g.weight[c]
		pins := g.pinsOf(c)
		others, last := s.others(c, pins, u, h, -seatOne&(1<<32-1))
		switch others {
		case 0:
			for _, v := range pins {
				enter[v] += w
			}
		case 1:
			s.leave[last] += w
		}
		s.touched += len(pins)
	}
	s.traffic -= s.leave[u]
	s.load[h].bytes -= s.leave[u]
	s.leave[u] = 0
}

// others tells how many units of a class other than u are on h: 0, 1 or more, and which if it is one. A large class
// remembers by its seat, which takes or loses u by step; the owners of a small one are quicker asked.
func (s *state) others(c int32, pins []uint16, u int32, h int, step uint32) (n, last uint32) {
	if row := s.in.classes.row[c]; row >= 0 {
		seat := &s.seat[int(row)*s.n+h]
		old := *seat
		*seat = (old + step) ^ uint32(u)
		if step != seatOne {
			old = *seat
		}
		return old >> 16, old & seatUnit
	}
	for _, v := range pins {
		if s.host[v] == int32(h) {
			if n++; n > 1 {
				return n, 0
			}
			last = uint32(v)
		}
	}
	return n, last
}

// occupy counts a unit's sizes on a host, or with sign -1 no longer.
func (s *state) occupy(u int32, h int, sign int64) {
	unit, l := &s.in.units[u], &s.load[h]
	l.claim += sign * unit.claim
	l.vcpus += sign * unit.vcpus
	l.vms += sign * int64(unit.count)
	l.bytes += sign * unit.own
	l.units += int(sign)
	for _, g := range s.in.groupsOf[u] {
		s.taken[g][s.in.groups[g].domain[h]] += sign * s.in.groups[g].weight[u]
	}
}
