package ledger

import (
	"iter"

	"github.com/scatter-vm/scatter/multicast"
)

// inFlight are the blocks that were sent and are not confirmed. A confirmation may come before the sender knows its block's number: it is kept until
// the block is added. A block is confirmed once, and so is either in flight or counted. The tracker's lock guards it.
type inFlight struct {
	blocks    map[blockKey]*sentBlock
	early     map[blockKey]bool // confirmed before the block was added
	confirmed int               // blocks, so far
}

// sentBlock is a block on its way.
type sentBlock struct {
	Cargo
	payload []byte
}

type blockKey struct {
	ch multicast.ChannelID
	n  uint64
}

func newInFlight() inFlight {
	return inFlight{blocks: make(map[blockKey]*sentBlock), early: make(map[blockKey]bool)}
}

// add notes a block, and tells whether it is confirmed already: then confirm is to be called again.
func (f *inFlight) add(key blockKey, b *sentBlock) (early bool) {
	f.blocks[key] = b
	return f.early[key]
}

// confirm takes out a block; nil: it was not added yet.
func (f *inFlight) confirm(key blockKey) *sentBlock {
	b := f.blocks[key]
	if b == nil {
		f.early[key] = true
		return nil
	}
	delete(f.blocks, key)
	delete(f.early, key)
	f.confirmed++
	return b
}

// lackedBy are the blocks of a channel that a detached host lacks.
func (f *inFlight) lackedBy(ch multicast.ChannelID, d detachment) iter.Seq[*sentBlock] {
	return func(yield func(*sentBlock) bool) {
		for key, b := range f.blocks {
			if key.ch == ch && d.lacks(key.n) && !yield(b) {
				return
			}
		}
	}
}
