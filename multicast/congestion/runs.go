package congestion

import "time"

// runs estimates how many datagrams are lost together: as a full buffer drops them, or a queue, or a host that had merged them before. It is the
// variance of what reports tell of loss, beside that of datagrams which are lost one by one.
type runs struct{ spread, single float64 }

const (
	runMemory = 40               // reports that the estimate goes back to
	calm      = time.Millisecond // that a datagram may wait without a queue
	maxRun    = 100              // datagrams
)

// add takes in a report, with the loss that was to be expected of it.
func (r *runs) add(expected, lost float64) {
	off := lost - expected
	r.spread += (off*off - r.spread) / runMemory
	r.single += (expected - r.single) / runMemory
}

// length is at least 1.
func (r *runs) length() float64 {
	if r.single <= 0 {
		return 1
	}
	return min(max(1, r.spread/r.single), maxRun)
}
