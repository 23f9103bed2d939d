package sender

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// attack passes on a captured datagram, and another.
type attack struct {
	name   string
	pass   func(rng *rand.Rand, datagram []byte, hand func([]byte))
	counts func(s receiver.Stats) uint64 // what the other should be counted as
}

func replayed(s receiver.Stats) uint64 { return s.Replayed }
func forged(s receiver.Stats) uint64   { return s.Forged }
func refused(s receiver.Stats) uint64  { return s.Forged + s.Replayed + s.Stray }

// attacks pass on what is not genuine first where they can, so that taking it would harm.
func attacks() []attack {
	var captured [][]byte
	flip := func(d []byte, bit int) []byte {
		d = bytes.Clone(d)
		d[bit/8] ^= 1 << (bit % 8)
		return d
	}
	return []attack{
		{"replayed at once", func(_ *rand.Rand, d []byte, hand func([]byte)) { hand(d); hand(d) }, replayed},
		{"replayed later", func(rng *rand.Rand, d []byte, hand func([]byte)) {
			hand(d)
			captured = append(captured, d)
			hand(captured[rng.IntN(len(captured))])
		}, replayed},
		{"altered header", func(rng *rand.Rand, d []byte, hand func([]byte)) {
			hand(flip(d, rng.IntN(wire.HeaderSize*8)))
			hand(d)
		}, refused},
		{"altered body", func(rng *rand.Rand, d []byte, hand func([]byte)) {
			hand(flip(d, wire.HeaderSize*8+rng.IntN((len(d)-wire.HeaderSize)*8)))
			hand(d)
		}, forged},
		{"cut short", func(rng *rand.Rand, d []byte, hand func([]byte)) { hand(d[:rng.IntN(len(d))]); hand(d) }, refused},
		{"forged", func(rng *rand.Rand, d []byte, hand func([]byte)) {
			h, err := wire.ParseHeader(d)
			if err != nil {
				panic(err)
			}
			h.Sequence += 1 << 20 // a fresh one
			f := h.Append(nil)
			for len(f) < len(d) {
				f = append(f, byte(rng.Uint32()))
			}
			hand(f)
			hand(d)
		}, forged},
	}
}

// TestAttackedNetwork has somebody on the way to a target who replays, alters and forges datagrams: each of those is refused
// and counted as what it is, each genuine one is taken, and every block is delivered, once, as it was sent.
func TestAttackedNetwork(t *testing.T) {
	tried.Inputs(t, "datagram on its way", len(attacks()))
	for _, a := range attacks() {
		t.Run(a.name, func(t *testing.T) {
			w := newWorld(t, 1, simWindow)
			genuine := uint64(0)
			w.attacker = func(d []byte, hand func([]byte)) {
				genuine++
				a.pass(w.rng, d, hand)
			}
			h := w.addHost("t0", plain(), simWindow)
			w.open(Channel{ID: 1, Group: group(1), Members: names(1)}, w.payloads(50, 200_000))
			w.run(time.Minute, w.finished)
			w.verify()
			if s := h.state.Stats(); s.Accepted != genuine || a.counts(s) != genuine || refused(s) != genuine {
				t.Errorf("%d genuine datagrams: %+v", genuine, s)
			}
		})
	}
}
