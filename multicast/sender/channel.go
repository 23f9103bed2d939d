package sender

import (
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// Channel is a set of targets that get the same blocks.
type Channel struct {
	ID      wire.ChannelID
	Group   netip.AddrPort // multicast group and port; zero: every member gets its own unicast datagrams
	Members []string       // names of targets
	// Background makes a channel give way: while others have blocks under way it takes a small share of the link, and it has
	// a small part of the window for itself. It is for one target that is slow.
	Background bool
	// Ahead makes a channel's blocks leave before those of others, which leave it a part of the window. It is for a little that somebody waits for.
	Ahead bool
}

// Outbound is a Channel that has been opened.
type Outbound struct {
	Channel
	wire    uint16
	start   uint64  // sequences of the channel are above this
	began   instant // to be opened
	opening bool
	closed  bool
	members []*member
	group   *stream // nil while nobody is served by multicast
	probe   probing // of the group
	cookie  uint16  // in probes of the group
	backlog backlog
}

// Opening tells whether members are still to be reached by some path.
func (o *Outbound) Opening() bool { return o.opening }

// Live is the number of members that have not been ejected.
func (o *Outbound) Live() (n int) {
	for _, m := range o.members {
		if m.phase != gone {
			n++
		}
	}
	return n
}

// Outstanding tells whether a live member lacks a block.
func (o *Outbound) Outstanding() bool { return o.backlog.outstanding() }

// of finds the target's membership, nil if it has none.
func (o *Outbound) of(t *target) *member {
	for _, m := range o.members {
		if m.target == t {
			return m
		}
	}
	return nil
}

// streams are the channel's streams: the group first.
func (o *Outbound) streams() (all []*stream) {
	if o.group != nil {
		all = append(all, o.group)
	}
	for _, m := range o.members {
		if m.phase == served && m.stream.unicast {
			all = append(all, m.stream)
		}
	}
	return all
}

// awaits tells whether a member is still to answer probes of the group.
func (o *Outbound) awaits() bool {
	for _, m := range o.members {
		if m.phase == joining {
			return true
		}
	}
	return false
}

// settle ends the opening when every member has a stream or is gone.
func (o *Outbound) settle() {
	for _, m := range o.members {
		if m.phase == joining || m.phase == asking {
			return
		}
	}
	o.opening = false
}

// advance drops blocks that nobody waits for. When there is none left, nothing is to be heard.
func (o *Outbound) advance() {
	o.backlog.advance()
	if !o.Outstanding() {
		for _, m := range o.members {
			m.waiting = never
		}
	}
}

// announcement tells a member of the channel.
func (o *Outbound) announcement(round uint8, anySource bool) []byte {
	return wire.Announce{
		Channel: o.wire, ID: uint32(o.ID), Round: round, AnySource: anySource, Start: o.start, Group: o.Group,
	}.Append(nil)
}

// channels are those that are open.
type channels struct {
	byID   map[wire.ChannelID]*Outbound
	byWire map[uint16]*Outbound
	open   []*Outbound // in the order of opening: the order of everything periodic
	last   uint16      // number on the wire
}

// add gives the channel a number on the wire. Numbers go round, so that one that was closed is not used again soon.
func (c *channels) add(o *Outbound) {
	for c.last++; c.byWire[c.last] != nil; c.last++ {
	}
	o.wire = c.last
	c.byID[o.ID], c.byWire[o.wire] = o, o
	c.open = append(c.open, o)
}

// remove forgets a channel.
func (c *channels) remove(o *Outbound) {
	o.closed = true
	delete(c.byID, o.ID)
	delete(c.byWire, o.wire)
	c.open = slices.DeleteFunc(c.open, func(other *Outbound) bool { return other == o })
}

// member finds the target in a channel; nil: the channel is closed, or is not the target's.
func (c *channels) member(t *target, number uint16) *member {
	o := c.byWire[number]
	if o == nil {
		return nil
	}
	if m := o.of(t); m != nil && m.phase != gone {
		return m
	}
	return nil
}

// background is the number of channels in the background.
func (c *channels) background() (n int) {
	for _, o := range c.open {
		if o.Background {
			n++
		}
	}
	return n
}

// ahead tells whether there is one whose blocks go ahead of others.
func (c *channels) ahead() bool {
	return slices.ContainsFunc(c.open, func(o *Outbound) bool { return o.Ahead })
}

// crowded tells whether a channel that is not in the background has blocks under way.
func (c *channels) crowded() bool {
	return slices.ContainsFunc(c.open, func(o *Outbound) bool { return !o.Background && o.Outstanding() })
}
