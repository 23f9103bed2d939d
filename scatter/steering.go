package scatter

import (
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// steering decides, pass by pass, when a VM may switch over and when it never will. It is a pure function of
// what it is told.
//
// Of the pages that QEMU finds dirty, the filter passes on only those whose bytes have changed. The share that
// passed in the last pass, applied to what is dirty now, says how long the pause would last. The first pass goes over
// all pages, most of which bulk has sent: it says nothing about dirty ones, so after it all of these count.
type steering struct {
	rate  int64         // bytes/s towards the target
	limit time.Duration // tolerated pause

	began     time.Time
	processed int64 // pages, at the last step
	sent      int64 // bytes, at the last step
	passes    int
	predicted time.Duration // pause, if it were now
	best      time.Duration // smallest prediction so far
	worse     int           // passes in a row that did not improve on it
}

// steer is what follows from a pass.
type steer uint8

const (
	steerHold steer = iota
	steerRelease
	steerStalled
)

// After stallPasses passes without a better prediction there is no hope.
const (
	stallPasses = 3
	improvement = 0.9 // of the best prediction counts as better
)

// step takes the state at the begin of a pass: bytes that are dirty, pages seen and bytes sent by the filter so far.
func (s *steering) step(now time.Time, remaining, processed, sent int64) steer {
	pages, bytes := processed-s.processed, sent-s.sent
	s.processed, s.sent, s.began = processed, sent, now
	s.passes++
	if s.passes < 2 || pages == 0 {
		return steerHold
	}
	share := 1.0
	if s.passes > 2 {
		share = float64(bytes) / float64(pages*model.PageSize)
	}
	s.predicted = planning.FixedPerStop + planning.Seconds(float64(remaining)*share/float64(s.rate)+float64(remaining)/planning.FilterSpeed)
	if s.predicted <= s.limit {
		return steerRelease
	}
	return s.stalled()
}

func (s *steering) stalled() steer {
	if s.best == 0 || float64(s.predicted) < improvement*float64(s.best) {
		s.best, s.worse = s.predicted, 0
		return steerHold
	}
	if s.worse++; s.worse >= stallPasses {
		return steerStalled
	}
	return steerHold
}
