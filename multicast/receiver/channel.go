package receiver

import (
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Channel is a channel of the source's of which the target is a member.
type Channel struct {
	wire    uint16
	id      wire.ChannelID
	start   uint64
	group   netip.AddrPort
	floor   uint32
	blocks  []*coding.Assembly // from floor on; nil = nothing has arrived
	count   uint32             // blocks that the source says there are, where it waits for reports
	paths   [2]arrivals        // multicast, unicast
	changed bool               // something is worth a report
	closed  bool
}

// ID is the engine's number of the channel.
func (c *Channel) ID() wire.ChannelID { return c.id }

// Group is where its datagrams come to, not valid if only to the target itself.
func (c *Channel) Group() netip.AddrPort { return c.group }

// block is the assembly of a block, nil if nothing is known of it.
func (c *Channel) block(number uint32) *coding.Assembly {
	if i := number - c.floor; number >= c.floor && i < uint32(len(c.blocks)) {
		return c.blocks[i]
	}
	return nil
}

// begin takes in a block of which nothing was known.
func (c *Channel) begin(number uint32, a *coding.Assembly) {
	for uint32(len(c.blocks)) <= number-c.floor {
		c.blocks = append(c.blocks, nil)
	}
	c.blocks[number-c.floor] = a
}

// advance drops blocks that are placed from the front.
func (c *Channel) advance() {
	n := 0
	for n < len(c.blocks) && c.blocks[n] != nil && c.blocks[n].Released() {
		c.blocks[n] = nil
		n++
	}
	c.blocks = c.blocks[n:]
	c.floor += uint32(n)
	c.changed = true
}

// arrived notes an authentic datagram. A mark comes behind all that it tells of, so what is not here is lost.
func (c *Channel) arrived(now clock.Instant, h wire.Header, unicast bool, reorder time.Duration) {
	p := &c.paths[0]
	if unicast {
		p = &c.paths[1]
	}
	p.note(now, h.Sequence, reorder)
	c.changed = true
	if h.Kind == wire.Mark {
		p.settleAll(now)
		c.count = max(c.count, h.Block)
	}
}
