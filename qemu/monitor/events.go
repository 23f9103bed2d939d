package monitor

import (
	"sync/atomic"

	"github.com/digitalocean/go-qemu/qmp"
)

// Event is something that QEMU reports unasked, such as STOP or MIGRATION.
type Event = qmp.Event

// MaxEventBuffer bounds the buffer of a Subscription, in events.
const MaxEventBuffer = 1 << 16

// Subscription is one reader's own queue of events. A reader that is too slow loses the newest ones; it holds up
// neither commands nor other readers.
type Subscription struct {
	C <-chan Event // closed by Close and at the end of the connection

	c       chan Event
	client  *Conn
	dropped atomic.Uint64
}

// Subscribe delivers all later events, up to buffer of them (1 to MaxEventBuffer) ahead of the reader.
func (c *Conn) Subscribe(buffer int) *Subscription {
	ch := make(chan Event, min(max(buffer, 1), MaxEventBuffer))
	s := &Subscription{C: ch, c: ch, client: c}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		close(ch)
		return s
	}
	c.subs[s] = struct{}{}
	return s
}

// Dropped counts the events that found the buffer full.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription; it may be called again.
func (s *Subscription) Close() {
	s.client.mu.Lock()
	defer s.client.mu.Unlock()
	if _, ok := s.client.subs[s]; ok {
		delete(s.client.subs, s)
		close(s.c)
	}
}

func (c *Conn) publish(ev Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.subs {
		select {
		case s.c <- ev:
		default:
			s.dropped.Add(1)
		}
	}
}
