package congestion

import (
	"math"

	"github.com/scatter-vm/scatter/multicast/clock"
)

// Traffic is what leaves by the source's port, in bytes per second. all = 0: not known.
type Traffic struct{ ours, all float64 }

// Meter tells the traffic by counters of the bytes that have left.
type Meter struct {
	at         clock.Instant // of the last time
	ours, port uint64        // counted then
}

// Since is the traffic since the last time: ours counts what we have sent, port what has left by the port, from whomever; 0 = not known.
func (m *Meter) Since(now clock.Instant, ours, port uint64) (t Traffic) {
	elapsed := (now - m.at).Seconds()
	t.ours = float64(ours-m.ours) / elapsed
	if m.port > 0 && port > m.port {
		t.all = max(t.ours, float64(port-m.port)/elapsed)
	}
	m.at, m.ours, m.port = now, ours, port
	return t
}

// portShare is our share of the source's port, if the others there are those whom we compete with: if so, they fill what
// we leave, and give what we take.
type portShare struct {
	mean   Traffic // lately
	past   Traffic // with another rate of ours
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
func (p *portShare) update(t Traffic) (share float64, known bool) {
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
