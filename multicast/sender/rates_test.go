package sender

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/congestion"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// TestAutomaticRate lets the sender find the rate of a bottleneck with a shallow queue, with and without loss that has
// nothing to do with the rate, and wants most of it used and little dropped.
func TestAutomaticRate(t *testing.T) {
	rates := []float64{1.25e6, 10e6}
	if testing.Short() {
		rates = rates[:1]
	}
	for _, rate := range rates {
		for _, loss := range []float64{0, 0.05} {
			t.Run(fmt.Sprintf("%.0f/%v", rate, loss), func(t *testing.T) {
				w := newWorld(t, 1, simWindow)
				w.auto, w.rate = true, congestion.StartRate
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
				useful := float64(w.sender.Stats().Payload) / w.now.Seconds() / rate
				dropped := float64(w.port.dropped) / float64(w.port.passed+w.port.dropped)
				if most := float64(wire.MinSymbol) / (simPacket + 42) * (1 - loss); useful < 0.8*most || dropped > 0.08 {
					t.Errorf("%.3f of the link is useful, of %.3f possible; %.4f dropped", useful, most, dropped)
				}
			})
		}
	}
}

// TestRateBesideUrgentBytes finds the rate with bursts before many of which others' bytes leave that are more urgent: the wait for those is no queue.
func TestRateBesideUrgentBytes(t *testing.T) {
	w := newWorld(t, 1, simWindow)
	w.auto, w.rate, w.urgent = true, congestion.StartRate, 128<<10
	w.port = port{rate: 37.5e6, queue: 256 << 10}
	w.addHost("t0", plain(), simWindow)
	w.open(Channel{ID: 1, Group: group(1), Members: names(1)}, w.payloads(100, 500_000))
	w.run(5*time.Second, func() bool { return w.rate > 0.8*w.port.rate })
	if w.rate < 0.8*w.port.rate {
		t.Errorf("in %v, the rate came to %.2f of the path's", w.now, w.rate/w.port.rate)
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
	if dropped := float64(p.dropped) / float64(p.passed+p.dropped); dropped > 0.25 || w.now > 6*time.Second {
		t.Errorf("%.3f dropped in %v", dropped, w.now)
	}
}

// slowFleet puts n targets on links of 100 Mbit/s into a group, with a window like the engine's. The port of t2 carries
// that part of it.
func slowFleet(t *testing.T, n int, part float64, blocks int) *world {
	w := newWorldOf(t, 1, 24<<20, 1472)
	w.rate = 12.5e6
	for _, name := range names(n) {
		w.addHost(name, plain(), 24<<20)
	}
	if part > 0 {
		w.hosts["t2"].port = port{rate: part * w.rate, queue: 64 << 10}
	}
	payloads := w.payloads(blocks, 1)
	for i := range payloads {
		payloads[i] = bytes.Repeat(payloads[i], 256<<10)
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(n)}, payloads)
	return w
}

// fastDone tells whether all blocks of the first channel are confirmed: the slow target may still get its own.
func (w *world) fastDone() bool {
	return len(w.feed[1]) == 0 && !w.sender.channels.byID[1].opening && !w.sender.channels.byID[1].Outstanding()
}

// TestSlowTargetLeavesTheGroup puts a target on a tenth of the rate into a group of eight: the others have all in hardly
// more time than without it, and it gets the rest by unicast.
func TestSlowTargetLeavesTheGroup(t *testing.T) {
	blocks := 768
	if testing.Short() {
		blocks = 200
	}
	alone := slowFleet(t, 8, 0, blocks)
	alone.run(time.Minute, alone.fastDone)
	w := slowFleet(t, 8, 0.1, blocks)
	w.run(time.Minute, w.fastDone)
	ratio := float64(w.now) / float64(alone.now)
	t.Logf("%v, alone %v: %.3f", w.now, alone.now, ratio)
	if ratio > 1.10 {
		t.Errorf("the others take %.3f of the time that they need alone", ratio)
	}
	w.run(10*time.Minute, w.finished)
	w.verify()
	if len(w.left) != 1 || w.left["t2"] != 1 || w.fell != 0 {
		t.Errorf("left: %v; %d fell back to unicast", w.left, w.fell)
	}
}

