package multicast

import "time"

// pace finds the rate that a path carries, from the loss and the queueing delay that are seen at the present one.
//
// It grows fast at first, then slowly, as long as queues are short and loss is not more than what the path loses at any
// rate. Loss alone does not tell congestion from a bad link, so a suspicion is tested: the rate is cut to what arrives,
// and if the loss stays, it does not come from the rate; the rate is taken back, and that loss is the path's own.
type pace struct {
	rate     float64 // bytes per second
	floor    float64
	ceiling  float64 // 0 = none
	starting bool
	base     float64 // loss at any rate
	settle   bool    // the last cut has not yet shown its effect
	test     test
}

// test is a suspicion under test.
type test struct {
	running bool
	rate    float64 // before the cut
	loss    float64
}

const (
	paceInterval = 100 * time.Millisecond
	paceFloor    = 125_000 // bytes per second: 1 Mbit/s
	// paceSamples is the least number of datagrams whose loss is worth a thought.
	paceSamples = 20

	growStart    = 1.5
	growSteady   = 1.03
	queueLimit   = 10 * time.Millisecond
	excessLoss   = 0.02 // beyond the path's own
	lossTestPart = 0.6  // of the loss must stay after the cut for it to be the path's own
	// mostBase is the largest loss that parity is left to hide. Beyond it the path is taken for congested.
	mostBase = 0.3
	backOff  = 0.9
)

func newPace(rate float64) pace { return pace{rate: rate, floor: paceFloor, starting: true} }

// consider moves the rate. busy: the path was used to its rate.
func (p *pace) consider(s sample, busy bool) {
	if p.settle || s.sent < paceSamples {
		p.settle = false
		return
	}
	loss := s.share()
	switch {
	case p.test.running:
		p.judge(loss)
	case loss > p.base+excessLoss:
		p.suspect(loss)
	case s.queue != unknown && s.queue > queueLimit:
		p.cut(backOff)
	case busy:
		p.grow()
		p.base = min(p.base, loss+excessLoss/2)
	}
	p.rate = max(p.rate, p.floor)
	if p.ceiling > 0 {
		p.rate = min(p.rate, p.ceiling)
	}
}

func (p *pace) grow() {
	if p.starting {
		p.rate *= growStart
	} else {
		p.rate *= growSteady
	}
}

func (p *pace) cut(factor float64) {
	p.rate *= factor
	p.starting, p.settle = false, true
}

// suspect cuts the rate to what arrives, to see whether the loss goes away.
func (p *pace) suspect(loss float64) {
	p.test = test{running: true, rate: p.rate, loss: loss}
	starting := p.starting
	p.cut((1 - loss) * backOff)
	p.starting = starting
}

// judge ends the test: loss that stays is the path's own.
func (p *pace) judge(loss float64) {
	p.test.running = false
	if loss >= lossTestPart*p.test.loss && loss <= mostBase {
		p.base = loss
		p.rate = p.test.rate
		return
	}
	p.starting = false
}
