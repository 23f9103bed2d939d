package multicast

import (
	"net/netip"
	"testing"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// fuzzReceiver is a receiver with a key and a channel.
func fuzzReceiver(t *testing.T) *recvState {
	r := newRecvState(defaultTiming(), [32]byte{1}, [8]byte{2}, simWindow)
	for _, m := range [][]byte{
		wire.Key{Epoch: 0}.Append(nil),
		wire.Announce{Channel: 1, ID: 1, Group: group(1)}.Append(nil),
	} {
		if err := r.control(0, m); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// exercise lets the receiver do what follows, and checks its bounds.
func exercise(t *testing.T, r *recvState) {
	for _, e := range r.takeEvents() {
		if e.kind == deliver {
			r.placed(e.channel, e.block)
		}
	}
	var report wire.Report
	if err := report.Parse(r.reportNow(1)); err != nil {
		t.Fatal(err)
	}
	if r.pool.used > r.pool.limit {
		t.Fatalf("%d bytes used", r.pool.used)
	}
}

// FuzzForgedDatagram sends bytes that nobody has sealed.
func FuzzForgedDatagram(f *testing.F) {
	f.Add(append(wire.Header{Channel: 1, Sequence: 9, Length: 1000}.Append(nil), make([]byte, 500)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := fuzzReceiver(t)
		r.receive(1, b, false)
		if r.stats.Accepted != 0 {
			t.Fatal("accepted")
		}
		exercise(t, r)
	})
}

// FuzzSealedDatagram sends authentic datagrams whose headers say anything: two, so that the second meets a block.
func FuzzSealedDatagram(f *testing.F) {
	f.Add(uint8(0), uint32(0), 1000, uint8(0), uint8(0), uint8(7), 500, false)
	f.Fuzz(func(t *testing.T, kind uint8, number uint32, length int, stripe, index, other uint8, size int, unicast bool) {
		r := fuzzReceiver(t)
		if size < 0 || size > 1500 {
			return
		}
		for i, index := range []uint8{index, other} {
			h := wire.Header{
				Kind: wire.Kind(kind % 3), Sequence: uint64(i + 1), Channel: 1,
				Block: number, Length: length, Stripe: stripe, Index: index,
			}
			d, err := r.epochs[0].Seal(nil, h, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			r.receive(1, d, unicast)
		}
		exercise(t, r)
	})
}

// FuzzReceiverControl passes the receiver two messages of a source that is out of its mind.
func FuzzReceiverControl(f *testing.F) {
	f.Add(wire.Close{Channel: 1}.Append(nil), wire.Announce{Channel: 1, Round: 1, Group: group(2)}.Append(nil))
	f.Add(wire.Key{Epoch: 1}.Append(nil), []byte{})
	f.Fuzz(func(t *testing.T, a, b []byte) {
		r := fuzzReceiver(t)
		for _, m := range [][]byte{a, b} {
			_ = r.control(0, m)
		}
		exercise(t, r)
	})
}

// FuzzSenderControl passes the sender two messages of a target that is out of its mind, between sending and sending.
func FuzzSenderControl(f *testing.F) {
	f.Add(wire.Answer{Channel: 1, Window: simWindow}.Append(nil), (&wire.Report{Channels: []wire.Progress{{
		Channel: 1, Multicast: wire.Path{Highest: 40}, Blocks: []wire.Holding{{Stripes: []uint8{3}}, {Placed: true}},
	}}}).Append(nil))
	f.Add(wire.Refusal{Channel: 1}.Append(nil), wire.Answer{Channel: 1, Unicast: true, Window: simWindow}.Append(nil))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		s, err := makeSendState(defaultTiming(), simKeys(), simWindow, simPacket)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.addTarget("t", netip.MustParseAddrPort("10.0.0.1:9")); err != nil {
			t.Fatal(err)
		}
		ch, err := s.openChannel(0, Channel{ID: 1, Group: group(1), Members: []string{"t"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.receive(0, "t", a)
		if !ch.opening && ch.live() > 0 {
			s.enqueue(ch, make([]byte, 20_000))
			s.enqueue(ch, make([]byte, 300_000))
		}
		var out burst
		for range 10 {
			if _, err := s.next(0, &out); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.receive(1, "t", b)
		s.tick(2)
		for range 2000 {
			if ok, err := s.next(2, &out); err != nil || !ok {
				break
			}
		}
		if s.used < 0 || s.signals.len() > 1000 {
			t.Fatalf("%d bytes used, %d signals", s.used, s.signals.len())
		}
	})
}