// TestSlowTargetsShareWhatIsLeft: together they take little from the others, and each gets something meanwhile.
func TestSlowTargetsShareWhatIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates twice nine seconds of five targets")
	}
	const blocks = 400
	alone := slowFleet(t, 5, 0, blocks)
	alone.run(time.Minute, alone.fastDone)
	w := slowFleet(t, 5, 0.1, blocks)
	w.hosts["t4"].port = port{rate: 0.3 * w.rate, queue: 64 << 10}
	w.run(time.Minute, w.fastDone)
	if ratio := float64(w.now) / float64(alone.now); ratio > 1.10 {
		t.Errorf("the others take %.3f of the time that they need alone", ratio)
	}
	for _, name := range []string{"t2", "t4"} {
		n := 0
		for id, blocks := range w.hosts[name].delivered {
			if id > 1 {
				n += len(blocks)
			}
		}
		if n < 5 {
			t.Errorf("%s has got %d blocks in the background", name, n)
		}
	}
	w.run(10*time.Minute, w.finished)
	w.verify()
	if len(w.left) != 2 || w.left["t2"] != 1 || w.left["t4"] != 1 {
		t.Errorf("left: %v", w.left)
	}
}

// TestSlowTargetHoldsASmallWindow: where the window is gone in less time than a target may be behind, it leaves when the
// others would wait for it.
func TestSlowTargetHoldsASmallWindow(t *testing.T) {
	var took []instant
	for _, part := range []float64{0, 0.1} {
		w := slowFleet(t, 4, part, 100)
		w.sender.window.size = simWindow
		w.run(time.Minute, w.fastDone)
		took = append(took, w.now)
		w.run(10*time.Minute, w.finished)
		w.verify()
	}
	if most := took[0] + heldTime + 3*congestion.Interval; took[1] > most {
		t.Errorf("the others need %v, %v alone: more than %v", took[1], took[0], most)
	}
}

// TestSlowTargetGetsTheEndByUnicast: when the others have all there is, the link is not filled for long with what a slow port
// drops.
func TestSlowTargetGetsTheEndByUnicast(t *testing.T) {
	w := slowFleet(t, 4, 0.1, 20)
	w.run(time.Minute, w.finished)
	w.verify()
	if most := uint64(w.rate * (heldTime + 3*congestion.Interval).Seconds()); w.left["t2"] != 1 || w.sender.Stats().Repair > most {
		t.Errorf("left: %v; %d bytes of repair, more than %d", w.left, w.sender.Stats().Repair, most)
	}
}

// TestWindowOfTheBackground: neither takes the other's part of the window, and the background shares its part.
func TestWindowOfTheBackground(t *testing.T) {
	w := newWorld(t, 1, simWindow)
	for _, name := range names(3) {
		w.addHost(name, plain(), simWindow)
	}
	fill := func(ch *Outbound) int {
		for w.sender.Room(ch, 100_000) {
			w.blocks[ch.ID] = append(w.blocks[ch.ID], make([]byte, 100_000))
			w.sender.Send(ch, w.blocks[ch.ID][ch.backlog.count])
		}
		return ch.backlog.used
	}
	front := w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, nil)
	back := w.open(Channel{ID: 2, Members: names(1), Background: true}, nil)
	w.run(time.Minute, func() bool { return !front.opening && !back.opening })
	const part = simWindow / backgroundWindow
	for range 2 {
		if used := fill(front); used > simWindow-part || used < simWindow/2 {
			t.Errorf("%d bytes of %d are used", used, simWindow)
		}
		if used := fill(back); used > part || used < part/2 {
			t.Errorf("the background uses %d bytes of %d", used, simWindow)
		}
	}
	other := w.open(Channel{ID: 3, Members: []string{"t1"}, Background: true}, nil)
	w.run(time.Minute, func() bool { return !other.opening && w.sender.window.used == 0 })
	fill(front)
	for _, ch := range []*Outbound{back, other} {
		if used := fill(ch); used > part/2 || used < part/4 {
			t.Errorf("one of two in the background uses %d bytes of %d", used, simWindow)
		}
	}
}

