package congestion

import (
	"math"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// View is how a member sees its stream: loss and delay.
type View struct {
	known    bool
	sent     uint32 // of the stream up to the last report
	arrived  uint32
	still    bool          // that datagram has not waited in queues
	shortest time.Duration // round trip with empty queues
	loss     float64       // recent
	runs     runs          // in which datagrams are lost
	recent   Sample        // since the rate was last considered
}

const (
	// lossMemory is how many datagrams the estimate of loss goes back to.
	lossMemory = 4000
	unknown    = time.Duration(math.MaxInt64)
)

// NewView has seen nothing.
func NewView() View {
	return View{shortest: unknown, recent: noSample()}
}

// Take takes in a report about a path, on which the trail's datagrams were sent.
func (v *View) Take(now instant, t *Trail, p wire.Path) {
	sent, at, ok := t.find(p.Highest)
	if !ok {
		return
	}
	d := now - at - time.Duration(p.Age)*time.Microsecond
	v.delay(d)
	still := d-v.shortest < calm && v.shortest < farTrip
	if v.known && int32(sent-v.sent) > 0 {
		v.count(int(sent-v.sent), int(int32(p.Count-v.arrived)), still && v.still)
	}
	v.known, v.sent, v.arrived, v.still = true, sent, p.Count, still
}

func (v *View) delay(d time.Duration) {
	d = max(d, 0)
	if d < v.shortest-calm { // what seemed to be calm was not
		v.runs = runs{}
	}
	v.shortest = min(v.shortest, d)
	v.recent.empty = v.shortest
	v.recent.shortest, v.recent.longest = min(v.recent.shortest, d), max(v.recent.longest, d)
}

// count notes that of sent datagrams so many arrived. What comes late or twice may make that more than all.
func (v *View) count(sent, arrived int, calm bool) {
	lost := sent - arrived
	v.recent.sent += sent
	v.recent.lost += lost
	weight := float64(sent) / float64(sent+lossMemory)
	v.loss += weight * (float64(lost)/float64(sent) - v.loss)
	if calm { // what a full queue drops, it drops in runs as well
		v.runs.add(v.Loss()*float64(sent), float64(lost))
	}
	v.recent.run = v.runs.length()
}

// Sample gives what was seen since the last one that was enough to tell of the path's loss, or since blind, until when it was too old to tell
// anything: an empty one if that is not enough yet. every is the time between reports.
func (v *View) Sample(now, blind instant, every time.Duration) Sample {
	recent := v.recent
	enough := recent.sent >= v.enough()
	if enough || now < blind {
		v.recent = noSample()
	}
	if !enough {
		return noSample()
	}
	recent.every = every
	return recent
}

// enough is how many datagrams tell of the path's loss: where many are lost together, few would tell of nothing but chance.
func (v *View) enough() int { return int(leastDatagrams * v.runs.length()) }

// Loss is the recent share of datagrams that do not arrive, as estimated, within 0 to 1.
func (v *View) Loss() float64 { return min(1, max(0, v.loss)) }
