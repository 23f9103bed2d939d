package ledger

import (
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// Payload buffers come in two sizes, for most compressed blocks need less than half: what is in flight is bounded in bytes of
// payloads, but held in buffers. Payloads that are still smaller, of few contents with many owners, have memory of their own.
const (
	fullBuffer = planning.BlockContents*model.PageSize + BatchOwners*ownerBytes
	halfBuffer = fullBuffer / 2
	leastHalf  = halfBuffer / 2
	ownerBytes = 4 // of a block's owner, mostly
	mostSpare  = model.WindowBytes / fullBuffer / 4
)

// Buffers are the buffers for payloads of blocks, used again when nobody needs them any more. The zero value is ready. A buffer is either given
// out or spare, never both; no more than mostSpare are spare.
type Buffers struct {
	mu    sync.Mutex // guards the field below
	spare [][]byte
}

// Get is an empty buffer for the payload of any block.
func (b *Buffers) Get() []byte { return b.take(fullBuffer) }

// Fit puts a payload that was made in a buffer into the smallest that holds it.
func (b *Buffers) Fit(payload []byte) []byte {
	if len(payload) > halfBuffer {
		return payload
	}
	var small []byte
	if len(payload) >= leastHalf {
		small = append(b.take(halfBuffer), payload...)
	} else {
		small = exactly(payload)
	}
	b.put(payload)
	return small
}

// take is an empty buffer of a size, a spare one where there is one.
func (b *Buffers) take(size int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, s := range b.spare {
		if cap(s) == size {
			b.spare = slices.Delete(b.spare, i, i+1)
			return s[:0]
		}
	}
	return make([]byte, 0, size)
}

// put takes a buffer that nobody needs any more, and keeps it if there are not enough.
func (b *Buffers) put(buffer []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if (cap(buffer) == fullBuffer || cap(buffer) == halfBuffer) && len(b.spare) < mostSpare {
		b.spare = append(b.spare, buffer)
	}
}
