package receiver

import (
	"net/netip"
	"testing"

	"github.com/scatter-vm/scatter/multicast/wire"
)

const simWindow = 4 << 20

func group(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{232, 1, 1, byte(n)}), 5000)
}

// fuzzReceiver is a receiver with a key and a channel.
func fuzzReceiver(t *testing.T) *State {
	r := New(DefaultTiming(), [32]byte{1}, [8]byte{2}, simWindow)
	for _, m := range [][]byte{
		wire.Key{Epoch: 0}.Append(nil),
		wire.Announce{Channel: 1, ID: 1, Group: group(1)}.Append(nil),
	} {
		if err := r.Control(0, m); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// exercise lets the receiver do what follows, and checks its bounds.
func exercise(t *testing.T, r *State) {
	for _, e := range r.TakeEvents() {
		if e.Kind == Deliver {
			r.Placed(e.Channel, e.Block)
		}
	}
	var report wire.Report
	if err := report.Parse(r.ReportNow(1, 0)); err != nil {
		t.Fatal(err)
	}
	if r.pool.Used() > r.pool.Limit() {
		t.Fatalf("%d bytes used", r.pool.Used())
	}
}

// FuzzForgedDatagram sends bytes that nobody has sealed.
func FuzzForgedDatagram(f *testing.F) {
	f.Add(append(wire.Header{Channel: 1, Sequence: 9, Length: 1000}.Append(nil), make([]byte, 500)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := fuzzReceiver(t)
		r.Receive(1, b, false)
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
			d, err := r.keys.epochs[0].Seal(nil, h, make([]byte, size))
			if err != nil {
				t.Fatal(err)
			}
			r.Receive(1, d, unicast)
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
			_ = r.Control(0, m)
		}
		exercise(t, r)
	})
}
