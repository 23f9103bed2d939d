package multicast

import (
	"math"
	"sort"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// trail remembers when a stream's datagrams were sent, so that a report about a sequence number tells how many of the
// datagrams up to it were lost, and how long the last was on its way.
type trail struct {
	steps []step // a ring once it is full
	next  int
	count uint32 // datagrams so far
}

// step is one or more bursts: consecutive sequences that were sent within stepTime.
type step struct {
	first, last uint64
	before      uint32 // datagrams before it
	at          instant
}

// The trail goes back for at least a quarter of a second: longer than a round trip, or no report would tell of a rate.
const (
	maxSteps = 1024
	stepTime = 250 * time.Microsecond
)

func (t *trail) add(now instant, first, last uint64) {
	if n := len(t.steps); n > 0 {
		if s := &t.steps[(t.next+n-1)%n]; s.last+1 == first && now < s.at+stepTime {
			s.last = last
			t.count += uint32(last - first + 1)
			return
		}
	}
	s := step{first: first, last: last, before: t.count, at: now}
	t.count += uint32(last - first + 1)
	if len(t.steps) < maxSteps {
		t.steps = append(t.steps, s)
		return
	}
	t.steps[t.next] = s
	t.next = (t.next + 1) % maxSteps
}

// find gives the number of datagrams up to the one with this sequence, and when it was sent; false: long ago, or never.
func (t *trail) find(sequence uint64) (count uint32, at instant, ok bool) {
	n := len(t.steps)
	i := sort.Search(n, func(i int) bool { return t.steps[(t.next+i)%n].last >= sequence })
	if i == n {
		return 0, 0, false
	}
	s := t.steps[(t.next+i)%n]
	if s.first > sequence {
		return 0, 0, false
	}
	return s.before + uint32(sequence-s.first) + 1, s.at, true
}

// view is how a member sees its stream: loss and delay.
type view struct {
	known    bool
	sent     uint32 // of the stream up to the last report
	arrived  uint32
	still    bool          // that datagram has not waited in queues
	shortest time.Duration // round trip with empty queues
	loss     float64       // recent
	runs     runs          // in which datagrams are lost
	recent   sample        // since the rate was last considered
	behind   instant       // since when it has got too little beside the others; never = it has not
}

// sample is what was seen in some time. Round trips are without the time that a target waits with a report.
type sample struct {
	sent, lost        int
	shortest, longest time.Duration // round trips
	empty             time.Duration // the shortest round trip ever: with empty queues, as far as is known
	every             time.Duration // between reports
	run               float64       // datagrams that are lost together; 0 = 1
}

// runs estimates how many datagrams are lost together: as a full buffer drops them, or a queue, or a host that had merged them before. It is the
// variance of what reports tell of loss, beside that of datagrams which are lost one by one.
type runs struct{ spread, single float64 }

const (
	runMemory = 40               // reports that the estimate goes back to
	calm      = time.Millisecond // that a datagram may wait without a queue
	maxRun    = 100              // datagrams
)

// add takes in a report, with the loss that was to be expected of it.
func (r *runs) add(expected, lost float64) {
	off := lost - expected
	r.spread += (off*off - r.spread) / runMemory
	r.single += (expected - r.single) / runMemory
}

// length is at least 1.
func (r *runs) length() float64 {
	if r.single <= 0 {
		return 1
	}
	return min(max(1, r.spread/r.single), maxRun)
}

func noSample() sample { return sample{shortest: unknown} }

const (
	// lossMemory is how many datagrams the estimate of loss goes back to.
	lossMemory = 4000
	unknown    = time.Duration(math.MaxInt64)
)

func newView() view {
	return view{shortest: unknown, recent: noSample(), behind: never}
}

// take takes in a report about a path.
func (v *view) take(now instant, t *trail, p wire.Path) {
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

func (v *view) delay(d time.Duration) {
	d = max(d, 0)
	if d < v.shortest-calm { // what seemed to be calm was not
		v.runs = runs{}
	}
	v.shortest = min(v.shortest, d)
	v.recent.empty = v.shortest
	v.recent.shortest, v.recent.longest = min(v.recent.shortest, d), max(v.recent.longest, d)
}

// count notes that of sent datagrams so many arrived. What comes late or twice may make that more than all.
func (v *view) count(sent, arrived int, calm bool) {
	lost := sent - arrived
	v.recent.sent += sent
	v.recent.lost += lost
	weight := float64(sent) / float64(sent+lossMemory)
	v.loss += weight * (float64(lost)/float64(sent) - v.loss)
	if calm { // what a full queue drops, it drops in runs as well
		v.runs.add(v.recentLoss()*float64(sent), float64(lost))
	}
	v.recent.run = v.runs.length()
}

// enough is how many datagrams tell of the path's loss: where many are lost together, few would tell of nothing but chance.
func (v *view) enough() int { return int(paceSamples * v.runs.length()) }

// share is the part of the datagrams that has been lost, within 0 to 1.
func (s sample) share() float64 {
	if s.sent == 0 {
		return 0
	}
	return min(1, max(0, float64(s.lost)/float64(s.sent)))
}

// excess tells whether more was lost than chance makes of a path's own loss. A run or two is always chance.
func (s sample) excess(base float64) bool {
	expected, run := base*float64(s.sent), max(1, s.run)
	return float64(s.lost) > expected+excessSigmas*math.Sqrt(expected*run)+chanceRuns*(run-1)
}

// queue is how long every datagram has waited in queues.
func (s sample) queue() time.Duration { return s.shortest - s.empty }

// lag is how long it takes until a whole sample tells of a rate that is set now.
func (s sample) lag() time.Duration { return s.longest + s.every + paceInterval }

// recentLoss is the estimate of loss, within 0 to 1.
func (v *view) recentLoss() float64 { return min(1, max(0, v.loss)) }
