package sender

import (
	"fmt"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
)

// pattern is how a path loses datagrams.
type pattern struct {
	name   string
	merged int
	bad    time.Duration
	most   float64 // times what as much loss costs that comes one by one
}

var patterns = []pattern{
	// As a buffer, a queue, or a host that has merged them drops them.
	{"runs of 8", 8, 0, 1.5}, {"runs of 45", 45, 0, 1.5}, {"runs of 200", 200, 0, 1.6},
	// The longer a path is bad, the more it looks like one that carries less.
	{"bad for 1 ms", 0, time.Millisecond, 1.5}, {"bad for 10 ms", 0, 10 * time.Millisecond, 2.2}, {"bad for 100 ms", 0, 100 * time.Millisecond, 12},
}

// overLossy is how long 50 MB take to two targets over a link of 300 Mbit/s, each of which loses a part of them in its own pattern.
func overLossy(t *testing.T, loss float64, p pattern, auto bool) time.Duration {
	l := plain()
	l.loss, l.merged, l.bad = loss, p.merged, p.bad
	w := newWorldOf(t, 1, 24<<20, 1472)
	w.rate, w.auto = 37.5e6, auto
	w.port = port{rate: 37.5e6, queue: 1 << 20}
	for _, name := range names(2) {
		w.addHost(name, l, 24<<20)
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(2)}, w.payloads(100, 1<<20))
	w.run(30*time.Minute, w.finished)
	w.verify()
	return w.now
}

// TestLossPatterns: what is lost in runs costs little more than what is lost one by one, whether the rate is given or found.
func TestLossPatterns(t *testing.T) {
	losses := []float64{0.05, 0.01, 0.15}
	tried.Inputs(t, "loss pattern", 2*len(losses)*len(patterns))
	for _, auto := range []bool{false, true} {
		for _, loss := range losses {
			if testing.Short() && loss != 0.05 {
				continue
			}
			t.Run(fmt.Sprintf("found=%v/%.0f%%", auto, 100*loss), func(t *testing.T) {
				t.Parallel()
				single := overLossy(t, loss, pattern{}, auto)
				for _, p := range patterns {
					if testing.Short() && p.merged != 45 {
						continue
					}
					took := overLossy(t, loss, p, auto)
					t.Logf("%s: %.2f s, one by one %.2f s", p.name, took.Seconds(), single.Seconds())
					if took.Seconds() > p.most*single.Seconds() {
						t.Errorf("%s: takes %v, one by one %v", p.name, took, single)
					}
				}
			})
		}
	}
}
