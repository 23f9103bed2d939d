package ledger

import (
	"sync/atomic"

	"github.com/scatter-vm/scatter/dedup"
)

// Claims tell who sends a page, where several may: the first who claims it. It is safe for concurrent use.
type Claims []uint64

// NewClaims is for so many pages, of which none is claimed.
func NewClaims(pages uint64) Claims { return make(Claims, (pages+63)/64) }

// Claim tells whether nobody has claimed the page before.
func (c Claims) Claim(p dedup.Page) bool {
	bit := uint64(1) << (p & 63)
	return atomic.OrUint64(&c[p>>6], bit)&bit == 0
}
