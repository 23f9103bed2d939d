package placement

import "slices"

// nowhere stands for no host.
const nowhere = -1

// state is an assignment of units to hosts with everything that is needed to judge a move in constant time: moving a unit
// u from its host to h changes the traffic by arrival(u, h) - leave[u]. Units that are not placed are in limbo, which is
// one more host, without capacity, whose bytes do not count.
type state struct {
	in    *instance
	n     int // hosts
	limbo int
	host  []uint16

	leave []int64   // unit -> bytes of classes that only it needs on its host
	enter []int64   // host, unit -> bytes of the unit's classes that the host does not need yet
	seat  []uint32  // row, host -> how many units of a large class are there, and the xor of their numbers
	load  []load    // of each host
	taken [][]int64 // group, domain -> members there, residents included

	touched int // owners and classes visited so far: the measure of effort
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
	n := len(in.room)
	s := &state{in: in, n: n, limbo: n, host: make([]uint16, len(in.units)), load: make([]load, n+1)}
	s.leave = make([]int64, len(in.units))
	s.enter = make([]int64, len(in.units)*(n+1))
	s.seat = make([]uint32, in.classes.rows*(n+1))
	for u := range in.units {
		s.host[u] = uint16(n)
		s.occupy(int32(u), n, 1)
		for _, c := range in.classes.classesOf(int32(u)) {
			s.enter[u] += in.classes.weight[c]
		}
		for _, c := range in.classes.largesOf(int32(u)) {
			seat := &s.seat[int(c.row)*(n+1)+n]
			*seat = (*seat + seatOne) ^ uint32(u)
		}
	}
	for h := 1; h < n; h++ {
		copy(s.enter[h*len(in.units):], s.enter[:len(in.units)])
	}
	clear(s.column(n))
	for _, w := range in.classes.weight {
		s.load[n].bytes += w
	}
	for i := range in.groups {
		s.taken = append(s.taken, slices.Clone(in.groups[i].start))
	}
	return s
}

// column is the part of enter for one host.
func (s *state) column(h int) []int64 { return s.enter[h*len(s.host) : (h+1)*len(s.host)] }

// adopt moves every unit where another assignment has it.
func (s *state) adopt(host []uint16) {
	for u, h := range host {
		s.move(int32(u), int(h))
	}
}

// placed reports whether u has a host.
func (s *state) placed(u int32) bool { return int(s.host[u]) != s.limbo }

// arrival is the traffic that u would add on h.
func (s *state) arrival(u int32, h int) int64 { return s.enter[h*len(s.host)+int(u)] }

// gain is how much less traffic there is after moving u to h.
func (s *state) gain(u int32, h int) int64 { return s.leave[u] - s.arrival(u, h) }

// traffic is the bytes that all hosts receive together.
func (s *state) traffic() (sum int64) {
	for h := range s.n {
		sum += s.load[h].bytes
	}
	return sum
}

// move puts a unit on another host, or into limbo.
func (s *state) move(u int32, to int) {
	from := int(s.host[u])
	if from == to {
		return
	}
	s.host[u] = uint16(to)
	m := crossing{s.column(from), s.column(to), uint16(from), uint16(to), 0, 0}
	s.movePairs(u, &m)
	s.moveSmalls(u, &m)
	s.moveLarges(u, &m)
	m.left[u] += m.vacated
	m.joined[u] -= m.occupied
	s.leave[u] = m.occupied
	s.load[from].bytes -= m.vacated
	s.load[to].bytes += m.occupied
	s.occupy(u, from, -1)
	s.occupy(u, to, 1)
}

// crossing is a move in progress.
type crossing struct {
	left, joined      []int64 // columns
	from, to          uint16
	vacated, occupied int64 // bytes no longer needed there, bytes now needed here
}

func (s *state) movePairs(u int32, m *crossing) {
	pairs := s.in.classes.pairsOf(u)
	left, joined, vacated, occupied := m.left, m.joined, m.vacated, m.occupied
	for i := range pairs {
		w, v := pairs[i].weight, pairs[i].mate
		there, here := w&-int64(same(s.host[v], m.from)), w&-int64(same(s.host[v], m.to))
		s.leave[v] += there - here
		left[v] += w - there
		joined[v] -= w - here
		vacated += w - there
		occupied += w - here
	}
	m.vacated, m.occupied = vacated, occupied
	s.touched += len(pairs)
}

