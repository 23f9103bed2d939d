package multicast

import (
	"net/netip"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/udp"
)

// looped is a sender and a receiver that are joined at the neck.
type looped struct {
	s   *sendState
	r   *recvState
	ch  *channel
	now instant
	b   burst
}

func newLooped(b testing.TB) *looped {
	s, err := makeSendState(defaultTiming(), simKeys(), DefaultWindow, 1472)
	if err != nil {
		b.Fatal(err)
	}
	l := &looped{s: s, r: newRecvState(defaultTiming(), [32]byte{1}, [8]byte{2}, DefaultWindow)}
	if err := s.addTarget("t", netip.MustParseAddrPort("10.0.0.1:9")); err != nil {
		b.Fatal(err)
	}
	if l.ch, err = s.openChannel(0, Channel{ID: 1, Group: group(1), Members: []string{"t"}}); err != nil {
		b.Fatal(err)
	}
	for l.ch.opening {
		l.step(b)
	}
	return l
}

// step moves everything on by a millisecond.
func (l *looped) step(b testing.TB) {
	l.now += time.Millisecond
	l.s.tick(l.now)
	for _, e := range l.s.takeEvents() {
		if e.kind == sendControl {
			if err := l.r.control(l.now, e.message); err != nil {
				b.Fatal(err)
			}
		}
	}
	for l.send(b) {
	}
	if due := l.r.due(); due != never && l.now >= due {
		l.back(b, l.r.reportNow(l.now))
	}
}

// send takes a burst across.
func (l *looped) send(b testing.TB) bool {
	ok, err := l.s.next(l.now, &l.b)
	if err != nil {
		b.Fatal(err)
	}
	for d := l.b.bytes; len(d) > 0; d = d[l.b.size:] {
		l.r.receive(l.now, d[:l.b.size], false)
	}
	for _, e := range l.r.takeEvents() {
		switch e.kind {
		case reply:
			l.back(b, e.message)
		case deliver:
			l.r.placed(e.channel, e.block)
		case join, leave:
		}
	}
	return ok
}

func (l *looped) back(b testing.TB, message []byte) {
	if err := l.s.receive(l.now, "t", message); err != nil {
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
		l.s.enqueue(l.ch, payload)
		for l.ch.outstanding() {
			l.step(b)
		}
	}
}

// TestNoAllocationPerDatagram sends a large block in steps: what is in between its first and its last datagram costs no
// memory on either side.
func TestNoAllocationPerDatagram(t *testing.T) {
	l := newLooped(t)
	l.s.burst = 1500
	l.s.enqueue(l.ch, make([]byte, MaxBlock))
	perDatagram := testing.AllocsPerRun(400, func() {
		if ok, err := l.s.next(l.now, &l.b); err != nil || !ok {
			t.Fatal(ok, err)
		}
		l.r.receive(l.now, l.b.bytes, false)
	})
	if perDatagram > 0 {
		t.Errorf("%v allocations for each datagram", perDatagram)
	}
	if l.r.stats.Accepted < 400 {
		t.Errorf("%d datagrams accepted", l.r.stats.Accepted)
	}
}

// TestBurstSpansBlocks wants a burst to go on with the next block where the datagrams are alike, and to end where they are not.
func TestBurstSpansBlocks(t *testing.T) {
	l := newLooped(t)
	l.s.burst = udp.MaxBurst
	symbol := l.s.symbol()
	for _, length := range []int{10 * symbol, 10 * symbol, 3 * (symbol - 1), 10 * symbol} {
		l.s.enqueue(l.ch, make([]byte, length))
	}
	for i, want := range []int{20, 3, 10} {
		if ok, err := l.s.next(l.now, &l.b); !ok || err != nil {
			t.Fatal(ok, err)
		}
		if l.b.count != want || len(l.b.bytes) != want*l.b.size {
			t.Errorf("burst %d has %d datagrams in %d bytes, wanted %d of %d", i, l.b.count, len(l.b.bytes), want, l.b.size)
		}
	}
}
