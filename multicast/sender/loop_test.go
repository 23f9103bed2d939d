package sender

import (
	"net/netip"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// looped is a sender and a receiver that are joined at the neck.
type looped struct {
	s   *State
	r   *receiver.State
	ch  *Outbound
	now instant
	b   Burst
}

const loopWindow = 32 << 20

func newLooped(b testing.TB) *looped {
	c := simConfig(loopWindow, 1472)
	c.Socket.Joint = false
	s, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	l := &looped{s: s, r: receiver.New(receiver.DefaultTiming(), [32]byte{1}, [8]byte{2}, loopWindow)}
	if err := s.AddTarget("t", netip.MustParseAddrPort("10.0.0.1:9")); err != nil {
		b.Fatal(err)
	}
	if l.ch, err = s.Open(0, Channel{ID: 1, Group: group(1), Members: []string{"t"}}); err != nil {
		b.Fatal(err)
	}
	for l.ch.Opening() {
		l.step(b)
	}
	return l
}

// step moves everything on by a millisecond.
func (l *looped) step(b testing.TB) {
	l.now += time.Millisecond
	l.s.Tick(l.now)
	for _, e := range l.s.TakeEvents() {
		if e.Kind == Control {
			if err := l.r.Control(l.now, e.Message); err != nil {
				b.Fatal(err)
			}
		}
	}
	for l.send(b) {
	}
	if due := l.r.Due(); due != never && l.now >= due {
		l.back(b, l.r.ReportNow(l.now, 0))
	}
}

// send takes a burst across.
func (l *looped) send(b testing.TB) bool {
	ok, err := l.s.Next(l.now, &l.b)
	if err != nil {
		b.Fatal(err)
	}
	l.s.Depart(l.now, &l.b)
	for d := l.b.Bytes; len(d) > 0; d = d[l.b.Size:] {
		l.r.Receive(l.now, d[:l.b.Size], false)
	}
	for _, e := range l.r.TakeEvents() {
		switch e.Kind {
		case receiver.Reply:
			l.back(b, e.Message)
		case receiver.Deliver:
			l.r.Placed(e.Channel, e.Block)
		case receiver.Join, receiver.Leave:
		}
	}
	return ok
}

func (l *looped) back(b testing.TB, message []byte) {
	if err := l.s.Receive(l.now, "t", message); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBlock takes a block through both states: sealed, opened, put together and confirmed. Allocations are counted
// for each block of 182 datagrams.
func BenchmarkBlock(b *testing.B) {
	l := newLooped(b)
	payload := make([]byte, 256<<10)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		l.s.Send(l.ch, payload)
		for l.ch.Outstanding() {
			l.step(b)
		}
	}
}

// TestNoAllocationPerDatagram sends a large block in steps: what is in between its first and its last datagram costs no
// memory on either side.
func TestNoAllocationPerDatagram(t *testing.T) {
	l := newLooped(t)
	l.s.schedule.burst = 1500
	l.s.Send(l.ch, make([]byte, wire.MaxBlock))
	perDatagram := testing.AllocsPerRun(400, func() {
		if ok, err := l.s.Next(l.now, &l.b); err != nil || !ok {
			t.Fatal(ok, err)
		}
		l.s.Depart(l.now, &l.b)
		l.r.Receive(l.now, l.b.Bytes, false)
	})
	if perDatagram > 0 {
		t.Errorf("%v allocations for each datagram", perDatagram)
	}
	if l.r.Stats().Accepted < 400 {
		t.Errorf("%d datagrams accepted", l.r.Stats().Accepted)
	}
}

// TestBurstSpansBlocks wants a burst to go on with the next block where the datagrams are alike, and to end where they are not.
func TestBurstSpansBlocks(t *testing.T) {
	l := newLooped(t)
	l.s.schedule.burst = udp.MaxBurst
	symbol := l.s.schedule.socket.symbol()
	for _, length := range []int{10 * symbol, 10 * symbol, 3 * (symbol - 1), 10 * symbol} {
		l.s.Send(l.ch, make([]byte, length))
	}
	for i, want := range []int{20, 3, 10} {
		if ok, err := l.s.Next(l.now, &l.b); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if l.b.Count != want || len(l.b.Bytes) != want*l.b.Size {
			t.Errorf("burst %d has %d datagrams in %d bytes, wanted %d of %d", i, l.b.Count, len(l.b.Bytes), want, l.b.Size)
		}
	}
}

// TestBlocksThatGoAhead leave before those that wait already, which leave them room.
func TestBlocksThatGoAhead(t *testing.T) {
	l := newLooped(t)
	first, err := l.s.Open(l.now, Channel{ID: 2, Group: group(2), Members: []string{"t"}, Ahead: true})
	if err != nil {
		t.Fatal(err)
	}
	for first.Opening() {
		l.step(t)
	}
	l.s.SetRate(100e6, 64<<10)
	payload := make([]byte, 256<<10)
	taken := 0
	for ; l.s.Room(l.ch, len(payload)); taken += len(payload) {
		l.s.Send(l.ch, payload)
	}
	if most := int(100e6 * behindTime.Seconds()); taken > most || taken < most/2 {
		t.Errorf("%d bytes are under way that cannot be overtaken, of %d", taken, most)
	}
	for n := 0; n < loopWindow/aheadWindow-4*len(payload); n += len(payload) {
		if !l.s.Room(first, len(payload)) {
			t.Fatalf("no room behind %d bytes", n)
		}
		l.s.Send(first, payload)
	}
	for l.s.schedule.ahead.Len() > 0 {
		if ok, err := l.s.Next(l.now, &l.b); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if l.b.To != first.Group && !l.b.Urgent {
			t.Fatalf("a burst to %v before those that go ahead", l.b.To)
		}
	}
}
