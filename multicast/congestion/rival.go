package congestion

import (
	"math"
	"time"
)

// rival is the state of a pace with somebody else's flow on its path.
//
// Where the flow shares the source's own port, what leaves there tells its share, and the rate goes to half. Elsewhere, and for
// want of counters, it goes as CUBIC (RFC 9438) does, with a window that is the rate times the round trip at the last loss:
// it cuts less than TCP, for it grows in larger steps, and grows a little more, for datagrams that are spaced out meet
// each overflow of a queue, and TCP's bursts do not.
type rival struct {
	there bool
	most  float64       // CUBIC's W_max, as a rate
	trip  time.Duration // round trip at the last loss
	since instant       // when the rate was cut for it
	alone int           // samples in a row with an empty queue
	port  portShare
}

const (
	rivalCut    = 0.85
	rivalGrowth = 0.8 // segments per second cubed; TCP cuts to 0.7 and grows with 0.4
	renoGrowth  = 0.6 // segments per round trip; TCP grows with 0.53
	segmentSize = 1514
	// aloneSamples in a row show an empty queue once the rival has gone.
	aloneSamples = 5
	// leap bounds the growth from one sample to the next.
	leap = 1.05
	// convergence is the growth beyond the rate of the last loss, per second.
	convergence = 0.2
)

// meet notes that there is a rival. A rate that has not yet found its bounds grows on until something is lost, as TCP's does
// in slow start.
func (p *Pace) meet(now instant, s Sample) {
	p.rival = rival{there: true}
	p.rate, p.starting = p.drain.rate, p.drain.starting
	if !p.starting {
		p.yield(now, s)
	}
}

// compete moves the rate of a path that is shared. Only loss with a queue is an overflow.
func (p *Pace) compete(now instant, s Sample, busy bool, t Traffic, elapsed time.Duration) {
	r := &p.rival
	if p.queued(s) || p.far(s) {
		r.alone = 0
	} else if r.alone++; r.alone >= aloneSamples {
		r.there = false
		return
	}
	overflow := p.waited(s) && s.excess(p.base)
	switch share, known := r.port.update(t); {
	case p.test.running:
		p.judge(s)
	case p.tooMuch(s):
		if !overflow {
			p.suspect(s)
		}
		p.yield(now, s)
	case overflow && !known:
		p.yield(now, s)
	case known:
		p.starting = p.starting && share < fairShare
		p.balance(share, busy && !overflow, elapsed)
	case busy && p.starting:
		p.grow(elapsed)
	case busy:
		p.rate = max(p.rate, min(r.rate(now), p.rate*over(leap, elapsed)))
	}
}

// yield cuts the rate after a loss. Who has got less than before leaves room for who gets more.
func (p *Pace) yield(now instant, s Sample) {
	r := &p.rival
	p.trouble(now)
	before := r.most
	r.most, r.trip, r.since = p.rate*p.delivered(s), max(s.shortest, time.Millisecond), now
	p.rate = r.most * rivalCut
	if r.most < before {
		r.most *= (1 + rivalCut) / 2
	}
	p.starting, p.blind = false, now+s.lag()
}

// rate is where the rate should be by now.
func (r *rival) rate(now instant) float64 {
	trip := r.trip.Seconds()
	window := r.most * trip / segmentSize
	t := (now - r.since).Seconds()
	k := math.Cbrt(window * (1 - rivalCut) / rivalGrowth)
	cubic := window + rivalGrowth*math.Pow(t-k, 3)
	reno := window*rivalCut + renoGrowth*t/trip
	rate := max(cubic, reno) * segmentSize / trip
	if t > k { // the rival has room to give: find it faster than TCP would
		rate = max(rate, r.most*math.Exp(convergence*(t-k)))
	}
	return rate
}

// balance moves the rate towards the fair share.
func (p *Pace) balance(share float64, busy bool, elapsed time.Duration) {
	switch {
	case share > fairShare+shareSlack:
		p.rate *= over(shrink, elapsed)
	case share < fairShare-shareSlack && busy && p.starting:
		p.grow(elapsed)
	case share < fairShare-shareSlack && busy:
		p.rate *= over(leap, elapsed)
	}
}
