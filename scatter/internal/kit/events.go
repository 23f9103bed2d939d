package kit

import (
	"sync"

	"github.com/scatter-vm/scatter/scatter/model"
)

// Tells collects events.
type Tells struct {
	mu  sync.Mutex
	all []model.Event
}

// Add takes an event.
func (l *Tells) Add(e model.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// Of are the messages of one kind about a VM.
func (l *Tells) Of(kind, vm string) (messages []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.all {
		if e.Type == kind && e.VM == vm {
			messages = append(messages, e.Message)
		}
	}
	return messages
}