// moveSmalls has no branches beside its loops: which mates are on the two hosts is as good as random, and a processor that
// guesses wrong loses more time than all the arithmetic takes.
func (s *state) moveSmalls(u int32, m *crossing) {
	g := &s.in.classes
	host, leave, left, joined := s.host, s.leave[:len(s.host)], m.left[:len(s.host)], m.joined[:len(s.host)]
	touched := 0
	for _, c := range g.smallsOf(u) {
		mates := g.mates[c.from:c.to]
		var there, here, thereUnit, hereUnit uint32
		for _, v := range mates {
			h := host[v]
			t, n := same(h, m.from), same(h, m.to)
			there += t
			here += n
			thereUnit += uint32(v) & -t
			hereUnit += uint32(v) & -n
		}
		vacated, occupied := c.weight&ifZero(there), c.weight&ifZero(here)
		m.vacated += vacated
		m.occupied += occupied
		for _, v := range mates {
			left[v] += vacated
			joined[v] -= occupied
		}
		one := ifZero(there ^ 1)
		leave[thereUnit&uint32(one)] += c.weight & one
		one = ifZero(here ^ 1)
		leave[hereUnit&uint32(one)] -= c.weight & one
		touched += len(mates)
	}
	s.touched += touched
}

// same is 1 if two hosts are the same, else 0.
func same(a, b uint16) uint32 { return (uint32(a^b) - 1) >> 31 }

// ifZero is all ones if n, a small number, is 0, else 0.
func ifZero(n uint32) int64 { return int64(int32(n-1)) >> 63 }

func (s *state) moveLarges(u int32, m *crossing) {
	g := &s.in.classes
	for _, c := range g.largesOf(u) {
		seats := s.seat[int(c.row)*(s.n+1) : int(c.row+1)*(s.n+1)]
		here := seats[m.to]
		seats[m.to] = (here + seatOne) ^ uint32(u)
		there := (seats[m.from] - seatOne) ^ uint32(u)
		seats[m.from] = there
		s.cross(u, m, c, there, here)
	}
	s.touched += 4 * len(g.largesOf(u))
}

// cross accounts for a large class, given its seats, u not counted, on the host that u leaves and on the one it joins.
func (s *state) cross(u int32, m *crossing, c large, there, here uint32) {
	pins := s.in.classes.pinsOf(c.class)
	switch there >> 16 {
	case 0:
		m.vacated += c.weight
		add(m.left, pins, c.weight)
		m.left[u] -= c.weight // move settles u by itself
		s.touched += len(pins)
	case 1:
		s.leave[there&seatUnit] += c.weight
	}
	switch here >> 16 {
	case 0:
		m.occupied += c.weight
		add(m.joined, pins, -c.weight)
		m.joined[u] += c.weight
		s.touched += len(pins)
	case 1:
		s.leave[here&seatUnit] -= c.weight
	}
}

func add(column []int64, units []uint16, w int64) {
	for _, v := range units {
		column[v] += w
	}
}

// occupy counts a unit's sizes on a host, or with sign -1 no longer.
func (s *state) occupy(u int32, h int, sign int64) {
	unit, l := &s.in.units[u], &s.load[h]
	l.claim += sign * unit.claim
	l.vcpus += sign * unit.vcpus
	l.vms += sign * int64(unit.count)
	l.bytes += sign * unit.own
	l.units += int(sign)
	if h == s.limbo {
		return
	}
	for _, g := range s.in.groupsOf[u] {
		s.taken[g][s.in.groups[g].domain[h]] += sign * s.in.groups[g].weight[u]
	}
}

// members lists the units of each host.
func (s *state) members() [][]int32 {
	out := make([][]int32, s.n)
	for u, h := range s.host {
		if int(h) != s.limbo {
			out[h] = append(out[h], int32(u))
		}
	}
	return out
}
