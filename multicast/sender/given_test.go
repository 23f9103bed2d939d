package sender

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
)

// givenRate sends blocks to three targets at a given rate through a bottleneck, and returns the bytes on the wire per byte of payload.
func givenRate(t *testing.T, seed uint64, rate, bottleneck, loss float64, blocks int) (*world, float64) {
	w := slowFleet(t, 3, 0, blocks)
	w.rng = rand.New(rand.NewPCG(seed, 1))
	w.rate, w.port = rate, port{rate: bottleneck, queue: 256 << 10}
	for _, h := range w.hosts {
		h.link.loss = loss
	}
	w.run(10*time.Minute, w.finished)
	w.verify()
	return w, float64(w.onWire) / float64(blocks*(256<<10))
}

// TestGivenRateBeyondThePath: who is told ten times what the path carries does not go on sending ten times as much, and the path stays used.
func TestGivenRateBeyondThePath(t *testing.T) {
	for _, loss := range []float64{0, 0.05} {
		t.Run(fmt.Sprint(loss), func(t *testing.T) {
			const bottleneck, blocks = 1.25e6, 80
			var costs, uses []float64
			seeds := uint64(7)
			if testing.Short() {
				seeds = 3
			}
			for seed := range seeds {
				w, overhead := givenRate(t, seed, 10*bottleneck, bottleneck, loss, blocks)
				costs, uses = append(costs, overhead), append(uses, blocks*(256<<10)/w.now.Seconds()/bottleneck)
			}
			slices.Sort(costs)
			slices.Sort(uses)
			t.Logf("%.2f bytes per byte, %.2f of the path used", costs, uses)
			if costs[seeds/2] > 1.5 || uses[seeds/2] < 0.75 || costs[seeds-1] > 2.5 || uses[0] < 0.6 {
				t.Errorf("%.2f bytes per byte, %.2f of the path used", costs, uses)
			}
		})
	}
}

// TestGivenRateIsBelieved: loss that parity can mend does not slow down who was given a rate, nor does a cut of a second.
func TestGivenRateIsBelieved(t *testing.T) {
	const rate = 2.5e6
	w, _ := givenRate(t, 1, rate, 0, 0.25, 20)
	if w.sender.rates.link.Doubted() || w.sender.Rate() != rate {
		t.Errorf("a quarter is lost: rate %.0f", w.sender.Rate())
	}

	w = slowFleet(t, 3, 0, 60)
	w.rate = rate
	for _, h := range w.hosts {
		h.link.down = func(now instant) bool { return now > 2*time.Second && now < 3*time.Second }
	}
	for !w.finished() {
		until := w.now + congestion.Interval
		w.run(time.Minute, func() bool { return w.finished() || w.now >= until })
		if w.sender.rates.link.Doubted() {
			t.Fatalf("doubted after %v", w.now)
		}
	}
}
