package multicast

import (
	"fmt"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// receive acts on a control message of a target. An error is the target's violation of the protocol.
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
		err = s.onKeyed(t, message)
	default:
		err = fmt.Errorf("message of type %d: %w", message[0], wire.ErrFormat)
	}
	if err != nil {
		return fmt.Errorf("target %s: %w", name, err)
	}
	return nil
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
	if int(a.Window) < footprint(MaxBlock) {
		return fmt.Errorf("window %d: less than a block: %w", a.Window, wire.ErrFormat)
	}
	t.window = int(a.Window)
	if m := s.member(t, a.Channel); m != nil {
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
		s.lost(t, fmt.Errorf("%w: %q", ErrPlacement, r.Text))
		return nil
	}
	if m := s.member(t, r.Channel); m != nil && (m.phase == joining || m.phase == served && !m.stream.unicast) {
		s.ask(now, m, fmt.Errorf("%w: %q", errRefused, r.Text))
	}
	return nil
}

func (s *sendState) onKeyed(t *target, message []byte) error {
	k, err := wire.ParseKeyed(message)
	if err == nil {
		s.keyed(t, k.Epoch)
	}
	return err
}

func (s *sendState) onReport(now instant, t *target, message []byte) error {
	if err := s.report.Parse(message); err != nil {
		return err
	}
	t.reported = now
	t.stats.Overflow = uint64(s.report.Overflow)
	t.stats.Joins, t.stats.Leaves = uint64(s.report.Joins), uint64(s.report.Leaves)
	for i := range s.report.Channels {
		p := &s.report.Channels[i]
		if m := s.member(t, p.Channel); m != nil {
			if err := s.onProgress(now, m, p); err != nil {
				return err
			}
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
		if h.Placed {
			s.confirm(m, b)
		} else if m.phase == served && !s.waits(m) {
			s.supply(m, b, h.Stripes)
		}
	}
	ch.advance()
	return nil
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
	more := false
	for i := range t.stripes {
		o := &t.stripes[i]
		lack := b.cut.K(i) - o.want - o.underWay(m.heard)
		if len(have) > 0 {
			lack -= int(have[i])
		}
		if lack > 0 {
			o.want += lack
			more = true
		}
	}
	if more {
		s.push(&s.repairs, t)
	}
}
