package congestion

import (
	"math"
	"time"
)

// Pace finds the rate that a path carries, from the loss and the queueing delay that are seen at the present one.
//
// It grows fast at first, then slowly, as long as queues are short and loss is not more than what the path loses at any
// rate. Loss alone does not tell congestion from a bad link, so a suspicion is tested: the rate is cut to what arrives,
// and if the loss stays, it does not come from the rate; the rate is taken back, and that loss is the path's own.
//
// A queue that does not drain after a cut is somebody else's: a TCP flow fills it whatever we do, and would be left all
// of the link by who shuns queues, and nothing by who ignores loss. So with a rival on the path the rate goes as TCP's does.
type Pace struct {
	rate     float64 // bytes per second
	floor    float64
	ceiling  float64 // 0 = none
	starting bool
	resumed  int           // times that it has started again after a suspicion
	base     float64       // loss at any rate
	learned  time.Duration // that base is the mean of
	at       instant       // when the rate was last considered
	blind    instant       // until then, what is seen is older than the last cut
	proven   float64       // half of what the path carried before a trouble
	troubled instant       // since when
	test     test
	drain    drain
	rival    rival
}

// test is a suspicion under test, with what was before the cut.
type test struct {
	running  bool
	rate     float64
	starting bool
	quiet    bool // nothing had waited in a queue: it is no overflow
	loss     float64
}

// drain is a queue that should become empty after a cut, with what was before the first.
type drain struct {
	running  bool
	rate     float64
	starting bool
	cuts     int
	until    instant
}

const (
	// Interval is the time between one thought about a rate and the next.
	Interval = 50 * time.Millisecond
	// StartRate is where a rate that is found begins, in bytes per second: 20 Mbit/s.
	StartRate = 2_500_000
	floorRate = 125_000 // bytes per second: 1 Mbit/s
	// leastDatagrams is the least number of datagrams whose loss is worth a thought.
	leastDatagrams = 20

	// Factors of the rate in Interval; mostElapsed bounds the time that growth is made up for.
	growStart   = 1.22
	growSteady  = 1.015
	mostElapsed = 200 * time.Millisecond

	// busyPart of what a rate allows must have been sent for it to count as used.
	busyPart = 0.8

	backOff    = 0.9
	startCut   = 0.6 // at least, after growth at growStart
	provenPart = 0.5
	shortBurst = 8 << 10 // bytes that leave together at low rates, or little more
	queueLimit = 4       // times what is noise

	excessLoss   = 0.02 // beyond the path's own
	excessSigmas = 3    // likewise, where few datagrams make loss uncertain
	chanceRuns   = 2    // likewise, where datagrams are lost in runs
	lossTestPart = 0.6  // of the loss must stay after the cut for it to be the path's own
	// mostBase is the largest loss that parity is left to hide. Beyond it the path is taken for congested.
	mostBase = 0.3
	// mostResumed is how often a start goes on after a suspicion.
	mostResumed = 4
	// baseMemory is the time that the path's own loss is the mean of: too long for it to follow the loss that a growing
	// rate causes.
	baseMemory = 2 * time.Second
	// sameTrouble is the time in which all cuts are for the same reason.
	sameTrouble = time.Second

	// farTrip is a round trip with empty queues that is no local network's.
	farTrip = 5 * time.Millisecond
	// drainCuts is how often the rate is cut for a queue to drain, before it is taken for a rival's.
	drainCuts = 3
)

// NewPace begins at a rate of so many bytes per second.
func NewPace(rate float64) Pace { return Pace{rate: rate, floor: floorRate, starting: true} }

// NewPaceAfter begins at what arrived of a rate, of which a part was lost on the path. Where that is any, the path has shown what it carries.
func NewPaceAfter(rate, lost float64) Pace {
	p := NewPace(rate * (1 - lost))
	if lost > 0 {
		p.proven = provenPart * p.rate
	}
	return p
}

// Rate is where the pace stands, in bytes per second.
func (p *Pace) Rate() float64 { return p.rate }

// Limit sets a ceiling from the next thought on, in bytes per second; 0 = none.
func (p *Pace) Limit(ceiling float64) { p.ceiling = ceiling }

// Blind is until when what is seen of the path is older than the last cut.
func (p *Pace) Blind() instant { return p.blind }

// Used tells whether bytes that were sent in some time use the rate.
func (p *Pace) Used(bytes uint64, in time.Duration) bool {
	return float64(bytes) > busyPart*p.rate*in.Seconds()
}

// Consider moves the rate by what was seen lately. busy: the path was used to its rate. t is what left by our port meanwhile; none if the path
// is not all of it.
func (p *Pace) Consider(now instant, s Sample, busy bool, t Traffic) {
	if now < p.blind {
		p.at = now
	}
	if now < p.blind || s.sent < leastDatagrams {
		return
	}
	elapsed := min(now-p.at, mostElapsed)
	p.at = now
	switch {
	case p.rival.there:
		s.run = 1 // a TCP flow does not ask, either
		p.compete(now, s, busy, t, elapsed)
	case p.far(s):
		p.drain = drain{rate: p.rate, starting: p.starting}
		p.meet(now, s)
	default:
		p.explore(now, s, busy, elapsed)
	}
	p.learn(s, elapsed)
	p.rate = max(p.rate, p.floor)
	if p.ceiling > 0 {
		p.rate = min(p.rate, p.ceiling)
	}
}

