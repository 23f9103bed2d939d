package congestion

import (
	"testing"
	"time"
)

// TestTrailOfManyBursts sends bursts as fast as a fast link does, with a gap in the sequences: the trail goes back a quarter of a
// second all the same, and knows when each datagram was sent, and as which.
func TestTrailOfManyBursts(t *testing.T) {
	const (
		every = 20 * time.Microsecond
		burst = 40
		back  = 240 * time.Millisecond
	)
	var tr Trail
	sequence := func(i int) uint64 { return uint64(i*burst + i/1000) } // one is left out now and then
	n := int(time.Second / every)
	for i := range n {
		tr.Add(instant(i)*every, sequence(i), sequence(i)+burst-1)
	}
	for i := n - int(back/every); i < n; i++ {
		count, at, ok := tr.find(sequence(i) + 7)
		if sent := instant(i) * every; !ok || count != uint32(i*burst+8) || at > sent || at <= sent-stepTime {
			t.Fatalf("burst %d, sent at %v: %d, %v, %v", i, sent, count, at, ok)
		}
	}
	if _, _, ok := tr.find(0); ok {
		t.Error("the trail goes back to the beginning")
	}
	if _, _, ok := tr.find(sequence(1000*((n-1)/1000)) - 1); ok {
		t.Error("found what was not sent")
	}
}
