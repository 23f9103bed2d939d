package sender

import (
	"math"
	"time"

	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/fec"
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

// transfer begins the block on a stream. Without all, it waits for the members' reports to say what lacks.
func (b *block) transfer(st *stream, all bool) *transfer {
	t := &transfer{stream: st, block: b, stripes: make([]stripe, b.Cut().Stripes)}
	b.transfers = append(b.transfers, t)
	for i := range t.stripes {
		if all {
			t.stripes[i].want = b.Cut().K(i)
		}
	}
	return t
}

// takeUp begins the block on a stream to a member of which is not known what it has, with symbols that it cannot have got by another one.
func (b *block) takeUp(st *stream) {
	t := b.transfer(st, false)
	for i := range t.stripes {
		t.stripes[i].next = b.unused(i)
	}
}

// unused is a symbol of stripe i behind those which other streams have sent.
func (b *block) unused(i int) (next int) {
	for _, t := range b.transfers {
		next = max(next, t.stripes[i].next)
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
	stripes []stripe
	queued  bool
	guarded bool // has got parity for the loss to be expected
}

// wants tells whether anything of the transfer is to be sent.
func (t *transfer) wants() bool {
	if t.block.done {
		return false
	}
	for i := range t.stripes {
		if t.stripes[i].want > 0 {
			return true
		}
	}
	return false
}

// supply orders what a member needs beyond what it has, what is under way to it, as it has heard its stream, and what is ordered
// already. Several members' needs of a stripe overlap: the same new symbols serve them all.
func (t *transfer) supply(have []uint8, heard uint64) (more int) {
	for i := range t.stripes {
		s := &t.stripes[i]
		lack := t.block.Cut().K(i) - s.want - s.underWay(heard)
		if len(have) > 0 {
			lack -= int(have[i])
		}
		if lack > 0 {
			s.want += lack
			more += lack
		}
	}
	return more
}

// maxGuard bounds the loss that parity is sent for before anyone asks for it.
const maxGuard = 0.2

// guard adds parity, once, for the loss that is to be expected when a block is the last for now: the link would be idle until
// the reports come, and most likely this spares another round. In a flow of blocks it would be waste.
func (t *transfer) guard() {
	if t.guarded || t.wants() || t.block.done {
		return
	}
	t.guarded = true
	loss := t.stream.loss()
	for i := range t.stripes {
		if k := t.block.Cut().K(i); t.stripes[i].sent == k {
			mean := min(loss, maxGuard) * float64(k)
			t.stripes[i].want = int(mean + 2*math.Sqrt(mean))
		}
	}
}

// stripe is what has been sent of a stripe on a stream, and what shall be.
type stripe struct {
	next int // id of the next symbol, below fec.MaxSymbols
	want int // symbols still to send
	sent int // symbols sent in all
	runs []run
}

// run is n symbols with consecutive sequences up to last.
type run struct {
	last uint64
	n    int
}

// maxRuns bounds the runs that are remembered for a stripe.
const maxRuns = 24

// take gives the id of the next symbol. When all have been sent, it begins again at the first.
func (s *stripe) take() (id int) {
	id = s.next
	s.next = (s.next + 1) % fec.MaxSymbols
	return id
}

// note remembers that the symbol with this sequence was sent.
func (s *stripe) note(sequence uint64) {
	s.want--
	s.sent++
	if n := len(s.runs); n > 0 && s.runs[n-1].last+1 == sequence {
		s.runs[n-1].last++
		s.runs[n-1].n++
		return
	}
	if len(s.runs) == maxRuns { // join the oldest two; both count as under way until the later has been heard
		s.runs[1].n += s.runs[0].n
		s.runs = append(s.runs[:0], s.runs[1:]...)
	}
	s.runs = append(s.runs, run{last: sequence, n: 1})
}

// underWay is the number of symbols that were sent after the one with sequence heard.
func (s *stripe) underWay(heard uint64) (n int) {
	for i := len(s.runs) - 1; i >= 0 && s.runs[i].last > heard; i-- {
		n += int(min(uint64(s.runs[i].n), s.runs[i].last-heard))
	}
	return n
}
