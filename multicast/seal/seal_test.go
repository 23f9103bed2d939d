package seal

import (
	"bytes"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/multicast/wire"
)

func epoch(t testing.TB, number uint8, salt byte) *Epoch {
	e, err := NewEpoch(number, [32]byte{1}, [8]byte{2}, [wire.SaltSize]byte{salt})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func open(e *Epoch, d []byte) ([]byte, error) {
	h, err := wire.ParseHeader(d)
	if err != nil {
		return nil, err
	}
	return e.Open(nil, h, d)
}

func TestSealOpen(t *testing.T) {
	d, err := epoch(t, 3, 1).Seal(nil, wire.Header{Sequence: 77, Length: 5}, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	e := epoch(t, 3, 1)
	if body, err := open(e, d); err != nil || string(body) != "hello" {
		t.Fatalf("opened %q, %v", body, err)
	}
	if _, err := open(e, d); !errors.Is(err, ErrReplayed) {
		t.Errorf("the same datagram again: %v", err)
	}
	if _, err := open(epoch(t, 3, 9), d); !errors.Is(err, ErrForged) {
		t.Errorf("a key of another salt: %v", err)
	}
}

// TestEveryByteCounts alters each bit of a datagram; none may be accepted, and none may use up the sequence number.
func TestEveryByteCounts(t *testing.T) {
	header := wire.Header{Sequence: 77, Length: 5, Channel: 4, Block: 9}
	d, _ := epoch(t, 3, 1).Seal(nil, header, []byte("hello"))
	e := epoch(t, 3, 1)
	for _, wrong := range []wire.Header{{Sequence: 77 + 1<<32, Block: 9}, {Sequence: 77, Block: 9 + 1<<16}} {
		if _, err := e.Open(nil, wrong, d); err == nil {
			t.Errorf("opened as sequence %d of block %d", wrong.Sequence, wrong.Block)
		}
	}
	for bit := range len(d) * 8 {
		altered := bytes.Clone(d)
		altered[bit/8] ^= 1 << (bit % 8)
		if _, err := open(e, altered); err == nil {
			t.Errorf("bit %d altered, accepted", bit)
		}
	}
	if _, err := open(e, d); err != nil {
		t.Errorf("the true datagram behind forged ones: %v", err)
	}
}

func TestSealRefusesWornOutEpoch(t *testing.T) {
	if _, err := epoch(t, 0, 1).Seal(nil, wire.Header{Sequence: wire.MaxSequence + 1}, nil); !errors.Is(err, ErrExhausted) {
		t.Errorf("got %v", err)
	}
}

// TestWindowAgainstSet compares the bitmap with a plain set.
func TestWindowAgainstSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var w Window
		seen, next := map[uint64]bool{}, uint64(0)
		for range 200 {
			jump := rapid.SampledFrom([]uint64{3, 70, 1000, WindowSize, 3 * WindowSize}).Draw(t, "jump")
			n := next + rapid.Uint64Range(0, jump).Draw(t, "n")
			if rapid.Bool().Draw(t, "back") {
				n -= min(n, jump)
			}
			want := !seen[n] && n+WindowSize >= next
			if got := w.Fresh(n); got != want {
				t.Fatalf("fresh(%d) with next %d: %v, want %v", n, next, got, want)
			}
			if want {
				w.Add(n)
				seen[n] = true
				next = max(next, n+1)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	e, body, dst := epoch(b, 0, 1), make([]byte, 1438), make([]byte, 0, 1500)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	sequence := uint64(0)
	for b.Loop() {
		sequence++
		if _, err := e.Seal(dst, wire.Header{Sequence: sequence, Length: 1}, body); err != nil {
			b.Fatal(err)
		}
	}
}
