package multicast

import (
	"math/bits"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// assembly is a block being put together at a receiver. Source symbols lie where the payload will have them; parity is
// parked in the places of symbols that are missing, so that a block never takes more room than itself.
type assembly struct {
	cut     wire.Cut
	buffer  []byte // cap is the footprint
	at      []uint8
	stripes []incoming
	lacking int // stripes that are not complete
	placed  bool
}

// bitmap is a set of the ids of a stripe's symbols, or of its places.
type bitmap [fec.MaxSymbols / 64]uint64

func (b *bitmap) has(i int) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b *bitmap) set(i int)      { b[i/64] |= 1 << (i % 64) }
func (b *bitmap) unset(i int)    { b[i/64] &^= 1 << (i % 64) }

// lastUnset is the highest i < n that is not in the set, -1 if there is none.
func (b *bitmap) lastUnset(n int) int {
	for w := (n - 1) / 64; w >= 0; w-- {
		free := ^b[w]
		if rest := n - w*64; rest < 64 {
			free &= 1<<rest - 1
		}
		if free != 0 {
			return w*64 + 63 - bits.LeadingZeros64(free)
		}
	}
	return -1
}

// incoming is what has arrived of a stripe.
type incoming struct {
	first  int    // source symbol, of the block's
	k      int    // source symbols
	seen   bitmap // ids
	filled bitmap // places
	have   int
}

func newAssembly(c wire.Cut, buffer []byte) *assembly {
	a := &assembly{
		cut: c, buffer: buffer[:c.Bytes()], at: make([]uint8, c.Symbols),
		stripes: make([]incoming, c.Stripes), lacking: c.Stripes,
	}
	for i := range a.stripes {
		a.stripes[i].first, a.stripes[i].k = c.First(i), c.K(i)
	}
	return a
}

// slot is the room of a stripe's place: no bytes, with a capacity of one symbol.
func (a *assembly) slot(stripe, place int) []byte {
	off := (a.stripes[stripe].first + place) * a.cut.Size
	return a.buffer[off : off : off+a.cut.Size]
}

// needs tells whether symbol id of a stripe would bring the block further.
func (a *assembly) needs(stripe, id int) bool {
	st := &a.stripes[stripe]
	return st.have < st.k && !st.seen.has(id)
}

// place makes room for a symbol that is needed and gives its place.
func (a *assembly) place(stripe, id int) int {
	st := &a.stripes[stripe]
	if id >= st.k {
		return st.filled.lastUnset(st.k)
	}
	if st.filled.has(id) { // parity is parked here: it moves. There is room, for the stripe is not complete
		free := st.filled.lastUnset(st.k)
		copy(a.slot(stripe, free)[:a.cut.Size], a.slot(stripe, id)[:a.cut.Size])
		a.at[st.first+free] = a.at[st.first+id]
		st.filled.set(free)
		st.filled.unset(id)
	}
	return id
}

// add notes that the symbol is in its place.
func (a *assembly) add(stripe, id, place int) {
	st := &a.stripes[stripe]
	st.seen.set(id)
	st.filled.set(place)
	a.at[st.first+place] = uint8(id)
	st.have++
	if st.have == st.k {
		a.lacking--
	}
}

// restore computes the missing symbols of a complete block and gives its payload, which aliases the buffer.
func (a *assembly) restore(d *fec.Decoder) ([]byte, error) {
	for i := range a.stripes {
		first, end := a.cut.First(i), a.cut.First(i+1)
		slots := a.buffer[first*a.cut.Size : end*a.cut.Size]
		if err := d.Restore(slots, a.cut.Size, a.at[first:end]); err != nil {
			return nil, err
		}
	}
	return a.buffer[:a.cut.Length], nil
}

// pool keeps buffers of the footprint classes for use again, within a bound on those in use and kept.
type pool struct {
	limit int
	used  int
	kept  int
	free  map[int][][]byte
}

// get gives a buffer for a block of length bytes, nil if that would exceed the limit.
func (p *pool) get(length int) []byte {
	class := footprint(length)
	if p.used+class > p.limit {
		return nil
	}
	p.used += class
	if list := p.free[class]; len(list) > 0 {
		p.free[class] = list[:len(list)-1]
		p.kept -= class
		return list[len(list)-1]
	}
	if p.used+p.kept > p.limit {
		clear(p.free)
		p.kept = 0
	}
	return make([]byte, class)
}

// put takes a buffer back.
func (p *pool) put(b []byte) {
	b = b[:cap(b)]
	p.used -= len(b)
	p.kept += len(b)
	p.free[len(b)] = append(p.free[len(b)], b)
}
