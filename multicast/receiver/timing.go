package receiver

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// Timing of the target's side; a test may scale it.
type Timing struct {
	Heartbeat time.Duration // between reports with nothing to say
	Report    time.Duration // between reports otherwise, before the source says how often
	Reorder   time.Duration // how late a datagram may be without being taken for lost
	KeyRest   time.Duration // how long a key is good after another has been used
}

// DefaultTiming is what the protocol runs with.
func DefaultTiming() Timing {
	return Timing{
		Heartbeat: 200 * time.Millisecond, Report: wire.FirstEvery * time.Millisecond, Reorder: 2 * time.Millisecond, KeyRest: time.Second,
	}
}
