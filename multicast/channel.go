package multicast

import (
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// ChannelID is the engine's number of a channel.
type ChannelID uint32

// Channel is a set of targets that get the same blocks.
type Channel struct {
	ID      ChannelID
	Group   netip.AddrPort // multicast group and port; zero: every member gets its own unicast datagrams
	Members []string       // names of targets
	// Background makes a channel give way: while others have blocks under way it takes a small share of the link, and it has
	// a small part of the window for itself. It is for one target that is slow.
	Background bool
}

// MaxBlock is the largest payload of a block, in bytes.
const MaxBlock = wire.MaxBlock

// instant is the time since the start of the sender or receiver.
type instant = time.Duration

// target is a host that receives.
type target struct {
	name     string
	addr     netip.AddrPort
	window   int // bytes of blocks that it holds at most; 0 = not yet known
	live     bool
	keyed    int           // the last key epoch that it knows; -1 = none
	reported instant       // when its last report came
	every    time.Duration // it was told to let pass between reports
	lossy    float64       // loss at which it left a group that was too fast for it
	joint    bool          // datagrams that the system cuts out of bursts reach it
	apart    bool          // they do not, and others do
	stats    TargetStats
}

// channel is an open Channel.
type channel struct {
	Channel
	wire    uint16
	start   uint64  // sequences of the channel are above this
	began   instant // to be opened
	opening bool
	members []*member
	group   *stream // nil while nobody is served by multicast
	probe   probing // of the group
	cookie  uint16  // in probes of the group
	blocks  []*block
	first   uint32 // number of blocks[0]
	count   uint32 // blocks so far
	used    int    // bytes of blocks that wait for confirmation
}

// phase is where a member stands.
//
//	joining --answer by group--> served <--answer by unicast-- asking --no answer--> gone
//	   |                          | |                            ^                    ^
//	   |                          | +-- group goes silent -------+                    |
//	   +-- no answer, refusal ----|------------------------------+                    |
//	                              +-- group is too fast for it -----------------------+
type phase uint8

const (
	joining phase = iota // announced; the group is being probed
	asking               // the group does not reach it; its unicast address is being probed
	served               // has a stream
	gone                 // ejected, or has left the channel
)

// member is a target in a channel.
type member struct {
	*target
	channel   *channel
	index     int
	phase     phase
	stream    *stream // only while served
	probe     probing // of its unicast address, while asking
	round     uint8   // of announcements
	anySource bool    // the group is joined without naming the source
	heard     uint64  // highest sequence of its stream that it has heard
	waiting   instant // since when a higher one is on its way; never = not waiting
	rejoins   int     // since the group was last heard
	cookie    uint16  // in probes of its unicast address: an answer without it was not sent by whoever is there
	single    int     // probes of one datagram that it has answered before any of several
	again     instant // when it may order a block once more that it has ordered many times
	told      uint64  // number of the last report that spoke of the channel
	view      view    // of its stream
	reason    error   // why it left
}

const never = instant(-1)

// probing is a series of probes with growing gaps.
type probing struct {
	sent             int
	next, gap, until instant
	announce         instant // next repetition of the announcement
}

// stream is one path by which blocks of a channel travel: the group, or a member's unicast address.
type stream struct {
	channel *channel
	to      netip.AddrPort
	unicast bool
	apart   bool // a member gets datagrams only one by one
	members []*member
	last    uint64  // highest sequence sent
	sentAt  instant // when
	markGap instant
	queued  int // transfers in the queues
	trail   trail
	pace    pace        // unicast only
	credit  float64     // bytes that may be sent now; unicast only
	filled  instant     // when credit was last given
	held    []*transfer // wait for credit
	bytes   uint64      // sent since the pace was last considered, at since
	since   instant
}

// block is a payload on its way.
type block struct {
	number    uint32
	payload   []byte
	tail      []byte // last symbol padded with zeros, where the payload ends before it does; nil otherwise
	cut       wire.Cut
	placed    []uint64  // which members have placed it
	whole     []instant // since when members should have placed it; nil, or 0 for a member = not yet
	asked     []int     // symbols that members have made us send again; nil = none
	pending   int       // live members that have not
	done      bool      // nobody waits for it any more
	transfers []*transfer
}

// transfer is one block on one stream.
type transfer struct {
	stream  *stream
	block   *block
	stripes []outgoing
	queued  bool
	guarded bool // has got parity for the loss to be expected
}

// outgoing is what has been sent of a stripe on a stream, and what shall be.
type outgoing struct {
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

// note remembers that the symbol with this sequence was sent.
func (o *outgoing) note(sequence uint64) {
	o.want--
	o.sent++
	if n := len(o.runs); n > 0 && o.runs[n-1].last+1 == sequence {
		o.runs[n-1].last++
		o.runs[n-1].n++
		return
	}
	if len(o.runs) == maxRuns { // join the oldest two; both count as under way until the later has been heard
		o.runs[1].n += o.runs[0].n
		o.runs = append(o.runs[:0], o.runs[1:]...)
	}
	o.runs = append(o.runs, run{last: sequence, n: 1})
}

// underWay is the number of symbols that were sent after the one with sequence heard.
func (o *outgoing) underWay(heard uint64) (n int) {
	for i := len(o.runs) - 1; i >= 0 && o.runs[i].last > heard; i-- {
		n += int(min(uint64(o.runs[i].n), o.runs[i].last-heard))
	}
	return n
}

func (b *block) isPlaced(m *member) bool { return b.placed[m.index/64]&(1<<(m.index%64)) != 0 }

// on is the block's transfer on a stream, nil if it has none.
func (b *block) on(s *stream) *transfer {
	for _, t := range b.transfers {
		if t.stream == s {
			return t
		}
	}
	return nil
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

// symbol is source symbol i of the block.
func (b *block) symbol(i int) []byte {
	if i == b.cut.Symbols-1 && b.tail != nil {
		return b.tail
	}
	return b.payload[i*b.cut.Size : (i+1)*b.cut.Size]
}

// footprint is the memory that a block of length bytes is counted with, at both ends: the size class of the buffer that
// a receiver puts it together in. Classes are a quarter of a power of two apart.
func footprint(length int) int {
	n := length + length>>9 + 512 // padding, and the bookkeeping
	step := 256
	for n > 8*step {
		step *= 2
	}
	return (n + step - 1) / step * step
}