// explore moves the rate of a path that seems to be ours alone.
func (p *Pace) explore(now instant, s Sample, busy bool, elapsed time.Duration) {
	queued := p.queued(s)
	p.drain.running = p.drain.running && queued
	switch tooMuch := p.tooMuch(s); {
	case p.drain.running && tooMuch: // far from it still
		p.cut(now, s, (1-s.Share())*backOff)
	case p.drain.running:
		p.await(now, s)
	case p.test.running:
		p.judge(s)
	case tooMuch:
		p.suspect(s)
		p.cut(now, s, p.delivered(s)*backOff)
	case queued && (s.queue() > queueLimit*p.noise() || s.excess(p.base)):
		p.cut(now, s, backOff)
	case busy:
		p.grow(elapsed)
	}
}

// grow raises the rate: fast at first, and after a trouble that has passed, as TCP does after a timeout (RFC 5681, section 3.1).
func (p *Pace) grow(elapsed time.Duration) {
	if p.starting || p.rate < p.proven {
		p.rate *= over(growStart, elapsed)
	} else {
		p.rate *= over(growSteady, elapsed)
	}
}

// over is a factor for Interval when more or less time has gone by.
func over(factor float64, elapsed time.Duration) float64 {
	return math.Pow(factor, elapsed.Seconds()/Interval.Seconds())
}

// trouble notes a cut that is to follow. One that comes on the way back to what the path has carried tells that it carries less now. What a rate
// grew to at first proves nothing.
func (p *Pace) trouble(now instant) {
	switch {
	case p.starting:
		p.troubled = now
	case p.rate > p.proven:
		p.proven, p.troubled = provenPart*p.rate, now
	case now > p.troubled+sameTrouble:
		p.proven, p.troubled = provenPart*p.proven, now
	}
}

// cut lowers the rate. If there is a queue, it should drain then.
func (p *Pace) cut(now instant, s Sample, factor float64) {
	if d := &p.drain; p.queued(s) {
		if !d.running {
			*d = drain{running: true, rate: p.rate, starting: p.starting}
		}
		d.cuts++
		d.until = now + s.lag() + time.Duration(float64(s.queue())/(1-backOff))
	}
	p.trouble(now)
	p.rate *= factor
	p.starting, p.blind = false, now+s.lag()
}

// suspect begins a test of whether the loss goes away with the cut that is to follow.
func (p *Pace) suspect(s Sample) {
	p.test = test{running: true, rate: p.rate, starting: p.starting, quiet: !p.waited(s), loss: s.Share()}
}

// delivered is the part of the rate that gets through.
func (p *Pace) delivered(s Sample) float64 {
	if p.starting { // the rate has grown since
		return min(1-s.Share(), startCut)
	}
	return 1 - s.Share()
}

// judge ends the test: loss that stays is the path's own. A start goes on a few times though the loss has gone: on a path that is bad now and then
// it would end long before the path's rate, and a policer, which has no queue either, tells again.
func (p *Pace) judge(s Sample) {
	p.test.running = false
	switch loss := s.Share(); {
	case loss >= lossTestPart*p.test.loss && loss <= mostBase:
		p.base, p.learned = loss, 0
		p.rate, p.starting = p.test.rate, p.test.starting
	case p.test.starting && p.test.quiet && p.resumed < mostResumed:
		p.resumed++
		p.starting = true
	}
}

// learn takes loss without a queue, unless it is under suspicion, for the path's own.
func (p *Pace) learn(s Sample, elapsed time.Duration) {
	if p.test.running || p.waited(s) || p.tooMuch(s) {
		return
	}
	p.learned = min(p.learned+elapsed, baseMemory)
	p.base += (s.Share() - p.base) * float64(elapsed) / float64(max(p.learned, 1))
}

// await waits until the queue is empty. If it stays in spite of several cuts, it is a rival's.
func (p *Pace) await(now instant, s Sample) {
	switch {
	case now < p.drain.until:
	case p.drain.cuts < drainCuts:
		p.cut(now, s, backOff)
	default:
		p.drain.running, p.test.running = false, false
		p.meet(now, s)
	}
}

// queued tells whether all datagrams have waited in a queue for others than their own burst.
func (p *Pace) queued(s Sample) bool { return s.queue() > p.noise() }

// waited tells whether any has.
func (p *Pace) waited(s Sample) bool { return s.longest-s.empty > p.noise() }

// noise is a wait that tells nothing: that of a machine, or of a burst's last datagram for the first.
func (p *Pace) noise() time.Duration {
	return max(time.Millisecond, time.Duration(shortBurst/p.rate*float64(time.Second)))
}

// tooMuch tells whether the loss is more than parity should hide without question.
func (p *Pace) tooMuch(s Sample) bool { return s.Share() > p.base+excessLoss && s.excess(p.base) }

// far tells whether the path is long, or has a queue that nobody has ever seen empty.
func (p *Pace) far(s Sample) bool { return s.empty > farTrip+2*p.noise() }
