package multicast

import (
	"fmt"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// TestAutomaticRate lets the sender find the rate of a bottleneck with a shallow queue, with and without loss that has
// nothing to do with the rate, and wants most of it used and little dropped.
func TestAutomaticRate(t *testing.T) {
	for _, rate := range []float64{1.25e6, 10e6} {
		for _, loss := range []float64{0, 0.05} {
			t.Run(fmt.Sprintf("%.0f/%v", rate, loss), func(t *testing.T) {
				w := newWorld(t, 1, simWindow)
				w.auto, w.rate = true, StartRate
				w.port = port{rate: rate, queue: 64 << 10}
				l := plain()
				l.loss = loss
				for _, name := range names(3) {
					w.addHost(name, l, simWindow)
				}
				blocks := int(rate * 5 / 250_000)
				w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(blocks, 500_000))
				w.run(time.Minute, w.finished)
				w.verify()
				useful := float64(w.sender.stats.Payload) / w.now.Seconds() / rate
				dropped := float64(w.port.dropped) / float64(w.port.passed+w.port.dropped)
				if most := float64(wire.MinSymbol) / (simPacket + 42) * (1 - loss); useful < 0.8*most || dropped > 0.08 {
					t.Errorf("%.3f of the link is useful, of %.3f possible; %.4f dropped", useful, most, dropped)
				}
			})
		}
	}
}

// TestUnicastFindsItsRate sends to single targets at the same time, one of which has a slow port: it gets what its port
// carries, and the link is not filled with what the port drops.
func TestUnicastFindsItsRate(t *testing.T) {
	w := newWorld(t, 1, simWindow)
	w.rate = 12.5e6
	w.addHost("t0", plain(), simWindow)
	w.addHost("t1", plain(), simWindow).port = port{rate: 1.25e6, queue: 64 << 10}
	w.open(Channel{ID: 1, Members: []string{"t0"}}, w.payloads(200, 200_000))
	w.open(Channel{ID: 2, Members: []string{"t1"}}, w.payloads(30, 200_000))
	w.run(time.Minute, w.finished)
	w.verify()
	p := w.hosts["t1"].port
	if dropped := float64(p.dropped) / float64(p.passed+p.dropped); dropped > 0.4 || w.now > 6*time.Second {
		t.Errorf("%.3f dropped in %v", dropped, w.now)
	}
}

// TestSlowTargetLeavesTheGroup puts a target with a slow port into a group: it is served by unicast in the end, and the
// others get theirs without its repair.
func TestSlowTargetLeavesTheGroup(t *testing.T) {
	w := newWorld(t, 1, simWindow)
	w.rate = 12.5e6
	for _, name := range names(4) {
		w.addHost(name, plain(), simWindow)
	}
	w.hosts["t2"].port = port{rate: 3e6, queue: 64 << 10}
	w.open(Channel{ID: 1, Group: group(1), Members: names(4)}, w.payloads(300, 200_000))
	w.run(2*time.Minute, w.finished)
	w.verify()
	if w.fell != 1 || w.now > 15*time.Second {
		t.Errorf("%d fell back to unicast, done after %v", w.fell, w.now)
	}
}

// TestSlowTargetMayStay puts a target into a group whose port carries a quarter of the rate: what is slow is for the
// operator to say.
func TestSlowTargetMayStay(t *testing.T) {
	for ratio, fell := range map[float64]int{0.5: 1, 0.1: 0, -1: 0} {
		w := newWorld(t, 1, simWindow)
		w.rate, w.sender.slowRatio = 12.5e6, ratio
		for _, name := range names(3) {
			w.addHost(name, plain(), simWindow)
		}
		w.hosts["t2"].port = port{rate: 3e6, queue: 64 << 10}
		w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(200, 200_000))
		w.run(2*time.Minute, w.finished)
		w.verify()
		if w.fell != fell {
			t.Errorf("slow ratio %v: %d fell back to unicast", ratio, w.fell)
		}
	}
}
