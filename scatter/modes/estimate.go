package modes

import (
	"math"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
)

// What a switch-over takes, whatever remains.
const (
	FixedPerStop = 20 * time.Millisecond
	DeviceBytes  = 200 << 10 // of a VM's stream beside its pages
	FilterSpeed  = 1 << 30   // bytes/s at which QEMU and the filter work off dirty pages
)

// VM is what is known of a VM before it moves.
type VM struct {
	Memory float64 // bytes that are not zero
	Writes Writes

	Traffic Traffic
}

// Traffic is what a guest sends and receives, in bytes/s.
type Traffic struct {
	Sends, Receives float64
	Known           bool
}

// Writes is how a VM dirties its memory.
type Writes struct {
	Hot float64       // bytes that were dirtied in In
	In  time.Duration // between two looks
	Set float64       // bytes that it goes on to dirty, as far as that is known; 0: not known
}

// found is the part of a VM's hot pages that two looks find.
const found = 0.5

// Rate is how fast a VM dirties its memory, in bytes/s, as far as that is known.
func (w Writes) Rate() float64 { return w.Hot / max(1e-3, w.In.Seconds()) }

// Hottest is the bytes that are dirtied over and over.
func (w Writes) Hottest() float64 {
	if w.Set > 0 {
		return w.Set
	}
	return w.Hot / found
}

// mostFound bounds the part of a set that two looks are believed to have found: how fast the rest is dirtied can then be told.
const mostFound = 0.98

// within is how many bytes a VM dirties in so many seconds that has this share of its processors' time: pages of its set, each at any time.
func (w Writes) within(seconds, share float64) float64 {
	set := w.Hottest()
	if set == 0 {
		return 0
	}
	speed := -math.Log(1-min(mostFound, w.Hot/set)) / max(1e-3, w.In.Seconds())
	return set * (1 - math.Exp(-speed*share*seconds))
}

// Convergent is the part of the rate up to which a VM that dirties less converges by itself, within a few passes.
const Convergent = 0.7

// Hopeless tells whether a VM dirties so fast, as far as that is known, that it would not converge on a way of so many bytes/s.
func (w Writes) Hopeless(rate float64) bool { return w.Rate() >= Convergent*rate }

// Way is what leads to a VM's target.
type Way struct {
	Rate  float64       // bytes/s for this VM, beside others that move at the same time
	Fill  float64       // bytes/s where it lacks pages, which go before all else
	Limit time.Duration // of its pause
	All   time.Duration // that the evacuation takes
}

// Estimate is what a mode would take of a VM. Bytes and Time are those of its stream, beside what bulk brings it.
type Estimate struct {
	Mode     model.Mode
	Fits     bool          // it would come to an end, and its pause would not be longer than is tolerated
	Bytes    float64       // of pages
	Time     time.Duration // until it runs on its target
	Pause    time.Duration
	Lost     time.Duration // of its guest's work
	Exposed  time.Duration // for which it lives on both hosts
	Throttle float64       // share of its processors' time that is taken
	Contends time.Duration // of its guest's traffic, that the evacuation takes the link from
}

const (
	takesOver = 5 * time.Millisecond // a target needs on top to take the devices of a VM without its memory
	mostPass  = 12                   // passes that are looked at
	better    = 0.9                  // than the best so far, in a pass that has gained something
	stalls    = 3                    // passes that gain nothing
	waits     = 0.6                  // of the time in which its hot pages come, a VM waits that takes over without them
	touched   = 32 << 20             // bytes that a guest uses all the time, though it does not write them
	throttles = 0.05                 // steps in which throttling is looked at
)

// Estimate is what a mode would take of the VM. throttle is the most that may be taken from it.
func (v VM) Estimate(m model.Mode, way Way, throttle float64) Estimate {
	var e Estimate
	switch m {
	case model.ModePost:
		e = v.post(way)
	case model.ModeHybrid:
		e = v.hybrid(way)
	case model.ModeThrottle:
		e = v.throttled(way, throttle)
	default:
		e = v.passes(way, 0)
	}
	e.Mode = m
	e.Contends = v.contends(e, way)
	return e
}

// passes is pre-copy, pass by pass, of a VM from which a share of its processors' time is taken.
func (v VM) passes(way Way, taken float64) (e Estimate) {
	left, best, worse, took := v.Writes.within(way.All.Seconds(), 1), math.Inf(1), 0, 0.0
	for range mostPass {
		next := left/way.Rate + left/FilterSpeed
		if e.Pause = FixedPerStop + Seconds(next+DeviceBytes/way.Rate); FixedPerStop+Seconds(next) <= way.Limit {
			e.Fits = true
			break
		}
		if next < better*best {
			best, worse = next, 0
		} else if worse++; worse == stalls {
			break
		}
		took, e.Bytes = took+next, e.Bytes+left
		left = v.Writes.within(next, 1-taken)
	}
	e.Bytes += left
	e.Time, e.Throttle = Seconds(took)+e.Pause, taken
	e.Lost = e.Pause + Seconds(took*taken)
	return e
}

// throttled is pre-copy with the throttle that comes to an end and costs least: much for a short time may be less than little for a long one.
func (v VM) throttled(way Way, most float64) Estimate {
	best := v.passes(way, most)
	for taken := 0.0; taken < most; taken += throttles {
		if e := v.passes(way, taken); e.Fits && (!best.Fits || e.Lost < best.Lost) {
			best = e
		}
	}
	return best
}

// hybrid is one pass, and then what is left of a VM that runs already. Of one that would dirty that again before the pass is over, nothing is sent in it.
func (v VM) hybrid(way Way) (e Estimate) {
	lacks := v.Writes.within(way.All.Seconds(), 1)
	if FixedPerStop+Seconds(lacks/way.Rate) <= way.Limit {
		return v.passes(way, 0)
	}
	if !v.Writes.Hopeless(way.Rate) {
		first := lacks/way.Rate + lacks/FilterSpeed
		e.Bytes, e.Time = lacks, Seconds(first)
		lacks = v.Writes.within(first, 1)
	}
	return v.without(e, lacks, lacks, way)
}

// post is a VM that takes over without any of its memory, which comes with that of all others.
func (v VM) post(way Way) Estimate {
	e := v.without(Estimate{}, v.Memory, max(v.Writes.Hottest(), min(touched, v.Memory)), way)
	e.Bytes, e.Exposed = 0, max(e.Exposed, way.All)
	return e
}

// without has a VM take over that lacks so many bytes, of which it waits for some.
func (v VM) without(e Estimate, lacks, wanted float64, way Way) Estimate {
	e.Fits = true
	e.Pause = FixedPerStop + takesOver
	e.Exposed = Seconds(lacks / max(way.Fill/10, way.Fill-v.Traffic.Receives))
	e.Lost = e.Pause + Seconds(waits*wanted/way.Fill)
	e.Bytes += lacks
	e.Time += e.Pause
	return e
}

// contends is for how long, in all of its guest's traffic, the evacuation would have the link instead: what a guest sends goes by the source's link as
// long as it lives there, what it receives by its target's while its memory comes there. Two that want all of a link get half of it each.
func (v VM) contends(e Estimate, way Way) time.Duration {
	part := func(traffic float64) float64 { return min(1, traffic/way.Rate) / 2 }
	at := way.All.Seconds()
	if e.Mode == model.ModePost {
		at = 0
	}
	return Seconds(part(v.Traffic.Sends)*at + part(v.Traffic.Receives)*e.Exposed.Seconds())
}

// Seconds is so many of them.
func Seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }
