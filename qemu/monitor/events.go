package monitor

import (
	"sync"
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
	feed    *feed
	dropped atomic.Uint64
}

// feed hands events out to those who have subscribed.
type feed struct {
	mu    sync.Mutex // guards the fields below, and sending to subscriptions and closing them
	subs  map[*Subscription]struct{}
	ended bool
}

// Subscribe delivers all later events, up to buffer of them (1 to MaxEventBuffer) ahead of the reader.
func (c *Conn) Subscribe(buffer int) *Subscription { return c.feed.subscribe(buffer) }

func (f *feed) subscribe(buffer int) *Subscription {
	ch := make(chan Event, min(max(buffer, 1), MaxEventBuffer))
	s := &Subscription{C: ch, c: ch, feed: f}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		close(ch)
		return s
	}
	f.subs[s] = struct{}{}
	return s
}

// Dropped counts the events that found the buffer full.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Close ends the subscription; it may be called again.
func (s *Subscription) Close() {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if _, ok := s.feed.subs[s]; ok {
		delete(s.feed.subs, s)
		close(s.c)
	}
}

func (f *feed) publish(ev Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.subs {
		select {
		case s.c <- ev:
		default:
			s.dropped.Add(1)
		}
	}
}

// end closes all subscriptions, and those to come.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for s := range f.subs {
		close(s.c)
	}
	clear(f.subs)
}
