package coding

import (
	"math/bits"

	"github.com/scatter-vm/scatter/multicast/fec"
)

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
