package monitor

import "sync"

// calls are the commands that QEMU has been sent, or is about to be.
type calls struct {
	mu      sync.Mutex // guards the fields below; held for no I/O
	lastID  uint64
	pending map[uint64]*call
}

// call is a command that QEMU has not answered. It stays pending when its caller gave up: it still fills a slot.
type call struct {
	slots chan struct{}
	reply chan Message // buffered, gets one message
}

// register makes a new command, which takes the place that its caller has in slots.
func (a *calls) register(slots chan struct{}) (*call, uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lastID++
	c := &call{slots: slots, reply: make(chan Message, 1)}
	a.pending[a.lastID] = c
	return c, a.lastID
}

// forget drops a command that was not sent, or was answered, and returns it; nil if there is none.
func (a *calls) forget(id uint64) *call {
	a.mu.Lock()
	defer a.mu.Unlock()
	c, ok := a.pending[id]
	if ok {
		delete(a.pending, id)
		<-c.slots
	}
	return c
}
