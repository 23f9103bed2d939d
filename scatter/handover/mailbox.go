package handover

import (
	"sync"
)

// Mailbox is an unbounded queue of events: drivers never wait for the core. What it can hold is bounded by the few
// events that each VM and target can cause. The zero value is ready.
type Mailbox struct {
	mu    sync.Mutex // guards list
	list  []Event
	ready chan struct{}
	once  sync.Once
}

func (m *Mailbox) init() { m.once.Do(func() { m.ready = make(chan struct{}, 1) }) }

// Put adds an event.
func (m *Mailbox) Put(e Event) {
	m.init()
	m.mu.Lock()
	m.list = append(m.list, e)
	m.mu.Unlock()
	select {
	case m.ready <- struct{}{}:
	default:
	}
}

// Wait is readable when there may be events.
func (m *Mailbox) Wait() <-chan struct{} {
	m.init()
	return m.ready
}

// Take returns all events that are there.
func (m *Mailbox) Take() []Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}
