// Package steer decides, observation by observation, what a VM that converges should do next. It has no clock and does no I/O.
package steer

import (
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// Steering knows what was observed of one VM so far.
//
// Of the pages that QEMU finds dirty, the filter passes on only those whose bytes have changed. The share that
// passed in the last pass, applied to what is dirty now, says how long the pause would last. The first pass goes over
// all pages, most of which bulk has sent: it says nothing about dirty ones, so after it all of these count.
type Steering struct {
	Rate  int64         // bytes/s towards the target
	Limit time.Duration // tolerated pause

	// MostThrottle is the share of its processor time that may be taken from a VM which would not converge otherwise; 0 = none. What is
	// taken is set anew at each pass, up or down: it is the least with which what remains after the next pass fits into Limit (Jin, Li,
	// Wu, Deng, Pan: Optimizing the live migration of virtual machine by CPU scheduling, JNCA 2011).
	MostThrottle float64

	// PostCopy: a VM that would not converge otherwise may take over before it has all of its memory. Hybrid: so does one of which more remains
	// after the first pass than fits into Limit (Hirofuchi, Nakada, Itoh, Sekiguchi: Reactive consolidation of virtual machines enabled by
	// postcopy live migration, VTDC 2011; Hu, Zhao, Xu, Ding, Chu: HMDC, CCEM 2012).
	PostCopy, Hybrid bool

	// Writes is how the VM dirties its memory, as far as that is known: one that does so too fast is throttled from its first pass on.
	Writes modes.Writes

	// Predicted is the pause if the VM were switched over at the last observation.
	Predicted time.Duration
	// Throttle is the share that is to be taken from now on. A VM that is not throttled has all.
	Throttle float64

	last      Observation
	passes    int
	best      time.Duration // smallest prediction so far
	worse     int           // passes in a row that did not improve on it
	throttles bool
	agreed    time.Duration // when as much was taken as was to be
}

// Observation is the state of a VM's migration at the begin of a pass over its dirty pages.
type Observation struct {
	At        time.Duration // since any moment
	Remaining int64         // bytes that are dirty
	Processed int64         // pages that the filter has seen so far
	Sent      int64         // bytes that it has passed on so far
	Throttled float64       // share of the VM's processor time that is taken from it
}

// Order is what a VM should do next.
type Order uint8

const (
	Hold       Order = iota // another pass
	SwitchOver              // stop, and go
	GiveUp                  // it never will
	Throttle                // another pass, with the VM throttled as the steering says
	PostCopy                // stop, and go without what remains
)

func (o Order) String() string {
	return [...]string{"hold", "switch-over", "give-up", "throttle", "post-copy"}[o]
}

// After stallPasses passes without a better prediction there is no hope.
const (
	stallPasses = 3
	improvement = 0.9 // of the best prediction counts as better
)

// Step says what follows from an observation.
func (s *Steering) Step(o Observation) Order {
	pages, bytes, took := o.Processed-s.last.Processed, o.Sent-s.last.Sent, o.At-s.last.At
	s.last = o
	s.passes++
	if s.passes == 1 {
		return s.begin(o)
	}
	if pages == 0 {
		return Hold
	}
	share := 1.0
	if s.passes > 2 {
		share = float64(bytes) / float64(pages*model.PageSize)
	}
	next := float64(o.Remaining)*share/float64(s.Rate) + float64(o.Remaining)/modes.FilterSpeed // seconds
	s.Predicted = modes.FixedPerStop + modes.Seconds(next)
	if s.Predicted <= s.Limit {
		return SwitchOver
	}
	stalled := s.stalled()
	switch {
	case s.Hybrid:
		return PostCopy
	case s.MostThrottle > 0:
		return s.orPostCopy(s.throttle(o, share, next, took.Seconds(), stalled))
	case stalled:
		return s.orPostCopy(GiveUp)
	}
	return Hold
}

// orPostCopy gives a VM up only where it may not take over as it is.
func (s *Steering) orPostCopy(o Order) Order {
	if o == GiveUp && s.PostCopy {
		return PostCopy
	}
	return o
}

// stalled tells whether some passes were no better than one before them.
func (s *Steering) stalled() bool {
	if s.best == 0 || float64(s.Predicted) < improvement*float64(s.best) {
		s.best, s.worse = s.Predicted, 0
		return false
	}
	s.worse++
	return s.worse >= stallPasses
}

const (
	aim        = 0.7  // of the tolerated pause is what a throttled VM is steered to: guests are no machines
	slack      = 0.02 // of what is to be taken
	longestLag = 8 * time.Second
)

// Hopeless tells whether a VM dirties so fast, as far as that is known, that it would not converge.
func (s *Steering) Hopeless() bool { return s.Writes.Hopeless(float64(s.Rate)) }

// begin is for the first pass, over all pages, in which those that were dirtied since bulk are sent.
func (s *Steering) begin(o Observation) Order {
	if s.MostThrottle <= 0 || !s.Hopeless() {
		return Hold
	}
	s.agreed = o.At
	return s.take(s.Writes.Rate(), s.Writes.Hottest()/float64(s.Rate))
}

// lag tells whether less is taken from the VM than was ordered: some hypervisors take their time, but not for ever.
func (s *Steering) lag(o Observation) bool {
	if o.Throttled >= s.Throttle-slack {
		s.agreed = o.At
		return false
	}
	if o.At-s.agreed <= longestLag {
		return true
	}
	s.MostThrottle = min(s.MostThrottle, o.Throttled) // more cannot be had
	return false
}

// throttle steers a VM whose next pass takes so many seconds; the last one took as many as it says.
func (s *Steering) throttle(o Observation, share, next, took float64, stalled bool) Order {
	if s.lag(o) {
		s.worse = 0 // what was ordered has not had its effect
	} else if stalled && s.Throttle >= s.MostThrottle {
		return GiveUp
	}
	if took <= 0 {
		return Hold
	}
	writes := float64(o.Remaining) * share / took / (1 - o.Throttled) // bytes/s, of a VM that is not throttled
	if !s.throttles && writes < modes.Convergent*float64(s.Rate) && s.worse == 0 {
		return Hold // it converges by itself
	}
	return s.take(writes, next)
}

// take takes the least from a VM that writes so much with which what is wanted remains after a pass of so many seconds.
func (s *Steering) take(writes, next float64) Order {
	s.throttles = true
	wanted := aim * (s.Limit - modes.FixedPerStop).Seconds() * float64(s.Rate) // bytes that may remain after the next pass
	before := s.Throttle
	s.Throttle = min(s.MostThrottle, max(0, 1-wanted/max(wanted, writes*next)))
	if s.Throttle == before {
		return Hold
	}
	return Throttle
}
