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
	shortest time.Duration // round trip with empty queues
	loss     float64       // recent
	recent   sample        // since the rate was last considered
	behind   instant       // since when it has got too little beside the others; never = it has not
}

// sample is what was seen in some time. Round trips are without the time that a target waits with a report.
type sample struct {
	sent, lost        int
	shortest, longest time.Duration // round trips
	empty             time.Duration // the shortest round trip ever: with empty queues, as far as is known
	every             time.Duration // between reports
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
	v.delay(now - at - time.Duration(p.Age)*time.Microsecond)
	if v.known && int32(sent-v.sent) > 0 {
		v.count(int(sent-v.sent), int(int32(p.Count-v.arrived)))
	}
	v.known, v.sent, v.arrived = true, sent, p.Count
}

func (v *view) delay(d time.Duration) {
	d = max(d, 0)
	v.shortest = min(v.shortest, d)
	v.recent.empty = v.shortest
	v.recent.shortest, v.recent.longest = min(v.recent.shortest, d), max(v.recent.longest, d)
}

// count notes that of sent datagrams so many arrived. What comes late or twice may make that more than all.
func (v *view) count(sent, arrived int) {
	lost := sent - arrived
	v.recent.sent += sent
	v.recent.lost += lost
	weight := float64(sent) / float64(sent+lossMemory)
	v.loss += weight * (float64(lost)/float64(sent) - v.loss)
}

// share is the part of the datagrams that has been lost, within 0 to 1.
func (s sample) share() float64 {
	if s.sent == 0 {
		return 0
	}
	return min(1, max(0, float64(s.lost)/float64(s.sent)))
}

// excess tells whether more was lost than chance makes of a path's own loss.
func (s sample) excess(base float64) bool {
	expected := base * float64(s.sent)
	return float64(s.lost) > expected+excessSigmas*math.Sqrt(expected)
}

// queue is how long every datagram has waited in queues.
func (s sample) queue() time.Duration { return s.shortest - s.empty }

// lag is how long it takes until a whole sample tells of a rate that is set now.
func (s sample) lag() time.Duration { return s.longest + s.every + paceInterval }

// recentLoss is the estimate of loss, within 0 to 1.
func (v *view) recentLoss() float64 { return min(1, max(0, v.loss)) }