// TestSlowTargetLeavesAllGroups: who is too slow for one group is for the others, too, also those that are being opened.
func TestSlowTargetLeavesAllGroups(t *testing.T) {
	w := slowFleet(t, 4, 0.1, 300)
	w.open(Channel{ID: 2, Group: group(2), Members: []string{"t1", "t2"}}, w.payloads(20, 200_000))
	w.open(Channel{ID: 3, Members: []string{"t2"}}, w.payloads(5, 200_000))
	w.after(600*time.Millisecond, func() {
		w.open(Channel{ID: 4, Group: group(4), Members: []string{"t2", "t3"}}, w.payloads(20, 200_000))
	})
	w.run(10*time.Minute, func() bool { return len(w.blocks[4]) > 0 && w.finished() })
	w.verify()
	for _, id := range []wire.ChannelID{1, 2, 4} {
		if !w.excused["t2"][id] {
			t.Errorf("t2 has not left channel %d", id)
		}
	}
	if w.excused["t2"][3] || len(w.left) != 1 {
		t.Errorf("left: %v", w.excused)
	}
}

// TestLateWordsOfOneWhoLeft: what a target reports about a channel that it has left counts for nothing, and when it is
// ejected nothing is counted twice.
func TestLateWordsOfOneWhoLeft(t *testing.T) {
	w := slowFleet(t, 3, 0, 200)
	w.hosts["t2"].link.control = 300 * time.Millisecond // its reports come late
	w.hosts["t1"].link.deliver = 25 * time.Millisecond  // it has not all the blocks that t2 has
	w.after(2500*time.Millisecond, func() {
		w.sender.membership.leaveShared(w.sender.roster.targets["t2"])
		w.act()
	})
	w.after(3500*time.Millisecond, func() {
		w.lost["t2"] = errors.New("ejected")
		w.sender.Eject(w.now, "t2")
		w.act()
	})
	w.run(time.Minute, func() bool { return w.now > 4*time.Second && w.finished() })
	w.verify()
	if w.left["t2"] != 1 {
		t.Errorf("left: %v", w.left)
	}
}

// TestSlowTargetMayStay puts a target into a group whose port carries a quarter of the rate: what is slow is for the
// operator to say.
func TestSlowTargetMayStay(t *testing.T) {
	for ratio, left := range map[float64]int{0.5: 1, 0.1: 0, -1: 0} {
		w := slowFleet(t, 3, 0.25, 40)
		w.sender.membership.slowRatio, w.sender.window.size = ratio, simWindow
		w.run(2*time.Minute, w.finished)
		w.verify()
		if w.left["t2"] != left {
			t.Errorf("slow ratio %v: left %d times", ratio, w.left["t2"])
		}
	}
}

// TestSlowTargetWithADeepQueue: whoever leaves a group because of its slow link is served at that link's rate soon, though the group goes on
// to fill the link's queue until the switch has noticed: what it loses meanwhile says nothing about the link.
func TestSlowTargetWithADeepQueue(t *testing.T) {
	for _, queue := range []int{64 << 10, 512 << 10, 2 << 20} {
		for _, part := range []float64{0.03, 0.1, 0.3} {
			for _, found := range []bool{false, true} {
				if testing.Short() && (part != 0.1 || found) {
					continue
				}
				t.Run(fmt.Sprintf("%d KiB/%v/found=%v", queue>>10, part, found), func(t *testing.T) {
					t.Parallel()
					slowAfterFlood(t, queue, part, found)
				})
			}
		}
	}
}

// slowAfterFlood sends 100 MiB at 500 Mbit/s to two targets, one of which has a link of that part of it with that queue.
func slowAfterFlood(t *testing.T, queue int, part float64, found bool) {
	w := newWorldOf(t, 1, 24<<20, 1472)
	w.rate, w.auto = 62.5e6, found
	w.port = port{rate: w.rate, queue: 1 << 20}
	l := plain()
	l.linger = time.Second
	for _, name := range names(2) {
		w.addHost(name, l, 24<<20)
	}
	slow := part * w.rate
	w.hosts["t1"].port = port{rate: slow, queue: queue}
	payloads := w.payloads(400, 1)
	for i := range payloads {
		payloads[i] = bytes.Repeat(payloads[i], 256<<10)
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(2)}, payloads)
	w.run(30*time.Minute, w.finished)
	w.verify()
	least := 400 * 256 << 10 / slow
	t.Logf("%v, at least %.1f s", w.now, least)
	if w.now.Seconds() > 1.3*least+3 {
		t.Errorf("takes %v, its link needs %.1f s", w.now, least)
	}
}
