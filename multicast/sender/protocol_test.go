package sender

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/wire"
)

var schedules = flag.Int("schedules", 0, "random schedules of the protocol test; 0 = 10,000, or 200 with -short")

const simWindow = 4 << 20

func plain() link { return link{delay: time.Millisecond, control: time.Millisecond} }

func names(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("t%d", i))
	}
	return all
}

// fleet makes a world of n equal targets and one channel to all of them.
func fleet(t *testing.T, seed uint64, n int, l link, blocks, most int) *world {
	w := newWorld(t, seed, simWindow)
	for _, name := range names(n) {
		w.addHost(name, l, simWindow)
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(n)}, w.payloads(blocks, most))
	return w
}

func TestDeliversWithoutLoss(t *testing.T) {
	w := fleet(t, 1, 4, plain(), 40, 100_000)
	w.run(time.Minute, w.finished)
	w.verify()
	if w.sender.Stats().Repair != 0 {
		t.Errorf("repair without loss: %d bytes", w.sender.Stats().Repair)
	}
}

// TestRandomSchedules throws everything at the protocol at once. Each target gets every block, or is named.
func TestRandomSchedules(t *testing.T) {
	n := *schedules
	if n == 0 {
		n = 10_000
		if testing.Short() {
			n = 100
		}
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := randomWorld(t, uint64(seed))
			w.run(10*time.Minute, w.finished)
			w.verify()
		})
	}
}

// randomWorld is a small world, and one in ten a larger one.
func randomWorld(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed, simWindow)
	r := w.rng
	w.rate = []float64{1e6, 20e6, 200e6}[r.IntN(3)]
	targets, channels, blocks, sizes := 4, 2, 6, []int{2000, 30_000}
	if r.IntN(10) == 0 {
		targets, channels, blocks, sizes = 8, 4, 20, []int{2000, 30_000, 300_000}
	}
	n := 1 + r.IntN(targets)
	for _, name := range names(n) {
		h := w.addHost(name, w.randomLink(), simWindow)
		if r.IntN(8) == 0 {
			h.port = port{rate: w.rate / 10, queue: 32 << 10}
		}
	}
	for id := range 1 + r.IntN(channels) {
		c := Channel{ID: wire.ChannelID(id * 100), Group: group(id)}
		for _, i := range r.Perm(n)[:1+r.IntN(n)] {
			c.Members = append(c.Members, w.names[i])
		}
		w.open(c, w.payloads(r.IntN(blocks), sizes[r.IntN(len(sizes))]))
	}
	if r.IntN(3) == 0 {
		w.kill(w.names[r.IntN(n)], time.Duration(r.Int64N(int64(time.Second))), r.IntN(2) == 0)
	}
	return w
}

// randomLink is good, bad or terrible.
func (w *world) randomLink() link {
	r := w.rng
	l := plain()
	far := []time.Duration{2 * time.Millisecond, 20 * time.Millisecond, 200 * time.Millisecond}[r.IntN(3)]
	l.delay = time.Duration(r.Int64N(int64(far)))
	l.control = time.Duration(r.Int64N(int64(far)))
	l.deliver = time.Duration(r.Int64N(int64(5 * time.Millisecond)))
	l.loss = []float64{0, 0, 0.01, 0.05, 0.3}[r.IntN(5)]
	l.dup = []float64{0, 0, 0.1}[r.IntN(3)]
	l.late = []float64{0, 0, 0.1, 1}[r.IntN(4)]
	l.noGroup = r.IntN(8) == 0
	l.noUnicast = r.IntN(10) == 0
	if r.IntN(4) == 0 {
		from := instant(r.Int64N(int64(time.Second)))
		until := from + instant(r.Int64N(int64(5*time.Second)))
		l.down = func(now instant) bool { return now > from && now < until }
	}
	return l
}

// kill makes a host die; its engine tells the sender, or the sender must find out.
func (w *world) kill(name string, at time.Duration, told bool) {
	w.after(at, func() { w.hosts[name].dead = true })
	if told {
		w.after(at+200*time.Millisecond, func() {
			w.sender.Eject(w.now, name)
			w.act()
		})
	}
}

func TestDeadTargetDoesNotStallOthers(t *testing.T) {
	w := fleet(t, 3, 3, plain(), 200, 100_000)
	w.kill("t1", 100*time.Millisecond, true)
	w.run(5*time.Second, w.finished)
	w.verify()
}

