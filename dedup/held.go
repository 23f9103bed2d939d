package dedup

import "sync/atomic"

// Held is what the targets hold: for each page the hash of the bytes last confirmed there, 0 for nothing or zeros. It is
// safe for concurrent use.
type Held struct{ hashes []uint64 }

// NewHeld returns a table for every page of a layout, all of them 0. It takes 8 bytes a page; Index.Held costs nothing.
func NewHeld(l *Layout) *Held { return &Held{make([]uint64, l.Pages())} }

// Set records that the target holds a page with this hash.
func (h *Held) Set(p Page, hash uint64) { atomic.StoreUint64(&h.hashes[p], hash) }

// Forget records that nobody knows what the target holds of a page: Get then returns what no page's hash is.
func (h *Held) Forget(p Page) { h.Set(p, hotHash) }

// Sent tells whether the target has got bytes for a page, and it is known which: then it has them in memory. Zeros it may not have been sent.
func (h *Held) Sent(p Page) bool { return h.Get(p) > hotHash }

// Get returns the hash last set.
func (h *Held) Get(p Page) uint64 { return atomic.LoadUint64(&h.hashes[p]) }
