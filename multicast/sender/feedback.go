package sender

import (
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// feedback takes in what targets say, and has done what follows from it.
type feedback struct {
	timing     *Timing
	roster     *roster
	keys       *keys
	channels   *channels
	membership *membership
	paths      *paths
	schedule   *schedule
	report     wire.Report
	reports    uint64 // that came
}

// receive acts on a control message of a target. An error is the target's violation of the protocol, for which it is ejected.
func (s *feedback) receive(now instant, name string, message []byte) error {
	t := s.roster.targets[name]
	if t == nil {
		return fmt.Errorf("target %q: %w", name, ErrUnknown)
	}
	if !t.live || len(message) == 0 {
		return nil // on its way when the target was ejected
	}
	err := s.act(now, t, message)
	if err == nil {
		return nil
	}
	s.membership.lose(now, t, fmt.Errorf("%w: %w", ErrProtocol, err))
	return fmt.Errorf("target %s: %w", name, err)
}

func (s *feedback) act(now instant, t *target, message []byte) error {
	switch wire.Type(message[0]) {
	case wire.TypeReport:
		return s.onReport(now, t, message)
	case wire.TypeAnswer:
		return s.onAnswer(now, t, message)
	case wire.TypeRefusal:
		return s.onRefusal(now, t, message)
	case wire.TypeKeyed:
		return s.onKeyed(now, t, message)
	default:
		return fmt.Errorf("message of type %d: %w", message[0], wire.ErrFormat)
	}
}

func (s *feedback) onAnswer(now instant, t *target, message []byte) error {
	a, err := wire.ParseAnswer(message)
	if err != nil {
		return err
	}
	m := s.channels.member(t, a.Channel)
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
	if s.paths.proven(m, joint) {
		s.paths.answered(now, m, a.Unicast)
	}
	return nil
}

func (s *feedback) onRefusal(now instant, t *target, message []byte) error {
	r, err := wire.ParseRefusal(message)
	if err != nil {
		return err
	}
	if r.Fatal {
		s.membership.lose(now, t, fmt.Errorf("%w: %q", ErrPlacement, r.Text))
		return nil
	}
	if m := s.channels.member(t, r.Channel); m != nil && m.grouped() {
		s.paths.ask(now, m, fmt.Errorf("%w: %q", errRefused, r.Text))
	}
	return nil
}

func (s *feedback) onKeyed(now instant, t *target, message []byte) error {
	k, err := wire.ParseKeyed(message)
	if err != nil {
		return err
	}
	return s.keys.known(now, t, k.Epoch)
}

func (s *feedback) onReport(now instant, t *target, message []byte) error {
	if err := s.report.Parse(message); err != nil {
		return err
	}
	t.reported = now
	s.reports++
	t.stats.Overflow = uint64(s.report.Overflow)
	t.stats.Joins, t.stats.Leaves = uint64(s.report.Joins), uint64(s.report.Leaves)
	for i := range s.report.Channels {
		p := &s.report.Channels[i]
		m := s.channels.member(t, p.Channel)
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
func (s *feedback) onProgress(now instant, m *member, p *wire.Progress) error {
	o, l := m.channel, &m.channel.backlog
	if p.Floor > l.count || int(p.Floor)+len(p.Blocks) > int(l.count) {
		return fmt.Errorf("channel %d: report beyond block %d: %w", o.ID, l.count, wire.ErrFormat)
	}
	m.hear(now, p, s.schedule.sealer.sequence)
	for _, b := range l.blocks {
		if !b.lackedBy(m.index) {
			continue
		}
		h := holding(p, b.number)
		if !h.Placed && len(h.Stripes) != 0 && len(h.Stripes) != b.Cut().Stripes {
			return fmt.Errorf("channel %d: block %d has %d stripes, not %d: %w",
				o.ID, b.number, b.Cut().Stripes, len(h.Stripes), wire.ErrFormat)
		}
		if h.Placed {
			l.confirm(b, m.index)
		} else if why := s.onHolding(now, m, b, h); why != nil {
			s.membership.giveUp(now, m, why)
			return nil
		}
	}
	o.advance()
	return nil
}

// onHolding orders what a member lacks of a block. An error says why it is to be given up.
func (s *feedback) onHolding(now instant, m *member, b *block, h wire.Holding) error {
	switch {
	case m.phase != served:
	case b.isWhole(h):
		if b.since(now, m) > m.patience(s.timing.Stuck) {
			return ErrStuck
		}
	case s.waits(m):
	case !b.insatiable(m):
		s.supply(m, b, h.Stripes)
	case !m.stream.unicast || b.since(now, m) > m.patience(s.timing.Stuck):
		return ErrInsatiable
	case now > m.again: // it may have no room, for it writes slowly
		m.again = now + time.Second
		s.supply(m, b, h.Stripes)
	}
	return nil
}

// waits tells whether a member's repair waits because its group seems too fast for it: as long as there are new blocks
// for the others, these come first.
func (s *feedback) waits(m *member) bool { return m.behind != never && s.schedule.fresh.Len() > 0 }

// supply orders what a member needs of a block.
func (s *feedback) supply(m *member, b *block, have []uint8) {
	t := b.on(m.stream)
	if t == nil {
		return
	}
	if more := t.supply(have, m.heard); more > 0 {
		s.schedule.repair(t)
		b.ask(m, more)
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
