package sender

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// block is a payload on its way.
type block struct {
	coding.Block
	number    uint32
	placed    []uint64  // which members have placed it, by their index, like the next two
	whole     []instant // since when members should have placed it; nil, or 0 for a member = not yet
	asked     []int     // symbols that members have made us send again; nil = none
	pending   int       // live members that have not placed it
	done      bool      // nobody waits for it any more
	transfers []*transfer
}

// newBlock is for so many members, of whom all that are live lack it.
func newBlock(payload []byte, symbol, members, live int) *block {
	return &block{Block: coding.NewBlock(payload, symbol), placed: make([]uint64, (members+63)/64), pending: live}
}

func (b *block) isPlaced(member int) bool { return b.placed[member/64]&(1<<(member%64)) != 0 }

func (b *block) place(member int) { b.placed[member/64] |= 1 << (member % 64) }

// lackedBy tells whether somebody waits for the block, and the member has not placed it.
func (b *block) lackedBy(member int) bool { return !b.done && !b.isPlaced(member) }

// maxAsked is how many times a member may have all of a block sent again. Nine times is what a path costs that loses nine of ten.
const maxAsked = 16

// ask notes that symbols are sent once more for a member.
func (b *block) ask(m *member, symbols int) {
	if b.asked == nil {
		b.asked = make([]int, len(m.channel.members))
	}
	b.asked[m.index] += symbols
}

// insatiable tells whether a member has ordered the block again and again.
func (b *block) insatiable(m *member) bool {
	return b.asked != nil && b.asked[m.index] > maxAsked*(b.Cut().Symbols+maxAsked)
}

// isWhole tells whether a member has enough of each stripe.
func (b *block) isWhole(h wire.Holding) bool {
	if len(h.Stripes) == 0 {
		return false
	}
	for i, have := range h.Stripes {
		if int(have) < b.Cut().K(i) {
			return false
		}
	}
	return true
}

// since is how long a member should have placed the block, from the first time that this is asked.
func (b *block) since(now instant, m *member) time.Duration {
	if b.whole == nil {
		b.whole = make([]instant, len(m.channel.members))
	}
	if b.whole[m.index] == 0 {
		b.whole[m.index] = now
	}
	return now - b.whole[m.index]
}

// begin has the block sent on a stream.
func (b *block) begin(st *stream) *transfer {
	t := b.transfer(st, func(int) int { return 0 })
	for i := range t.stripes {
		t.stripes[i].All()
	}
	return t
}

// takeUp has the block sent on a stream to a member of which is not known what it has: as reports will say, with symbols that it cannot
// have got by another stream.
func (b *block) takeUp(st *stream) { b.transfer(st, b.unused) }

// transfer puts the block on a stream, where the symbols of a stripe start with first. Nothing is to be sent yet.
func (b *block) transfer(st *stream, first func(stripe int) int) *transfer {
	t := &transfer{stream: st, block: b, stripes: make([]coding.Outgoing, b.Cut().Stripes)}
	for i := range t.stripes {
		t.stripes[i] = coding.NewOutgoing(b.Cut().K(i), first(i))
	}
	b.transfers = append(b.transfers, t)
	return t
}

// unused is a symbol of stripe i behind those which other streams have sent.
func (b *block) unused(i int) (next int) {
	for _, t := range b.transfers {
		next = max(next, t.stripes[i].Next())
	}
	return next
}

// on is the block's transfer on a stream, nil if it has none.
func (b *block) on(s *stream) *transfer {
	for _, t := range b.transfers {
		if t.stream == s {
			return t
		}
	}
	return nil
}

// transfer is one block on one stream.
type transfer struct {
	stream  *stream
	block   *block
	stripes []coding.Outgoing
	queued  bool
	guarded bool // has got parity for the loss to be expected
}

// wants tells whether anything of the transfer is to be sent.
func (t *transfer) wants() bool {
	if t.block.done {
		return false
	}
	for i := range t.stripes {
		if t.stripes[i].Wants() {
			return true
		}
	}
	return false
}

// supply orders what a member needs beyond what it has of each stripe, and what is under way to it, as it has heard its stream.
func (t *transfer) supply(have []uint8, heard uint64) (more int) {
	for i := range t.stripes {
		n := 0
		if len(have) > 0 {
			n = int(have[i])
		}
		more += t.stripes[i].Supply(n, heard)
	}
	return more
}

// guard adds parity, once, for the loss that is to be expected when a block is the last for now: the link would be idle until
// the reports come, and most likely this spares another round. In a flow of blocks it would be waste.
func (t *transfer) guard() {
	if t.guarded || t.wants() || t.block.done {
		return
	}
	t.guarded = true
	loss := t.stream.loss()
	for i := range t.stripes {
		t.stripes[i].Guard(loss)
	}
}
