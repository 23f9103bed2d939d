package sender

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// Timing of the source's side; a test may scale it.
type Timing struct {
	Probe    time.Duration // how long a path is probed
	ProbeGap time.Duration // first gap between probes, doubled up to eight times
	Rejoin   time.Duration // between announcements to a member that does not answer
	Mark     time.Duration // first gap between marks, doubled up to eight times
	Silence  time.Duration // until a path that is sent on and not heard counts as silent
	Dead     time.Duration // until a target without reports is ejected
	Report   time.Duration // least time between reports that a target is asked for
	Keyed    time.Duration // until a target must have taken the next key
	Stuck    time.Duration // until a member must have placed a block that it has, to stay in its group
}

// DefaultTiming is what the protocol runs with.
func DefaultTiming() Timing {
	return Timing{
		Probe: 3 * time.Second, ProbeGap: 10 * time.Millisecond, Rejoin: 600 * time.Millisecond,
		Mark: 20 * time.Millisecond, Silence: 700 * time.Millisecond, Dead: 2500 * time.Millisecond,
		Report: wire.FirstEvery * time.Millisecond, Keyed: 5 * time.Second, Stuck: 5 * time.Second,
	}
}

// maxGap bounds the doubling of the gaps between probes, and between marks.
const maxGap = 8
