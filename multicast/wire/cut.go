package wire

import "github.com/scatter-vm/scatter/multicast/fec"

// MaxStripes is the largest number of stripes that a header can name.
const MaxStripes = 16

// MinSymbol is the smallest symbol that a sender uses: a block of MaxBlock then still fits in MaxStripes.
const MinSymbol = 512

// Cut is how a block is divided: into equal symbols, and these into stripes as equal as can be. Symbols are evened out
// (a block of 1500 bytes is two symbols of 750) so that all datagrams of a block have one size, which is what
// segmentation offload wants, and so that padding is less than a byte per symbol.
type Cut struct {
	Length  int // of the block
	Size    int // of a symbol
	Symbols int // source symbols of the block
	Stripes int
}

// NewCut divides a block of length bytes into symbols of at most limit bytes.
func NewCut(length, limit int) Cut {
	n := (length + limit - 1) / limit
	return cut(length, (length+n-1)/n)
}

// CutFor is the receiver's side: the cut that gave symbols of exactly size bytes. ok is false when no sender makes it.
func CutFor(length, size int) (c Cut, ok bool) {
	if length < 1 || length > MaxBlock || size < 1 || size > length {
		return Cut{}, false
	}
	c = cut(length, size)
	return c, c.Stripes <= MaxStripes && (length+c.Symbols-1)/c.Symbols == size
}

func cut(length, size int) Cut {
	n := (length + size - 1) / size
	return Cut{Length: length, Size: size, Symbols: n, Stripes: (n + fec.MaxSource - 1) / fec.MaxSource}
}

// Bytes is the room that the block's source symbols take, padding included.
func (c Cut) Bytes() int { return c.Symbols * c.Size }

// First is the first source symbol of stripe s; First(Stripes) is Symbols.
func (c Cut) First(s int) int { return s * c.Symbols / c.Stripes }

// K is the number of source symbols of stripe s, at most fec.MaxSource.
func (c Cut) K(s int) int { return c.First(s+1) - c.First(s) }
