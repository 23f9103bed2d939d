package source

import (
	"sync"

	"github.com/scatter-vm/scatter/scatter/handover"
)

// mailbox is an unbounded queue of events: drivers never wait for the core. What it can hold is bounded by the few
// events that each VM and target can cause. The zero value is ready.
type mailbox struct {
	mu    sync.Mutex // guards list
	list  []handover.Event
	ready chan struct{}
	once  sync.Once
}

func (m *mailbox) init() { m.once.Do(func() { m.ready = make(chan struct{}, 1) }) }

func (m *mailbox) put(e handover.Event) {
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
func (m *mailbox) Wait() <-chan struct{} {
	m.init()
	return m.ready
}

// Take returns all events that are there.
func (m *mailbox) Take() []handover.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := m.list
	m.list = nil
	return list
}
