package sender

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// membership decides who is in which channel: at first whom the engine names, then fewer.
type membership struct {
	roster    *roster
	keys      *keys
	channels  *channels
	paths     *paths
	window    *window
	out       *outbox
	slowRatio float64 // of what the others of a group get: less is too little; at most 0 = nobody leaves a group
	departed  uint64  // members that have left
}

// open announces a channel and begins to probe. Its datagrams will have sequences above start.
func (s *membership) open(now instant, c Channel, start uint64) (*Outbound, error) {
	if s.channels.byID[c.ID] != nil {
		return nil, fmt.Errorf("channel %d: opened twice", c.ID)
	}
	if c.Group.IsValid() && (!c.Group.Addr().IsMulticast() || c.Group.Port() == 0) {
		return nil, fmt.Errorf("channel %d: %v is not a group and port", c.ID, c.Group)
	}
	o := &Outbound{
		Channel: c, opening: true, start: start, cookie: s.keys.cookie(),
		backlog: backlog{channel: c.ID, background: c.Background, window: s.window, out: s.out},
	}
	for _, name := range c.Members {
		if err := s.enrol(o, name); err != nil {
			return nil, err
		}
	}
	if len(o.members) == 0 {
		return nil, fmt.Errorf("channel %d: %w", c.ID, ErrNoMembers)
	}
	if len(s.channels.open) >= wire.MaxReported {
		return nil, fmt.Errorf("channel %d: more than %d channels are open", c.ID, wire.MaxReported)
	}
	s.channels.add(o)
	s.paths.begin(now, o)
	return o, nil
}

// enrol makes a target a member of a channel that is to be opened.
func (s *membership) enrol(o *Outbound, name string) error {
	t := s.roster.targets[name]
	if t == nil || !t.live {
		return fmt.Errorf("channel %d: target %q: %w", o.ID, name, ErrUnknown)
	}
	if o.of(t) != nil {
		return fmt.Errorf("channel %d: target %q is a member twice", o.ID, name)
	}
	o.members = append(o.members, &member{target: t, channel: o, index: len(o.members), waiting: never, behind: never, cookie: s.keys.cookie()})
	return nil
}

// close forgets a channel and tells its members to leave.
func (s *membership) close(o *Outbound) {
	for _, m := range o.members {
		if m.phase != gone {
			s.dismiss(m)
		}
	}
	o.backlog.abandon()
	s.channels.remove(o)
}

// dismiss tells a member to leave its channel.
func (s *membership) dismiss(m *member) {
	s.out.tell(m.target, wire.Close{Channel: m.channel.wire}.Append(nil))
}

// drop ends a member, and tells it to leave the channel. Blocks that waited only for it are confirmed.
func (s *membership) drop(m *member) {
	if m.phase == gone {
		return
	}
	s.dismiss(m)
	m.detach()
	m.phase = gone
	m.channel.backlog.excuse(m.index)
	m.channel.advance()
	m.channel.settle()
}

// eject takes a target out of everything. It is told to leave its groups, if it listens, and locked out by another key.
func (s *membership) eject(now instant, t *target) bool {
	if t == nil || !t.live {
		return false
	}
	t.live = false
	t.stats.Ejected = true
	for _, o := range slices.Clone(s.channels.open) {
		if m := o.of(t); m != nil {
			s.drop(m)
		}
	}
	s.keys.change(now)
	return true
}

// lose ejects a target that the protocol cannot serve, and tells.
func (s *membership) lose(now instant, t *target, err error) {
	if s.eject(now, t) {
		s.out.emit(Event{Kind: Unreachable, Target: t.name, Err: err})
	}
}

// leave takes a member out of a channel whose group it would hold up, and tells what it lacks.
func (s *membership) leave(m *member, why error) {
	l := &m.channel.backlog
	s.departed++
	m.stats.Fallbacks++
	s.out.emit(Event{
		Kind: Left, Target: m.name, Channel: m.channel.ID, Block: uint64(l.count), Err: why, Lacks: l.lacks(m.index),
	})
	s.drop(m)
}

// leaveShared takes a target out of the channels that it shares with others, for whose groups it is too slow.
func (s *membership) leaveShared(t *target) {
	for _, o := range slices.Clone(s.channels.open) {
		if m := o.of(t); m != nil && m.phase != gone && o.Live() > 1 {
			s.leave(m, errSlow)
		}
	}
}

// giveUp lets a member leave its group, and ejects one that is served alone.
func (s *membership) giveUp(now instant, m *member, why error) {
	if m.stream.unicast || s.slowRatio <= 0 {
		s.lose(now, m.target, why)
		return
	}
	s.leave(m, why)
}
