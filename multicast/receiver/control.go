package receiver

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Control acts on a control message of the source. An error is its violation of the protocol.
func (r *State) Control(now clock.Instant, message []byte) error {
	if len(message) == 0 {
		return fmt.Errorf("empty message: %w", wire.ErrFormat)
	}
	switch wire.Type(message[0]) {
	case wire.TypeKey:
		return r.onKey(message)
	case wire.TypeAnnounce:
		return r.onAnnounce(now, message)
	case wire.TypeClose:
		return r.onClose(message)
	case wire.TypeLeave:
		return r.onLeave(message)
	case wire.TypeEvery:
		return r.reports.onEvery(message)
	default:
		return fmt.Errorf("message of type %d: %w", message[0], wire.ErrFormat)
	}
}

// onKey learns the key of an epoch.
func (r *State) onKey(message []byte) error {
	k, err := wire.ParseKey(message)
	if err != nil {
		return err
	}
	if err = r.keys.learn(k); err != nil {
		return err
	}
	r.emit(Event{Kind: Reply, Message: wire.Keyed{Epoch: k.Epoch}.Append(nil)})
	return nil
}

func (r *State) onAnnounce(now clock.Instant, message []byte) error {
	a, err := wire.ParseAnnounce(message)
	if err != nil {
		return err
	}
	c := r.channels[a.Channel]
	if c == nil {
		if len(r.open) == wire.MaxReported {
			return fmt.Errorf("more than %d channels: %w", wire.MaxReported, wire.ErrFormat)
		}
		c = r.enter(now, a)
	}
	if c.id != wire.ChannelID(a.ID) || c.group != a.Group {
		return fmt.Errorf("channel %d: announced anew with another group or number: %w", a.ID, wire.ErrFormat)
	}
	if !c.group.IsValid() {
		return nil
	}
	if a.Round > 0 {
		r.emit(Event{Kind: Leave, Channel: c, Again: true})
	}
	r.emit(Event{Kind: Join, Channel: c, AnySource: a.AnySource})
	return nil
}

// enter becomes a member of a channel.
func (r *State) enter(now clock.Instant, a wire.Announce) *Channel {
	c := &Channel{wire: a.Channel, id: wire.ChannelID(a.ID), start: a.Start, group: a.Group}
	r.channels[a.Channel] = c
	r.open = append(r.open, c)
	r.reports.last = now // heartbeats begin
	r.highest = max(r.highest, a.Start)
	return c
}

func (r *State) onLeave(message []byte) error {
	m, err := wire.ParseLeave(message)
	if c := r.channels[m.Channel]; err == nil && c != nil && c.group.IsValid() {
		r.emit(Event{Kind: Leave, Channel: c})
	}
	return err
}

func (r *State) onClose(message []byte) error {
	m, err := wire.ParseClose(message)
	if err != nil {
		return err
	}
	c := r.channels[m.Channel]
	if c == nil {
		return nil
	}
	c.closed = true
	delete(r.channels, m.Channel)
	r.recent = nil
	r.open = slices.DeleteFunc(r.open, func(o *Channel) bool { return o == c })
	for _, a := range c.blocks {
		if a != nil && !a.Complete() {
			r.pool.Put(a.Release())
		}
	}
	if c.group.IsValid() {
		r.emit(Event{Kind: Leave, Channel: c})
	}
	return nil
}
