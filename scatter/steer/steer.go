// Package steer decides, observation by observation, what a VM that converges should do next. It has no clock and does no I/O.
package steer

import (
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// Steering knows what was observed of one VM so far.
//
// Of the pages that QEMU finds dirty, the filter passes on only those whose bytes have changed. The share that
// passed in the last pass, applied to what is dirty now, says how long the pause would last. The first pass goes over
// all pages, most of which bulk has sent: it says nothing about dirty ones, so after it all of these count.
type Steering struct {
	Rate  int64         // bytes/s towards the target
	Limit time.Duration // tolerated pause

	// Predicted is the pause if the VM were switched over at the last observation.
	Predicted time.Duration

	processed int64 // pages, at the last step
	sent      int64 // bytes, at the last step
	passes    int
	best      time.Duration // smallest prediction so far
	worse     int           // passes in a row that did not improve on it
}

// Observation is the state of a VM's migration at the begin of a pass over its dirty pages.
type Observation struct {
	Remaining int64 // bytes that are dirty
	Processed int64 // pages that the filter has seen so far
	Sent      int64 // bytes that it has passed on so far
}

// Order is what a VM should do next.
type Order uint8

const (
	Hold       Order = iota // another pass
	SwitchOver              // stop, and go
	GiveUp                  // it never will
)

func (o Order) String() string { return [...]string{"hold", "switch-over", "give-up"}[o] }

// After stallPasses passes without a better prediction there is no hope.
const (
	stallPasses = 3
	improvement = 0.9 // of the best prediction counts as better
)

// Step says what follows from an observation.
func (s *Steering) Step(o Observation) Order {
	pages, bytes := o.Processed-s.processed, o.Sent-s.sent
	s.processed, s.sent = o.Processed, o.Sent
	s.passes++
	if s.passes < 2 || pages == 0 {
		return Hold
	}
	share := 1.0
	if s.passes > 2 {
		share = float64(bytes) / float64(pages*model.PageSize)
	}
	s.Predicted = planning.FixedPerStop + planning.Seconds(float64(o.Remaining)*share/float64(s.Rate)+float64(o.Remaining)/planning.FilterSpeed)
	if s.Predicted <= s.Limit {
		return SwitchOver
	}
	return s.stalled()
}

func (s *Steering) stalled() Order {
	if s.best == 0 || float64(s.Predicted) < improvement*float64(s.best) {
		s.best, s.worse = s.Predicted, 0
		return Hold
	}
	if s.worse++; s.worse >= stallPasses {
		return GiveUp
	}
	return Hold
}
