package multicast

import (
	"fmt"
	"testing"
	"time"
)

// givenRate sends blocks to three targets at a given rate through a bottleneck, and returns the bytes on the wire per byte of payload.
func givenRate(t *testing.T, rate, bottleneck, loss float64, blocks int) (*world, float64) {
	w := slowFleet(t, 3, 0, blocks)
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
			w, overhead := givenRate(t, 10*bottleneck, bottleneck, loss, blocks)
			used := blocks * (256 << 10) / w.now.Seconds() / bottleneck
			t.Logf("%.2f bytes per byte, %.2f of the path used, rate %.0f", overhead, used, w.sender.auto.rate)
			if overhead > 1.6 || used < 0.75 {
				t.Errorf("%.2f bytes per byte, %.2f of the path used", overhead, used)
			}
		})
	}
}

// TestGivenRateIsBelieved: loss that parity can mend does not slow down who was given a rate, nor does a cut of a second.
func TestGivenRateIsBelieved(t *testing.T) {
	const rate = 2.5e6
	w, _ := givenRate(t, rate, 0, 0.25, 20)
	if w.sender.given.doubted || w.sender.auto.rate != rate {
		t.Errorf("a quarter is lost: rate %.0f", w.sender.auto.rate)
	}

	w = slowFleet(t, 3, 0, 60)
	w.rate = rate
	for _, h := range w.hosts {
		h.link.down = func(now instant) bool { return now > 2*time.Second && now < 3*time.Second }
	}
	for !w.finished() {
		until := w.now + paceInterval
		w.run(time.Minute, func() bool { return w.finished() || w.now >= until })
		if w.sender.given.doubted {
			t.Fatalf("doubted after %v", w.now)
		}
	}
}
