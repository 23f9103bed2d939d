package placement

// spread tells where units are among a number of places, be it hosts or racks, with everything that is needed to judge a
// move in constant time: moving a unit u from its place to p adds arrival(u, p) - leave[u] to the bytes that all places need.
// Units that are nowhere are in limbo, which is one more place.
type spread struct {
	classes *hypergraph
	limbo   int // also the number of places
	at      []uint16

	leave []int64  // unit -> bytes of classes that only it needs at its place
	enter []int64  // place, unit -> bytes of the unit's classes that the place does not need yet
	seat  []uint32 // row, place -> how many units of a large class are there, and the xor of their numbers

	touched int // owners and classes visited so far: the measure of effort
}

// A seat packs count and xor.
const (
	seatOne  = 1 << 16
	seatUnit = 1<<16 - 1
)

// newSpread returns the spread with all units in limbo.
func newSpread(g *hypergraph, units, places int) spread {
	s := spread{classes: g, limbo: places, at: make([]uint16, units), leave: make([]int64, units)}
	s.enter = make([]int64, units*(places+1))
	s.seat = make([]uint32, g.rows*(places+1))
	for u := range s.at {
		s.at[u] = uint16(places)
		for _, c := range g.classesOf(int32(u)) {
			s.enter[u] += g.weight[c]
		}
		for _, c := range g.largesOf(int32(u)) {
			seat := &s.seat[int(c.row)*(places+1)+places]
			*seat = (*seat + seatOne) ^ uint32(u)
		}
	}
	for p := 1; p < places; p++ {
		copy(s.column(p), s.enter[:units])
	}
	clear(s.column(places))
	return s
}

// bytes is the memory that a spread takes.
func (g *hypergraph) spreadBytes(units, places int) int { return (8*units + 4*g.rows) * (places + 1) }

// column is the part of enter for one place.
func (s *spread) column(p int) []int64 { return s.enter[p*len(s.at) : (p+1)*len(s.at)] }

// arrival is the bytes that p would need on top if u came.
func (s *spread) arrival(u int32, p int) int64 { return s.enter[p*len(s.at)+int(u)] }

// relocate puts a unit at another place, and returns the bytes no longer needed where it was and those needed on top
// where it is now.
func (s *spread) relocate(u int32, to int) (vacated, occupied int64) {
	from := int(s.at[u])
	s.at[u] = uint16(to)
	m := crossing{s.column(from), s.column(to), uint16(from), uint16(to), 0, 0}
	s.movePairs(u, &m)
	s.moveSmalls(u, &m)
	s.moveLarges(u, &m)
	m.left[u] += m.vacated
	m.joined[u] -= m.occupied
	s.leave[u] = m.occupied
	return m.vacated, m.occupied
}

// crossing is a move in progress.
type crossing struct {
	left, joined      []int64 // columns
	from, to          uint16
	vacated, occupied int64 // bytes no longer needed there, bytes now needed here
}

func (s *spread) movePairs(u int32, m *crossing) {
	pairs := s.classes.pairsOf(u)
	left, joined, vacated, occupied := m.left, m.joined, m.vacated, m.occupied
	for i := range pairs {
		w, v := pairs[i].weight, pairs[i].mate
		there, here := w&-int64(same(s.at[v], m.from)), w&-int64(same(s.at[v], m.to))
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
func (s *spread) moveSmalls(u int32, m *crossing) {
	g := s.classes
	host, leave, left, joined := s.at, s.leave[:len(s.at)], m.left[:len(s.at)], m.joined[:len(s.at)]
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

func (s *spread) moveLarges(u int32, m *crossing) {
	g := s.classes
	for _, c := range g.largesOf(u) {
		seats := s.seat[int(c.row)*(s.limbo+1) : int(c.row+1)*(s.limbo+1)]
		here := seats[m.to]
		seats[m.to] = (here + seatOne) ^ uint32(u)
		there := (seats[m.from] - seatOne) ^ uint32(u)
		seats[m.from] = there
		s.cross(u, m, c, there, here)
	}
	s.touched += 4 * len(g.largesOf(u))
}

// cross accounts for a large class, given its seats, u not counted, on the host that u leaves and on the one it joins.
func (s *spread) cross(u int32, m *crossing, c large, there, here uint32) {
	pins := s.classes.pinsOf(c.class)
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

// common is the bytes of classes of both u and v that only u needs at its place, and that only v needs at
// its own.
func (s *spread) common(u, v int32) (kept, held int64) {
	g := s.classes
	from, to := s.at[u], s.at[v]
	for _, p := range g.pairsOf(u) {
		if int32(p.mate) == v {
			kept += p.weight
			held += p.weight
		}
	}
	for _, c := range g.smallsOf(u) {
		mates := g.mates[c.from:c.to]
		found := uint32(0)
		for _, m := range mates {
			found |= same(m, uint16(v))
		}
		s.touched += len(mates) / 2
		if found == 0 {
			continue
		}
		var there, here uint32
		for _, m := range mates {
			there += same(s.at[m], from)
			here += same(s.at[m], to)
		}
		kept += c.weight & ifZero(there)
		held += c.weight & ifZero(here-1)
	}
	for _, c := range g.largesOf(u) {
		seats := s.seat[int(c.row)*(s.limbo+1):]
		there, here := seats[from]>>16, seats[to]>>16
		if here > 0 && (there == 1 || here == 1) && g.owns(v, c.class) {
			kept += c.weight & ifZero(there-1)
			held += c.weight & ifZero(here-1)
		}
	}
	return kept, held
}
