package multicast

import (
	"fmt"
	"net/netip"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// maxGap bounds the doubling of the gaps between probes, and between marks.
const maxGap = 8

// begin announces a channel to its members and starts the probes.
func (s *sendState) begin(now instant, ch *channel) {
	ch.began = now
	grouped := ch.Group.IsValid()
	for _, m := range ch.members {
		s.announce(m)
		if grouped {
			m.probe.announce = now + s.timing.rejoin
		} else {
			s.ask(now, m, nil)
		}
	}
	ch.probe = s.probing(now)
}

func (s *sendState) probing(now instant) probing {
	return probing{next: now, gap: s.timing.probeGap, until: now + s.timing.probe}
}

// announce tells a member of its channel.
func (s *sendState) announce(m *member) {
	ch := m.channel
	s.control(m.target, wire.Announce{
		Channel: ch.wire, ID: uint32(ch.ID), Round: m.round, AnySource: m.anySource, Start: ch.start, Group: ch.Group,
	}.Append(nil))
	m.round++
}

// ask begins to probe a member's unicast address, because the group does not serve it for the given reason. The member
// leaves the group, whose datagrams would only be in the way of its own.
func (s *sendState) ask(now instant, m *member, reason error) {
	s.detach(m)
	if m.channel.Group.IsValid() {
		s.control(m.target, wire.Leave{Channel: m.channel.wire}.Append(nil))
	}
	m.reason = reason
	m.phase = asking
	m.probe = s.probing(now)
}

// barrier moves a channel's probes on.
func (s *sendState) barrier(now instant, ch *channel) {
	if ch.awaits() {
		if now >= ch.probe.next {
			s.probe(ch, ch.Group, ch.cookie, ch.probe.sent)
			ch.probe.step(now, s)
		}
		for _, m := range ch.members {
			s.rejoin(now, m)
		}
	}
	for _, m := range ch.members {
		switch {
		case s.speechless(now, m):
			s.lost(now, m.target, ErrSilent)
		case m.phase != asking:
		case now >= m.probe.until:
			s.lost(now, m.target, fmt.Errorf("channel %d: %w", ch.ID, ErrUnreachable))
		case now >= m.probe.next:
			s.probe(ch, m.addr, m.cookie, m.probe.sent)
			m.probe.step(now, s)
		}
	}
}

// Kernels and network cards are known that cut bursts up into datagrams with wrong headers or checksums, which nobody gets (Linux 7.0 to 7.1.4,
// torvalds/linux b10b446). So probes come in turns as several datagrams in one burst, and as one. Who answers the second kind so often, and never
// the first, gets datagrams one by one from then on.
const (
	jointProbe  = 3
	enoughApart = 3
	jointCookie = 1 << 15 // is other in the cookie of a joint probe
)

// probe sends the nth probe of a path.
func (s *sendState) probe(ch *channel, to netip.AddrPort, cookie uint16, n int) {
	joint := s.joint && n%2 == 0
	if joint {
		cookie ^= jointCookie
	}
	s.signals.push(signal{channel: ch, kind: wire.Probe, to: to, block: uint32(cookie), joint: joint})
}

// proven takes in an answer to a probe, and tells whether the path is known well enough.
func (s *sendState) proven(m *member, joint bool) bool {
	switch {
	case joint:
		m.target.joint = true
	case !s.joint || m.target.joint || m.apart || m.phase != joining && m.phase != asking:
	default:
		if m.single++; m.single < enoughApart {
			return false
		}
		m.apart = true
		s.emit(event{kind: apart, target: m.name, channel: m.channel.ID})
	}
	return true
}

// speechless tells whether a member that is to answer has not reported for so long that it is dead: whoever has heard of
// a channel reports.
func (s *sendState) speechless(now instant, m *member) bool {
	return (m.phase == joining || m.phase == asking) && now-max(m.channel.began, m.reported) > s.timing.dead
}

// step moves to the next probe.
func (p *probing) step(now instant, s *sendState) {
	p.sent++
	p.next = now + p.gap
	p.gap = min(2*p.gap, maxGap*s.timing.probeGap)
}

// awaits tells whether a member is still to answer probes of the group.
func (ch *channel) awaits() bool {
	for _, m := range ch.members {
		if m.phase == joining {
			return true
		}
	}
	return false
}

// rejoin repeats the announcement to a member that does not answer, and gives the group up for it in the end. From the third
// time on the group is joined without naming the source, for switches on the way that do not understand such a join.
func (s *sendState) rejoin(now instant, m *member) {
	if m.phase != joining {
		return
	}
	if now >= m.channel.probe.until {
		s.ask(now, m, errDeaf)
		return
	}
	if now >= m.probe.announce {
		m.probe.announce = now + s.timing.rejoin
		m.anySource = m.round >= 2
		s.announce(m)
	}
}

// answered notes that a probe came through to a member.
func (s *sendState) answered(now instant, m *member, unicast bool) {
	ch := m.channel
	switch {
	case m.phase == joining && !unicast:
		if ch.group == nil {
			ch.group = s.stream(ch, false)
		}
		s.attach(m, ch.group)
	case m.phase == asking && unicast:
		s.attach(m, s.stream(ch, true))
		m.stream.to = m.addr
		m.stream.pace = newPace(s.rate * (1 - m.target.lossy))
		if m.target.lossy > 0 { // the group has found that rate
			m.stream.pace.proven = provenPart * m.stream.pace.rate
		}
		m.stream.filled, m.stream.credit = now, float64(s.burst)
		s.takeUp(m)
		if ch.Group.IsValid() {
			s.stats.Fallbacks++
			m.stats.Fallbacks++
			s.emit(event{kind: fellBack, target: m.name, channel: ch.ID, err: m.reason})
		}
	}
	s.opened(ch)
}

func (s *sendState) stream(ch *channel, unicast bool) *stream {
	return &stream{channel: ch, to: ch.Group, unicast: unicast, markGap: s.timing.mark}
}

func (s *sendState) attach(m *member, st *stream) {
	m.phase, m.stream = served, st
	m.heard, m.waiting, m.rejoins = 0, never, 0
	m.view = newView()
	st.members = append(st.members, m)
	st.apart = st.apart || m.apart
}

// takeUp puts the blocks that a member lacks on its new stream. What it has of them is not known: a mark asks.
func (s *sendState) takeUp(m *member) {
	ch := m.channel
	for _, b := range ch.blocks {
		if b.done || b.isPlaced(m) {
			continue
		}
		t := s.transfer(b, m.stream, false)
		for i := range t.stripes {
			t.stripes[i].next = b.unused(i)
		}
	}
	if ch.outstanding() {
		s.mark(m.stream)
	}
}

// unused is a symbol of stripe i behind those which other streams have sent.
func (b *block) unused(i int) (next int) {
	for _, t := range b.transfers {
		next = max(next, t.stripes[i].next)
	}
	return next
}

// opened ends the opening of a channel when every member has a stream or is gone.
func (s *sendState) opened(ch *channel) {
	for _, m := range ch.members {
		if m.phase == joining || m.phase == asking {
			return
		}
	}
	ch.opening = false
}
