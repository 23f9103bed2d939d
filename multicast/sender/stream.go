package sender

import (
	"net/netip"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
)

// stream is one path by which blocks of a channel travel: the group, or a member's unicast address.
type stream struct {
	channel *Outbound
	to      netip.AddrPort
	unicast bool
	apart   bool // a member gets datagrams only one by one
	members []*member
	last    uint64  // highest sequence sent
	sentAt  instant // when
	markGap time.Duration
	queued  int // transfers in the queues
	trail   congestion.Trail
	credit  credit // unicast only
}

// sent notes datagrams that are in a burst.
func (st *stream) sent(now instant, b *Burst, first, last uint64) {
	st.last, st.sentAt = last, now
	b.parts = append(b.parts, part{st, first, last})
}

// add takes a member in.
func (st *stream) add(m *member) {
	st.members = append(st.members, m)
	st.apart = st.apart || m.apart
}

// remove takes a member off, and gives up a group that has none left.
func (st *stream) remove(m *member) {
	st.members = slices.DeleteFunc(st.members, func(o *member) bool { return o == m })
	if len(st.members) == 0 && st.channel.group == st {
		st.channel.group = nil
	}
}

// loss is that of the member which loses most.
func (st *stream) loss() (most float64) {
	for _, m := range st.members {
		most = max(most, m.view.Loss())
	}
	return most
}

// slow are the members that get much less than the others.
func (st *stream) slow() []*member {
	return slices.DeleteFunc(slices.Clone(st.members), func(m *member) bool { return m.behind == never })
}

// heldBySlow is how many bytes of blocks only members that are behind keep from being confirmed.
func (st *stream) heldBySlow() (bytes int) {
	slow := st.slow()
	if len(slow) == 0 {
		return 0
	}
	for _, b := range st.channel.backlog.blocks {
		lack := 0
		for _, m := range slow {
			if b.lackedBy(m.index) {
				lack++
			}
		}
		if lack > 0 && lack == b.pending {
			bytes += b.Footprint()
		}
	}
	return bytes
}

// creditTime is how long a unicast stream may save its rate up.
const creditTime = 20 * time.Millisecond

// credit is what a unicast stream may send of the link, at a rate of its own.
type credit struct {
	pace   congestion.Pace
	bytes  float64     // that may be sent now
	filled instant     // when they were last given
	held   []*transfer // wait for them
	spent  uint64      // bytes, since the pace was last considered, at since
	since  instant
}

// newCredit begins with a burst.
func newCredit(now instant, p congestion.Pace, burst int) credit {
	return credit{pace: p, filled: now, bytes: float64(burst)}
}

func (c *credit) spend(bytes int) {
	c.bytes -= float64(bytes)
	c.spent += uint64(bytes)
}

// gone tells whether nothing may be sent now.
func (c *credit) gone() bool { return c.bytes <= 0 }

// refill gives what a rate has brought since the last time, at most so much that a burst more than the time to save up can be sent.
func (c *credit) refill(now instant, rate float64, burst int) {
	most := c.pace.Rate()*creditTime.Seconds() + float64(burst)
	c.bytes = min(most, c.bytes+rate*(now-c.filled).Seconds())
	c.filled = now
}

// consider adjusts the rate to what was seen.
func (c *credit) consider(now instant, seen congestion.Sample) {
	used := c.pace.Used(c.spent, now-c.since)
	c.spent, c.since = 0, now
	c.pace.Consider(now, seen, used, congestion.Traffic{})
}
