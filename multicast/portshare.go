package multicast

import "math"

// traffic is what leaves by the source's port, in bytes per second. all = 0: not known.
type traffic struct{ ours, all float64 }

// portShare is our share of the source's port, if the others there are those whom we compete with: if so, they fill what
// we leave, and give what we take.
type portShare struct {
	mean   traffic // lately
	past   traffic // with another rate of ours
	common bool    // the others gave or took at least half of the last change of our rate
}

const (
	fairShare  = 0.5
	shareSlack = 0.05
	shrink     = 0.97
	smoothing  = 0.25
	// leastChange is how much our rate must have changed for what the others did meanwhile to mean something.
	leastChange = 0.15
)

// update takes in what has left since the last time, and gives our share; known: it is that of the path, too.
func (p *portShare) update(t traffic) (share float64, known bool) {
	if t.all == 0 {
		*p = portShare{}
		return 0, false
	}
	if p.mean.all == 0 {
		p.mean, p.past = t, t
	}
	p.mean.ours += smoothing * (t.ours - p.mean.ours)
	p.mean.all += smoothing * (t.all - p.mean.all)
	if change := p.mean.ours - p.past.ours; math.Abs(change) > leastChange*p.past.ours {
		p.common = (p.mean.all-p.past.all)/change < 0.5
		p.past = p.mean
	}
	return p.mean.ours / p.mean.all, p.common
}
