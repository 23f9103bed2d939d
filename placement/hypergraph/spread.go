package hypergraph

// Spread tells where units are among a number of places, be it hosts or racks, with everything that is needed to judge a
// move in constant time: moving a unit u from its place to p adds Arrival(u, p) - Leave[u] to the bytes that all places need.
// Units that are nowhere are in limbo, which is one more place.
type Spread struct {
	classes *Graph
	Limbo   int // also the number of places
	At      []uint16

	Leave []int64  // unit -> bytes of classes that only it needs at its place
	enter []int64  // place, unit -> bytes of the unit's classes that the place does not need yet
	seat  []uint32 // row, place -> how many units of a large class are there, and the xor of their numbers

	touched int // owners and classes visited so far
}

// A seat packs count and xor.
const (
	seatOne  = 1 << 16
	seatUnit = 1<<16 - 1
)

// NewSpread returns the spread with all units in limbo.
func NewSpread(g *Graph, places int) Spread {
	units := g.Units()
	s := Spread{classes: g, Limbo: places, At: make([]uint16, units), Leave: make([]int64, units)}
	s.enter = make([]int64, units*(places+1))
	s.seat = make([]uint32, g.rows*(places+1))
	for u := range s.At {
		s.At[u] = uint16(places)
		for _, c := range g.Classes(int32(u)) {
			s.enter[u] += g.Weight[c]
		}
		for _, c := range g.Larges(int32(u)) {
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

// SpreadBytes is the memory that a spread among so many places takes.
func (g *Graph) SpreadBytes(places int) int { return (8*g.Units() + 4*g.rows) * (places + 1) }

// Touched is how many owners and classes the spread has visited: the measure of effort.
func (s *Spread) Touched() int { return s.touched }

// Crowd is how many units of a large class are at a place.
func (s *Spread) Crowd(c Large, p int) int { return int(s.seat[int(c.row)*(s.Limbo+1)+p] >> 16) }

// column is the part of enter for one place.
func (s *Spread) column(p int) []int64 { return s.enter[p*len(s.At) : (p+1)*len(s.At)] }

// Arrival is the bytes that p would need on top if u came.
func (s *Spread) Arrival(u int32, p int) int64 { return s.enter[p*len(s.At)+int(u)] }

// Relocate puts a unit at another place, and returns the bytes no longer needed where it was and those needed on top
// where it is now.
func (s *Spread) Relocate(u int32, to int) (vacated, occupied int64) {
	from := int(s.At[u])
	s.At[u] = uint16(to)
	m := crossing{s.column(from), s.column(to), uint16(from), uint16(to), 0, 0}
	s.movePairs(u, &m)
	s.moveSmalls(u, &m)
	s.moveLarges(u, &m)
	m.left[u] += m.vacated
	m.joined[u] -= m.occupied
	s.Leave[u] = m.occupied
	return m.vacated, m.occupied
}

// crossing is a move in progress.
type crossing struct {
	left, joined      []int64 // columns
	from, to          uint16
	vacated, occupied int64 // bytes no longer needed there, bytes now needed here
}

func (s *Spread) movePairs(u int32, m *crossing) {
	pairs := s.classes.Pairs(u)
	left, joined, vacated, occupied := m.left, m.joined, m.vacated, m.occupied
	for i := range pairs {
		w, v := pairs[i].weight, pairs[i].Mate
		there, here := w&-int64(same(s.At[v], m.from)), w&-int64(same(s.At[v], m.to))
		s.Leave[v] += there - here
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
func (s *Spread) moveSmalls(u int32, m *crossing) {
	g := s.classes
	host, leave, left, joined := s.At, s.Leave[:len(s.At)], m.left[:len(s.At)], m.joined[:len(s.At)]
	touched := 0
	for _, c := range g.Smalls(u) {
		mates := g.Mates(c)
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

func (s *Spread) moveLarges(u int32, m *crossing) {
	g := s.classes
	for _, c := range g.Larges(u) {
		seats := s.seat[int(c.row)*(s.Limbo+1) : int(c.row+1)*(s.Limbo+1)]
		here := seats[m.to]
		seats[m.to] = (here + seatOne) ^ uint32(u)
		there := (seats[m.from] - seatOne) ^ uint32(u)
		seats[m.from] = there
		s.cross(u, m, c, there, here)
	}
	s.touched += 4 * len(g.Larges(u))
}

// cross accounts for a large class, given its seats, u not counted, on the host that u leaves and on the one it joins.
func (s *Spread) cross(u int32, m *crossing, c Large, there, here uint32) {
	pins := s.classes.Pins(c.Class)
	switch there >> 16 {
	case 0:
		m.vacated += c.weight
		add(m.left, pins, c.weight)
		m.left[u] -= c.weight // move settles u by itself
		s.touched += len(pins)
	case 1:
		s.Leave[there&seatUnit] += c.weight
	}
	switch here >> 16 {
	case 0:
		m.occupied += c.weight
		add(m.joined, pins, -c.weight)
		m.joined[u] += c.weight
		s.touched += len(pins)
	case 1:
		s.Leave[here&seatUnit] -= c.weight
	}
}

func add(column []int64, units []uint16, w int64) {
	for _, v := range units {
		column[v] += w
	}
}

// Common is the bytes of classes of both u and v that only u needs at its place, and that only v needs at
// its own.
func (s *Spread) Common(u, v int32) (kept, held int64) {
	g := s.classes
	from, to := s.At[u], s.At[v]
	for _, p := range g.Pairs(u) {
		if int32(p.Mate) == v {
			kept += p.weight
			held += p.weight
		}
	}
	for _, c := range g.Smalls(u) {
		mates := g.Mates(c)
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
			there += same(s.At[m], from)
			here += same(s.At[m], to)
		}
		kept += c.weight & ifZero(there)
		held += c.weight & ifZero(here-1)
	}
	for _, c := range g.Larges(u) {
		seats := s.seat[int(c.row)*(s.Limbo+1):]
		there, here := seats[from]>>16, seats[to]>>16
		if here > 0 && (there == 1 || here == 1) && g.owns(v, c.Class) {
			kept += c.weight & ifZero(there-1)
			held += c.weight & ifZero(here-1)
		}
	}
	return kept, held
}
