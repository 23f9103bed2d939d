package sender

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/wire"
)

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
	channel   *Outbound
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
	view      congestion.View
	behind    instant // since when it has got too little beside the others; never = it has not
	reason    error   // why it left
}

// opens tells whether no path to the member is known yet.
func (m *member) opens() bool { return m.phase == joining || m.phase == asking }

// grouped tells whether it is served by the group, or may be.
func (m *member) grouped() bool {
	return m.phase == joining || m.phase == served && !m.stream.unicast
}

// attach has a stream serve the member.
func (m *member) attach(st *stream) {
	m.phase, m.stream = served, st
	m.heard, m.waiting, m.rejoins = 0, never, 0
	m.view, m.behind = congestion.NewView(), never
	st.add(m)
}

// detach takes the member off its stream.
func (m *member) detach() {
	if st := m.stream; st != nil {
		m.stream = nil
		st.remove(m)
	}
}

// hear notes how far the member has heard its stream, on which sequences up to last were sent.
func (m *member) hear(now instant, p *wire.Progress, last uint64) {
	if m.phase != served {
		return
	}
	path := p.Multicast
	if m.stream.unicast {
		path = p.Unicast
	}
	if path.Highest > m.heard && path.Highest <= last {
		m.heard = path.Highest
		m.waiting, m.rejoins = never, 0
		m.view.Take(now, &m.stream.trail, path)
	}
}

// sample is what it has seen of its stream, at a rate that was last cut so long ago.
func (m *member) sample(now, blind instant) congestion.Sample {
	m.stats.Loss = m.view.Loss()
	return m.view.Sample(now, blind, m.every)
}

// speechless tells whether a member that is to answer has not reported for so long that it is dead: whoever has heard of
// a channel reports.
func (m *member) speechless(now instant, dead time.Duration) bool {
	return m.opens() && now-max(m.channel.began, m.reported) > dead
}

// patience is how long the member may take to place a block. In a group the others wait for it; alone it holds up nobody.
func (m *member) patience(stuck time.Duration) time.Duration {
	if m.stream.unicast {
		return 4 * stuck
	}
	return stuck
}
