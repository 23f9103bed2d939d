package multicast

import (
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// receive acts on a control message of a target. An error is the target's violation of the protocol, for which it is ejected.
func (s *sendState) receive(now instant, name string, message []byte) error {
	t := s.targets[name]
	if t == nil {
		return fmt.Errorf("target %q: %w", name, ErrUnknown)
	}
	if !t.live || len(message) == 0 {
		return nil // on its way when the target was ejected
	}
	var err error
	switch wire.Type(message[0]) {
	case wire.TypeReport:
		err = s.onReport(now, t, message)
	case wire.TypeAnswer:
		err = s.onAnswer(now, t, message)
	case wire.TypeRefusal:
		err = s.onRefusal(now, t, message)
	case wire.TypeKeyed:
		err = s.onKeyed(now, t, message)
	default:
		err = fmt.Errorf("message of type %d: %w", message[0], wire.ErrFormat)
	}
	if err == nil {
		return nil
	}
	s.lost(now, t, fmt.Errorf("%w: %w", ErrProtocol, err))
	return fmt.Errorf("target %s: %w", name, err)
}

// member finds the target in a channel; nil: the channel is closed, or is not the target's.
func (s *sendState) member(t *target, number uint16) *member {
	ch := s.wires[number]
	if ch == nil {
		return nil
	}
	for _, m := range ch.members {
		if m.target == t && m.phase != gone {
			return m
		}
	}
	return nil
}

func (s *sendState) onAnswer(now instant, t *target, message []byte) error {
	a, err := wire.ParseAnswer(message)
	if err != nil {
		return err
	}
	m := s.member(t, a.Channel)
	if m == nil {
		return nil // of a channel that is over
	}
	cookie := m.channel.cookie
	if a.Unicast {
		cookie = m.cookie
	}
	joint := a.Cookie == cookie^jointCookie
	if a.Cookie != cookie && !joint {
		return fmt.Errorf("answer to a probe that did not come there: %w", wire.ErrFormat)
	}
	if int(a.Window) < MinWindow {
		return fmt.Errorf("window %d: less than %d: %w", a.Window, MinWindow, wire.ErrFormat)
	}
	t.window = int(a.Window)
	if s.proven(m, joint) {
		s.answered(now, m, a.Unicast)
	}
	return nil
}

func (s *sendState) onRefusal(now instant, t *target, message []byte) error {
	r, err := wire.ParseRefusal(message)
	if err != nil {
		return err
	}
	if r.Fatal {
		s.lost(now, t, fmt.Errorf("%w: %q", ErrPlacement, r.Text))
		return nil
	}
	if m := s.member(t, r.Channel); m != nil && (m.phase == joining || m.phase == served && !m.stream.unicast) {
		s.ask(now, m, fmt.Errorf("%w: %q", errRefused, r.Text))
	}
	return nil
}

func (s *sendState) onKeyed(now instant, t *target, message []byte) error {
	k, err := wire.ParseKeyed(message)
	if err != nil {
		return err
	}
	return s.keyed(now, t, k.Epoch)
}

func (s *sendState) onReport(now instant, t *target, message []byte) error {
	if err := s.report.Parse(message); err != nil {
		return err
	}
	t.reported = now
	s.reports++
	t.stats.Overflow = uint64(s.report.Overflow)
	t.stats.Joins, t.stats.Leaves = uint64(s.report.Joins), uint64(s.report.Leaves)
	for i := range s.report.Channels {
		p := &s.report.Channels[i]
		m := s.member(t, p.Channel)
		if m == nil {
			continue
		}
		if m.told == s.reports {
			return fmt.Errorf("channel %d: twice in one report: %w", m.channel.ID, wire.ErrFormat)
		}
		m.told = s.reports
		if err := s.onProgress(now, m, p); err != nil {
			return err
		}
	}
	return nil
}

// onProgress takes in what a member has of each block, and orders the symbols that it lacks.
func (s *sendState) onProgress(now instant, m *member, p *wire.Progress) error {
	ch := m.channel
	if p.Floor > ch.count || int(p.Floor)+len(p.Blocks) > int(ch.count) {
		return fmt.Errorf("channel %d: report beyond block %d: %w", ch.ID, ch.count, wire.ErrFormat)
	}
	s.hear(now, m, p)
	for _, b := range ch.blocks {
		if b.done || b.isPlaced(m) {
			continue
		}
		h := holding(p, b.number)
		if !h.Placed && len(h.Stripes) != 0 && len(h.Stripes) != b.cut.Stripes {
			return fmt.Errorf("channel %d: block %d has %d stripes, not %d: %w",
				ch.ID, b.number, b.cut.Stripes, len(h.Stripes), wire.ErrFormat)
		}
		switch {
		case h.Placed:
			s.confirm(m, b)
		case m.phase != served:
		case b.isWhole(h):
			if b.since(now, m) > s.patience(m) {
				s.giveUp(now, m, ErrStuck)
				return nil
			}
		case s.waits(m):
		case !b.insatiable(m):
			s.supply(m, b, h.Stripes)
		case !m.stream.unicast || b.since(now, m) > s.patience(m):
			s.giveUp(now, m, ErrInsatiable)
			return nil
		case now > m.again: // it may have no room, for it writes slowly
			m.again = now + time.Second
			s.supply(m, b, h.Stripes)
		}
	}
	ch.advance()
	return nil
}

// maxAsked is how many times a member may have all of a block sent again. Nine times is what a path costs that loses nine of ten.
const maxAsked = 16

// insatiable tells whether a member has ordered the block again and again.
func (b *block) insatiable(m *member) bool {
	return b.asked != nil && b.asked[m.index] > maxAsked*(b.cut.Symbols+maxAsked)
}

// isWhole tells whether a member has enough of each stripe.
func (b *block) isWhole(h wire.Holding) bool {
	if len(h.Stripes) == 0 {
		return false
	}
	for i, have := range h.Stripes {
		if int(have) < b.cut.K(i) {
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

// patience is how long a member may take to place a block. In a group the others wait for it; alone it holds up nobody.
func (s *sendState) patience(m *member) time.Duration {
	if m.stream.unicast {
		return 4 * s.timing.stuck
	}
	return s.timing.stuck
}

// giveUp lets a member leave its group, and ejects one that is served alone.
func (s *sendState) giveUp(now instant, m *member, why error) {
	if m.stream.unicast || s.slowRatio <= 0 {
		s.lost(now, m.target, why)
		return
	}
	s.leave(m, why)
}

// hear notes how far the member has heard its stream.
func (s *sendState) hear(now instant, m *member, p *wire.Progress) {
	if m.phase != served {
		return
	}
	path := p.Multicast
	if m.stream.unicast {
		path = p.Unicast
	}
	if path.Highest > m.heard && path.Highest <= s.sequence {
		m.heard = path.Highest
		m.waiting, m.rejoins = never, 0
		m.view.take(now, &m.stream.trail, path)
	}
}

// holding is what a report says about a block.
func holding(p *wire.Progress, number uint32) wire.Holding {
	if number < p.Floor {
		return wire.Holding{Placed: true}
	}
	if i := number - p.Floor; int64(i) < int64(len(p.Blocks)) {
		return p.Blocks[i]
	}
	return wire.Holding{}
}

// waits tells whether a member's repair waits because its group seems too fast for it: as long as there are new blocks
// for the others, these come first.
func (s *sendState) waits(m *member) bool { return m.view.behind != never && s.fresh.len() > 0 }

// supply orders what a member needs of a block beyond what it has, what is under way to it and what is ordered
// already. Several members' needs of a stripe overlap: the same new symbols serve them all.
func (s *sendState) supply(m *member, b *block, have []uint8) {
	t := b.on(m.stream)
	if t == nil {
		return
	}
	more := 0
	for i := range t.stripes {
		o := &t.stripes[i]
		lack := b.cut.K(i) - o.want - o.underWay(m.heard)
		if len(have) > 0 {
			lack -= int(have[i])
		}
		if lack > 0 {
			o.want += lack
			more += lack
		}
	}
	if more == 0 {
		return
	}
	s.push(&s.repairs, t)
	if b.asked == nil {
		b.asked = make([]int, len(m.channel.members))
	}
	b.asked[m.index] += more
}
