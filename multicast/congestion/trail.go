package congestion

import (
	"sort"
	"time"
)

// Trail remembers when a stream's datagrams were sent, so that a report about a sequence number tells how many of the
// datagrams up to it were lost, and how long the last was on its way.
type Trail struct {
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

// Add notes that the datagrams with sequences first to last were sent.
func (t *Trail) Add(now instant, first, last uint64) {
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
func (t *Trail) find(sequence uint64) (count uint32, at instant, ok bool) {
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