// TestRepairServesAllAtOnce wants parity to cost what the worst target loses, not what all of them lose together.
func TestRepairServesAllAtOnce(t *testing.T) {
	l := plain()
	l.loss = 0.05
	w := fleet(t, 10, 8, l, 100, 150_000)
	w.run(time.Minute, w.finished)
	w.verify()
	if share := float64(w.sender.Stats().Repair) / float64(w.sender.Stats().Multicast); share < 0.05 || share > 0.12 {
		t.Errorf("repair is %.3f of what was sent; loss is %.3f at each of eight", share, l.loss)
	}
}

// TestKeyWaitsForTheSlowest ejects a target while another's control path is slow: nothing is sealed with a key that it
// does not know.
func TestKeyWaitsForTheSlowest(t *testing.T) {
	w := newWorld(t, 11, simWindow)
	slow := plain()
	slow.control = 300 * time.Millisecond
	w.addHost("t0", plain(), simWindow)
	w.addHost("t1", slow, simWindow)
	w.addHost("t2", plain(), simWindow)
	w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(400, 100_000))
	w.after(time.Second, func() {
		w.lost["t2"] = errors.New("ejected")
		w.sender.Eject(w.now, "t2")
		w.act()
	})
	w.run(time.Minute, w.finished)
	w.verify()
	if got := w.hosts["t1"].state.Stats(); got.Stray != 0 || w.sender.Stats().Keys != 1 {
		t.Errorf("%d datagrams that t1 could not read, %d changes of the key", got.Stray, w.sender.Stats().Keys)
	}
}

// TestEjectedTargetIsLockedOut lets an ejected target listen on: it cannot read what is sent under the next key, and
// what it could seal itself is refused by the others.
func TestEjectedTargetIsLockedOut(t *testing.T) {
	w := fleet(t, 3, 3, plain(), 300, 100_000)
	out, other := w.hosts["t1"].state, w.hosts["t2"].state
	w.hosts["t1"].hears = func(m []byte) bool { return wire.Type(m[0]) != wire.TypeClose } // it stays in its group
	w.after(100*time.Millisecond, func() {
		w.sender.Eject(w.now, "t1")
		w.act()
	})
	var accepted uint64
	w.after(200*time.Millisecond, func() { accepted = out.Stats().Accepted })
	w.lost["t1"] = errors.New("ejected")
	w.run(20*time.Second, w.finished)
	w.run(20*time.Second, func() bool { return w.now > 3*time.Second })
	w.verify()
	if w.sender.Stats().Keys != 1 || accepted == 0 || out.Stats().Accepted != accepted {
		t.Errorf("%d changes of the key; t1 accepted %d datagrams, then %d", w.sender.Stats().Keys, accepted, out.Stats().Accepted)
	}
	if w.trusts(other, 0) || !w.trusts(other, 1) {
		t.Error("t2 still trusts the old key")
	}
}

// trusts tells whether a target of the first channel would open a datagram under a key epoch: else it is as good as another evacuation's.
func (w *world) trusts(h *receiver.State, epoch uint8) bool {
	before := h.Stats().Stray
	probe := wire.Header{Kind: wire.Probe, Epoch: epoch, Sequence: w.sender.schedule.sealer.sequence + 1, Channel: w.sender.Channel(1).wire}
	h.Receive(w.now, append(probe.Append(nil), make([]byte, wire.TagSize)...), false)
	return h.Stats().Stray == before
}

// TestManyEjectedAtOnceAreLockedOut: none of them can read on, although each knows the keys that were told before it was ejected.
func TestManyEjectedAtOnceAreLockedOut(t *testing.T) {
	const all, out = 24, 20
	w := fleet(t, 3, all, plain(), 300, 100_000)
	accepted := make([]uint64, out)
	for i := range out {
		h := w.hosts[names(all)[i]]
		h.hears = func(m []byte) bool { return wire.Type(m[0]) != wire.TypeClose }
		w.after(100*time.Millisecond+time.Duration(i%3)*time.Millisecond, func() {
			w.lost[h.name] = errors.New("ejected")
			w.sender.Eject(w.now, h.name)
			w.act()
		})
		w.after(300*time.Millisecond, func() { accepted[i] = h.state.Stats().Accepted })
	}
	w.run(time.Minute, w.finished)
	w.run(time.Minute, func() bool { return w.now > 3*time.Second })
	w.verify()
	for i, before := range accepted {
		if got := w.hosts[names(all)[i]].state.Stats().Accepted; got != before || before == 0 {
			t.Errorf("%s accepted %d datagrams, then %d", names(all)[i], before, got)
		}
	}
	if w.sender.Stats().Keys < 2 || w.sender.Stats().Keys > 4 {
		t.Errorf("%d changes of the key", w.sender.Stats().Keys)
	}
}

func TestSilentlyDeadTargetIsNamed(t *testing.T) {
	w := fleet(t, 3, 3, plain(), 200, 100_000)
	died := 100 * time.Millisecond
	w.kill("t1", died, false)
	w.run(died+3*time.Second, func() bool { return w.lost["t1"] != nil })
	w.run(20*time.Second, w.finished)
	w.verify()
	if !errors.Is(w.lost["t1"], ErrSilent) {
		t.Errorf("t1: %v", w.lost["t1"])
	}
}

// TestTargetThatDiesBeforeAChannelOpensIsNamed, and holds the others up no longer than one that dies later.
func TestTargetThatDiesBeforeAChannelOpensIsNamed(t *testing.T) {
	w := newWorld(t, 5, simWindow)
	for _, name := range names(3) {
		w.addHost(name, plain(), simWindow)
	}
	w.kill("t1", 0, false)
	w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(50, 100_000))
	w.run(3*time.Second, func() bool { return w.lost["t1"] != nil })
	w.run(20*time.Second, w.finished)
	w.verify()
	if !errors.Is(w.lost["t1"], ErrSilent) || len(w.lost) != 1 {
		t.Errorf("lost %v", w.lost)
	}
}

func TestMemberWithoutMulticastGetsUnicast(t *testing.T) {
	w := newWorld(t, 4, simWindow)
	for i, name := range names(3) {
		l := plain()
		l.noGroup = i == 1
		w.addHost(name, l, simWindow)
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(3)}, w.payloads(50, 100_000))
	w.run(10*time.Second, w.finished)
	w.verify()
	if w.fell != 1 || len(w.lost) != 0 {
		t.Errorf("%d fell back to unicast, lost %v", w.fell, w.lost)
	}
}

// TestGroupGoesSilent has the network forget in mid flight that a member has joined. The member joins anew, the first time as
// it did before and the second time for any source, and goes on by unicast when both are lost.
func TestGroupGoesSilent(t *testing.T) {
	for lost, want := range []struct {
		joins []bool
		fell  int
	}{
		{[]bool{false, false}, 0},
		{[]bool{false, false, true}, 0},
		{[]bool{false, false, true}, 1},
	} {
		w := fleet(t, 5, 3, plain(), 60, 100_000)
		w.rate = 2e6
		deaf := w.hosts["t2"]
		w.after(200*time.Millisecond, func() {
			clear(deaf.joined)
			deaf.link.lostJoins = lost
		})
		w.run(20*time.Second, w.finished)
		w.verify()
		if w.fell != want.fell || len(w.lost) != 0 || !slices.Equal(deaf.joins, want.joins) {
			t.Errorf("%d joins lost: joins %v, %d fell back to unicast, targets lost %v", lost, deaf.joins, w.fell, w.lost)
		}
	}
}

// TestBacklogIsNotSilence has one member get all that is under way by unicast, which takes seconds, and meanwhile another one
// join its group anew. It hears the group although the group's blocks have to wait.
func TestBacklogIsNotSilence(t *testing.T) {
	w := fleet(t, 5, 3, plain(), 200, 100_000)
	w.rate = 1e6
	w.after(200*time.Millisecond, func() { w.hosts["t2"].link.noGroup = true })
	w.run(20*time.Second, func() bool { return w.fell == 1 })
	clear(w.hosts["t1"].joined)
	w.run(time.Minute, w.finished)
	w.verify()
	if joins := w.hosts["t1"].joins; w.fell != 1 || len(w.lost) != 0 || !slices.Equal(joins, []bool{false, false}) {
		t.Errorf("joins %v, %d fell back to unicast, targets lost %v", joins, w.fell, w.lost)
	}
}

func TestUnreachableMemberIsNamed(t *testing.T) {
	l := plain()
	l.noGroup, l.noUnicast = true, true
	w := newWorld(t, 6, simWindow)
	w.addHost("t0", plain(), simWindow)
	w.addHost("t1", l, simWindow)
	w.open(Channel{ID: 1, Group: group(1), Members: names(2)}, w.payloads(20, 100_000))
	w.run(20*time.Second, w.finished)
	w.verify()
	if !errors.Is(w.lost["t1"], ErrUnreachable) {
		t.Errorf("t1: %v", w.lost["t1"])
	}
}

// TestNothingBeforeTheBarrier wants only probes on the group until every member has answered.
func TestNothingBeforeTheBarrier(t *testing.T) {
	w := newWorld(t, 7, simWindow)
	late := plain()
	late.control = 300 * time.Millisecond
	w.addHost("t0", plain(), simWindow)
	w.addHost("t1", late, simWindow)
	w.open(Channel{ID: 1, Group: group(1), Members: names(2)}, w.payloads(5, 10_000))
	w.run(time.Minute, func() bool { return w.sender.schedule.sent.multicast > 0 })
	if w.now < 2*late.control {
		t.Errorf("sent after %v, before the last answer", w.now)
	}
	w.run(time.Minute, w.finished)
	w.verify()
}

func TestTailLossIsRepairedQuickly(t *testing.T) {
	w := fleet(t, 8, 3, plain(), 1, 100_000)
	w.hosts["t0"].link.down = func(instant) bool {
		return w.sender.schedule.sent.multicast > 0 && w.sender.schedule.sent.repair == 0 && w.now < 200*time.Millisecond
	}
	w.run(400*time.Millisecond, w.finished)
	w.verify()
}

func TestSlowPlacementHoldsTheSource(t *testing.T) {
	l := plain()
	l.deliver = 20 * time.Millisecond
	w := fleet(t, 9, 2, l, 300, 100_000)
	w.rate = 200e6
	w.run(time.Minute, w.finished)
	w.verify()
	for _, h := range w.hosts {
		if h.state.Stats().Overrun != 0 {
			t.Errorf("%s: %d datagrams beyond its window", h.name, h.state.Stats().Overrun)
		}
	}
}

// TestManyTargets sends to 200 targets that lose one datagram in a hundred each: the link is used well, and their reports take
// little of it.
func TestManyTargets(t *testing.T) {
	if testing.Short() {
		t.Skip("simulates 200 targets")
	}
	const window, rate, blocks = 24 << 20, 12.5e6, 256
	w := newWorldOf(t, 1, window, 1472)
	w.rate = rate
	l := plain()
	l.loss = 0.01
	for _, name := range names(200) {
		w.addHost(name, l, window)
	}
	var payloads [][]byte
	for range blocks {
		payloads = append(payloads, make([]byte, 256<<10))
	}
	w.open(Channel{ID: 1, Group: group(1), Members: names(200)}, payloads)
	w.run(time.Minute, func() bool { return w.sender.schedule.sent.multicast > 0 })
	began := w.now
	w.run(time.Minute, w.finished)
	w.verify()
	goodput := float64(w.sender.Stats().Payload) / (w.now - began).Seconds() / rate
	reports := float64(w.reports) / float64(w.onWire)
	t.Logf("goodput %.3f of the link, reports %.4f of the bytes, fell %d lost %d", goodput, reports, w.fell, len(w.lost))
	if goodput < 0.90 || reports > 0.01 || w.fell+len(w.lost) > 0 {
		t.Errorf("goodput %.3f of the link, reports %.4f of the bytes, %d by unicast, %d lost", goodput, reports, w.fell, len(w.lost))
	}
}

// TestMangledBursts: a target that gets nothing of what the system cuts out of bursts is found out before the first block, and gets datagrams one by
// one, by groups and by unicast; nobody else does, and loss alone makes nobody do so.
func TestMangledBursts(t *testing.T) {
	for name, c := range map[string]struct {
		seed uint64
		edit func(l *link)
		want []string
	}{
		"mangled":             {1, func(l *link) { l.mangled = true }, []string{"t2"}},
		"mangled and lossy":   {2, func(l *link) { l.mangled, l.loss = true, 0.2 }, []string{"t2"}},
		"and without a group": {3, func(l *link) { l.mangled, l.noGroup = true, true }, []string{"t2"}},
		"lossy":               {4, func(l *link) { l.loss = 0.3 }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := fleet(t, c.seed, 5, plain(), 40, 100_000)
			c.edit(&w.hosts["t2"].link)
			w.open(Channel{ID: 2, Members: []string{"t2"}}, w.payloads(10, 100_000))
			w.open(Channel{ID: 3, Group: group(3), Members: []string{"t0", "t1"}}, w.payloads(10, 100_000))
			w.run(time.Minute, w.finished)
			w.verify()
			if !slices.Equal(w.apart, c.want) || len(w.lost) > 0 {
				t.Errorf("one by one to %v, want %v; lost %v", w.apart, c.want, w.lost)
			}
			if st := w.sender.Channel(3).group; st == nil || st.apart {
				t.Errorf("the others' group: %+v", st)
			}
		})
	}
}
