package traffic

import (
	"context"
	"errors"
	"sync"
	"time"
)

// The window over which a Meter looks back, and how often it reads.
const (
	window = 5 * time.Second
	every  = time.Second
)

// Meter follows what this host sends and receives over an interface.
type Meter struct {
	Interface string

	mu       sync.Mutex
	readings []Reading // of the window, the oldest first
	why      error     // the last one failed
}

// Watch reads until ctx ends.
func (m *Meter) Watch(ctx context.Context) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		m.read()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (m *Meter) read() {
	r, err := Interface(m.Interface)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.why = err; err != nil {
		m.readings = nil
		return
	}
	for len(m.readings) > 0 && r.At.Sub(m.readings[0].At) > window {
		m.readings = m.readings[1:]
	}
	m.readings = append(m.readings, r)
}

// Rate is what was sent and received lately.
func (m *Meter) Rate() (Rate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.readings)
	switch {
	case m.why != nil:
		return Rate{}, m.why
	case n < 2:
		return Rate{}, errors.New("it was not read often enough yet")
	}
	return m.readings[n-1].Since(m.readings[0])
}
