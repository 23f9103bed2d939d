package dedup

import (
	"bytes"

	"github.com/zeebo/xxh3"
)

// PageSize is the bytes of one page.
const PageSize = 4096

// Reserved values of a page's hash. HashPage returns none of them.
const (
	zeroHash = 0 // the page is all zero, or was never populated
	hotHash  = 1 // the page differed between two looks
	reserved = 2 // first value HashPage may return
)

// Page is the number of a page counted over all regions of a Layout, in their order.
type Page uint32

// Seed keys the page hashes of one evacuation. It must be random, so that no guest can aim at a collision.
type Seed uint64

var zeroPage [PageSize]byte

// IsZero reports whether b holds only zero bytes. len(b) must not exceed PageSize.
func IsZero(b []byte) bool { return bytes.Equal(b, zeroPage[:len(b)]) }

// HashPage is the keyed hash of a page's bytes. It never returns 0, which stands for a zero page, nor 1.
func HashPage(seed Seed, b []byte) uint64 {
	h := xxh3.HashSeed(b, uint64(seed))
	if h < reserved {
		h += reserved
	}
	return h
}

// Digest is HashPage for any page: 0 when it is all zero.
func Digest(seed Seed, b []byte) uint64 {
	if IsZero(b) {
		return zeroHash
	}
	return HashPage(seed, b)
}
