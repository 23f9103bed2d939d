package sender

import (
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// paths finds for each member the stream that reaches it, its group's or one of its own, and another one when that goes silent.
type paths struct {
	timing    *Timing
	schedule  *schedule
	out       *outbox
	fallbacks uint64
}

// probing is a series of probes with growing gaps.
type probing struct {
	sent     int
	next     instant
	gap      time.Duration
	until    instant
	announce instant // next repetition of the announcement
}

// step moves to the next probe. The first gap was least.
func (p *probing) step(now instant, least time.Duration) {
	p.sent++
	p.next = now + p.gap
	p.gap = min(2*p.gap, maxGap*least)
}

func (p *paths) probing(now instant) probing {
	return probing{next: now, gap: p.timing.ProbeGap, until: now + p.timing.Probe}
}

// begin announces a channel to its members and starts the probes.
func (p *paths) begin(now instant, o *Outbound) {
	o.began = now
	grouped := o.Group.IsValid()
	for _, m := range o.members {
		p.announce(m)
		if grouped {
			m.probe.announce = now + p.timing.Rejoin
		} else {
			p.ask(now, m, nil)
		}
	}
	o.probe = p.probing(now)
}

// announce tells a member of its channel.
func (p *paths) announce(m *member) {
	p.out.tell(m.target, m.channel.announcement(m.round, m.anySource))
	m.round++
}

// ask begins to probe a member's unicast address, because the group does not serve it for the given reason. The member
// leaves the group, whose datagrams would only be in the way of its own.
func (p *paths) ask(now instant, m *member, reason error) {
	m.detach()
	if m.channel.Group.IsValid() {
		p.out.tell(m.target, wire.Leave{Channel: m.channel.wire}.Append(nil))
	}
	m.reason = reason
	m.phase = asking
	m.probe = p.probing(now)
}

// pursue moves a channel's probes of its group on.
func (p *paths) pursue(now instant, o *Outbound) {
	if !o.awaits() {
		return
	}
	if now >= o.probe.next {
		p.schedule.probe(o, o.Group, o.cookie, o.probe.sent)
		o.probe.step(now, p.timing.ProbeGap)
	}
	for _, m := range o.members {
		if m.phase == joining {
			p.rejoin(now, m)
		}
	}
}

// pursueAlone moves the probes of a member's unicast address on. An error says why the target cannot be served.
func (p *paths) pursueAlone(now instant, m *member) error {
	switch {
	case m.speechless(now, p.timing.Dead):
		return ErrSilent
	case m.phase != asking:
	case now >= m.probe.until:
		return fmt.Errorf("channel %d: %w", m.channel.ID, ErrUnreachable)
	case now >= m.probe.next:
		p.schedule.probe(m.channel, m.addr, m.cookie, m.probe.sent)
		m.probe.step(now, p.timing.ProbeGap)
	}
	return nil
}

// rejoin repeats the announcement to a member that does not answer, and gives the group up for it in the end. From the third
// time on the group is joined without naming the source, for switches on the way that do not understand such a join.
func (p *paths) rejoin(now instant, m *member) {
	if now >= m.channel.probe.until {
		p.ask(now, m, errDeaf)
		return
	}
	if now >= m.probe.announce {
		m.probe.announce = now + p.timing.Rejoin
		m.anySource = m.round >= 2
		p.announce(m)
	}
}

// enoughApart is how many probes of one datagram who has answered none of several must have answered to count as one whom these do not reach.
const enoughApart = 3

// proven takes in an answer to a probe, and tells whether the path is known well enough.
func (p *paths) proven(m *member, joint bool) bool {
	switch {
	case joint:
		m.target.joint = true
	case !p.schedule.socket.Joint || m.target.joint || m.apart || !m.opens():
	default:
		if m.single++; m.single < enoughApart {
			return false
		}
		m.apart = true
		p.out.emit(Event{Kind: Apart, Target: m.name, Channel: m.channel.ID})
	}
	return true
}

// answered notes that a probe came through to a member.
func (p *paths) answered(now instant, m *member, unicast bool) {
	o := m.channel
	switch {
	case m.phase == joining && !unicast:
		if o.group == nil {
			o.group = &stream{channel: o, to: o.Group, markGap: p.timing.Mark}
		}
		m.attach(o.group)
	case m.phase == asking && unicast:
		p.serveAlone(now, m)
	}
	o.settle()
}

// serveAlone gives a member a stream of its own. Where a group was too fast for it, the group has found its rate.
func (p *paths) serveAlone(now instant, m *member) {
	o := m.channel
	pace := congestion.NewPaceAfter(p.schedule.rate, m.lossy)
	m.attach(&stream{
		channel: o, to: m.addr, unicast: true, markGap: p.timing.Mark, credit: newCredit(now, pace, p.schedule.burst),
	})
	p.takeUp(m)
	if o.Group.IsValid() {
		p.fallbacks++
		m.stats.Fallbacks++
		p.out.emit(Event{Kind: FellBack, Target: m.name, Channel: o.ID, Err: m.reason})
	}
}

// takeUp puts the blocks that a member lacks on its new stream. What it has of them is not known: a mark asks.
func (p *paths) takeUp(m *member) {
	for _, b := range m.channel.backlog.blocks {
		if b.lackedBy(m.index) {
			b.takeUp(m.stream)
		}
	}
	if m.channel.Outstanding() {
		p.schedule.mark(m.stream)
	}
}

// watch finds out when a member has stopped hearing its stream, or reporting: then the error says so.
func (p *paths) watch(now instant, m *member) error {
	if m.waiting == never {
		if m.stream.last > m.heard {
			m.waiting = now
		}
		return nil
	}
	if now-max(m.waiting, m.reported) > p.timing.Dead {
		return ErrSilent
	}
	if m.reported-m.waiting > p.timing.Silence {
		p.silent(now, m)
	}
	return nil
}

// maxRejoins is how often a member that has fallen silent joins its group anew: one report may get lost.
const maxRejoins = 2

// silent deals with a member that reports, and reports that it hears nothing: another join at first, the way that has worked
// before, then one for any source, then unicast.
func (p *paths) silent(now instant, m *member) {
	m.waiting = now
	m.rejoins++
	switch {
	case m.stream.unicast || m.rejoins > maxRejoins:
		p.ask(now, m, errSilent)
	default:
		m.anySource = m.anySource || m.rejoins == maxRejoins
		p.announce(m)
	}
}
