package sender

import "github.com/scatter-vm/scatter/multicast/wire"

// backlog is the blocks of a channel that some live member has not placed, and those behind them.
type backlog struct {
	channel    wire.ChannelID
	background bool
	blocks     []*block
	first      uint32 // number of blocks[0]
	count      uint32 // blocks so far
	used       int    // bytes of blocks that wait for confirmation
	window     *window
	out        *outbox
}

// add takes in a block, and gives it its number.
func (l *backlog) add(b *block) {
	b.number = l.count
	l.count++
	l.blocks = append(l.blocks, b)
	l.used += b.Footprint()
	l.window.take(b.Footprint(), l.background)
}

// outstanding tells whether a live member lacks a block.
func (l *backlog) outstanding() bool { return len(l.blocks) > 0 }

// confirm notes that a member has placed a block that it lacked.
func (l *backlog) confirm(b *block, member int) {
	b.place(member)
	l.waive(b)
}

// excuse gives up on a member, which is gone.
func (l *backlog) excuse(member int) {
	for _, b := range l.blocks {
		if b.lackedBy(member) {
			l.waive(b)
		}
	}
}

// waive waits for one member less to place a block. When nobody is left to wait for, it is confirmed.
func (l *backlog) waive(b *block) {
	b.pending--
	if b.pending == 0 {
		l.release(b)
		l.out.emit(Event{Kind: Confirmed, Channel: l.channel, Block: uint64(b.number)})
	}
}

// release forgets what a block holds; transfers still queued are skipped.
func (l *backlog) release(b *block) {
	if b.done {
		return
	}
	l.used -= b.Footprint()
	l.window.give(b.Footprint(), l.background)
	b.done = true
	b.Release()
}

// advance drops blocks that nobody waits for from the front.
func (l *backlog) advance() {
	n := 0
	for n < len(l.blocks) && l.blocks[n].done {
		l.blocks[n] = nil
		n++
	}
	l.blocks = l.blocks[n:]
	l.first += uint32(n)
}

// abandon gives up what is not confirmed.
func (l *backlog) abandon() {
	for _, b := range l.blocks {
		l.release(b)
	}
}

// lacks are the numbers of the blocks that a member has not placed.
func (l *backlog) lacks(member int) (numbers []uint64) {
	for _, b := range l.blocks {
		if b.lackedBy(member) {
			numbers = append(numbers, uint64(b.number))
		}
	}
	return numbers
}
