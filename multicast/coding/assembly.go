package coding

import (
	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Assembly is a block being put together at a receiver. Source symbols lie where the payload will have them; parity is
// parked in the places of symbols that are missing, so that a block never takes more room than itself.
type Assembly struct {
	cut     wire.Cut
	buffer  []byte // cap is the footprint; nil = released
	at      []uint8
	stripes []incoming
	lacking int // stripes that are not complete
}

// incoming is what has arrived of a stripe.
type incoming struct {
	first  int    // source symbol, of the block's
	k      int    // source symbols
	seen   bitmap // ids
	filled bitmap // places
	have   int
}

// NewAssembly begins to put together a block with that cut in a buffer of a Pool.
func NewAssembly(c wire.Cut, buffer []byte) *Assembly {
	a := &Assembly{
		cut: c, buffer: buffer[:c.Bytes()], at: make([]uint8, c.Symbols),
		stripes: make([]incoming, c.Stripes), lacking: c.Stripes,
	}
	for i := range a.stripes {
		a.stripes[i].first, a.stripes[i].k = c.First(i), c.K(i)
	}
	return a
}

// Cut is how the block was divided.
func (a *Assembly) Cut() wire.Cut { return a.cut }

// Complete tells whether the block can be restored.
func (a *Assembly) Complete() bool { return a.lacking == 0 }

// Have appends the number of symbols that have arrived of each stripe.
func (a *Assembly) Have(b []uint8) []uint8 {
	for i := range a.stripes {
		b = append(b, uint8(a.stripes[i].have))
	}
	return b
}

// Slot is the room of a stripe's place: no bytes, with a capacity of one symbol.
func (a *Assembly) Slot(stripe, place int) []byte {
	off := (a.stripes[stripe].first + place) * a.cut.Size
	return a.buffer[off : off : off+a.cut.Size]
}

// Needs tells whether symbol id of a stripe would bring the block further.
func (a *Assembly) Needs(stripe, id int) bool {
	st := &a.stripes[stripe]
	return st.have < st.k && !st.seen.has(id)
}

// Place makes room for a symbol that is needed and gives its place.
func (a *Assembly) Place(stripe, id int) int {
	st := &a.stripes[stripe]
	if id >= st.k {
		return st.filled.lastUnset(st.k)
	}
	if st.filled.has(id) { // parity is parked here: it moves. There is room, for the stripe is not complete
		free := st.filled.lastUnset(st.k)
		copy(a.Slot(stripe, free)[:a.cut.Size], a.Slot(stripe, id)[:a.cut.Size])
		a.at[st.first+free] = a.at[st.first+id]
		st.filled.set(free)
		st.filled.unset(id)
	}
	return id
}

// Add notes that the symbol is in its place.
func (a *Assembly) Add(stripe, id, place int) {
	st := &a.stripes[stripe]
	st.seen.set(id)
	st.filled.set(place)
	a.at[st.first+place] = uint8(id)
	st.have++
	if st.have == st.k {
		a.lacking--
	}
}

// Restore computes the missing symbols of a complete block and gives its payload, which aliases the buffer.
func (a *Assembly) Restore(d *fec.Decoder) ([]byte, error) {
	for i := range a.stripes {
		first, end := a.cut.First(i), a.cut.First(i+1)
		slots := a.buffer[first*a.cut.Size : end*a.cut.Size]
		if err := d.Restore(slots, a.cut.Size, a.at[first:end]); err != nil {
			return nil, err
		}
	}
	return a.buffer[:a.cut.Length], nil
}

// Release takes the buffer away: the block is placed.
func (a *Assembly) Release() (buffer []byte) {
	buffer = a.buffer
	a.buffer, a.at = nil, nil
	return buffer
}

// Released tells whether the buffer was taken away.
func (a *Assembly) Released() bool { return a.buffer == nil }
