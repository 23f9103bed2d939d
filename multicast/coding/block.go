// Package coding makes symbols of a block, and a block of symbols, in memory that is bounded.
//
//	payload --Block--> source symbols, parity of a stripe  ==datagrams==>  Assembly --Restore--> payload
//
// How a block is divided into symbols and stripes is a wire.Cut, and how parity is computed, package fec.
package coding

import (
	"slices"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Block is a payload as symbols. It borrows the payload.
type Block struct {
	cut     wire.Cut
	payload []byte
	tail    []byte // last symbol padded with zeros, where the payload ends before it does; nil otherwise
}

// NewBlock divides a payload into symbols of at most limit bytes.
func NewBlock(payload []byte, limit int) Block {
	b := Block{cut: wire.NewCut(len(payload), limit), payload: payload}
	if b.cut.Bytes() > len(payload) {
		b.tail = make([]byte, b.cut.Size)
		copy(b.tail, payload[(b.cut.Symbols-1)*b.cut.Size:])
	}
	return b
}

// Cut is how the block is divided; it stays known.
func (b *Block) Cut() wire.Cut { return b.cut }

// Footprint is the memory that the block is counted with.
func (b *Block) Footprint() int { return Footprint(b.cut.Length) }

// Release gives the payload back. There are no symbols any more.
func (b *Block) Release() { b.payload, b.tail = nil, nil }

// source is source symbol i of the block.
func (b *Block) source(i int) []byte {
	if i == b.cut.Symbols-1 && b.tail != nil {
		return b.tail
	}
	return b.payload[i*b.cut.Size : (i+1)*b.cut.Size]
}

// Encoder gives the symbols of blocks. The zero value is ready. Not for concurrent use.
type Encoder struct{ parity []byte }

// Symbol is symbol id of a stripe: a part of the payload, or parity made now, which is good until the next call.
func (e *Encoder) Symbol(b *Block, stripe, id int) []byte {
	first, k := b.cut.First(stripe), b.cut.K(stripe)
	if id < k {
		return b.source(first + id)
	}
	var tail []byte
	if stripe == b.cut.Stripes-1 {
		tail = b.tail
	}
	e.parity = slices.Grow(e.parity[:0], b.cut.Size)[:b.cut.Size]
	fec.Parity(e.parity, b.payload[first*b.cut.Size:], tail, k, uint8(id))
	return e.parity
}
