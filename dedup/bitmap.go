package dedup

import (
	"math/bits"
	"sync/atomic"
)

// bitmap is a set of page numbers or positions.
type bitmap []uint64

func newBitmap(n uint64) bitmap { return make(bitmap, (n+63)/64) }

func (m bitmap) set(i uint64) { m[i>>6] |= 1 << (i & 63) }

// clearShared clears a bit of a word that other goroutines change too.
func (m bitmap) clearShared(i uint64) { atomic.AndUint64(&m[i>>6], ^(uint64(1) << (i & 63))) }

// next returns the first member in lo..hi-1, or hi.
func (m bitmap) next(lo, hi uint64) uint64 {
	for i := lo; i < hi; i = (i | 63) + 1 {
		if w := m[i>>6] >> (i & 63); w != 0 {
			return min(hi, i+uint64(bits.TrailingZeros64(w)))
		}
	}
	return hi
}

func (m bitmap) count() uint64 {
	var n uint64
	for _, w := range m {
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// countIn counts the members in lo..hi-1.
func (m bitmap) countIn(lo, hi uint64) uint64 {
	var n uint64
	for i := lo; i < hi; i = (i | 63) + 1 {
		w := m[i>>6] >> (i & 63)
		if left := hi - i; left < 64 {
			w &= 1<<left - 1
		}
		n += uint64(bits.OnesCount64(w))
	}
	return n
}

// nth returns the member in lo..hi-1 before which n others are, or hi.
func (m bitmap) nth(lo, hi, n uint64) uint64 {
	for i := lo; i < hi; i = (i | 63) + 1 {
		w := m[i>>6] >> (i & 63)
		if in := uint64(bits.OnesCount64(w)); n >= in {
			n -= in
			continue
		}
		for range n {
			w &= w - 1
		}
		return min(hi, i+uint64(bits.TrailingZeros64(w)))
	}
	return hi
}
