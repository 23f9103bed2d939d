package coding

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// TestAssemblyAnyOrder feeds symbols, source and parity, in any order with repetitions, until the block is complete.
func TestAssemblyAnyOrder(t *testing.T) {
	var decoder fec.Decoder
	rapid.Check(t, func(t *rapid.T) {
		payload := rapid.SliceOfN(rapid.Byte(), 1, 3000).Draw(t, "payload")
		b := NewBlock(payload, rapid.IntRange(5, 100).Draw(t, "limit"))
		cut := b.Cut()
		var e Encoder
		p := NewPool(1 << 20)
		a := NewAssembly(cut, p.Get(cut.Length))
		for a.lacking > 0 {
			stripe := rapid.IntRange(0, cut.Stripes-1).Draw(t, "stripe")
			id := rapid.IntRange(0, fec.MaxSymbols-1).Draw(t, "id")
			if rapid.Bool().Draw(t, "source") {
				id %= cut.K(stripe)
			}
			if !a.Needs(stripe, id) {
				continue
			}
			place := a.Place(stripe, id)
			copy(a.Slot(stripe, place)[:cut.Size], e.Symbol(&b, stripe, id))
			a.Add(stripe, id, place)
		}
		got, err := a.Restore(&decoder)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("restored %d bytes, %v", len(got), err)
		}
		p.Put(a.buffer)
		if p.used != 0 {
			t.Fatalf("%d bytes in use", p.used)
		}
	})
}

func TestFootprintHoldsTheBlock(t *testing.T) {
	last := 0
	for length := 1; length <= wire.MaxBlock; length += 1 + length/100 {
		got := Footprint(length)
		if need := wire.NewCut(length, wire.MinSymbol).Bytes(); got < need || got < last {
			t.Fatalf("block of %d bytes: footprint %d, need %d", length, got, need)
		}
		if got > length+length/4+2048 {
			t.Fatalf("block of %d bytes: footprint %d", length, got)
		}
		last = got
	}
}

func TestPoolKeepsItsLimit(t *testing.T) {
	p := NewPool(100_000)
	var held [][]byte
	for b := p.Get(10_000); b != nil; b = p.Get(10_000) {
		held = append(held, b)
	}
	if len(held) < 5 || p.used > p.limit {
		t.Errorf("%d buffers, %d bytes", len(held), p.used)
	}
	for _, b := range held {
		p.Put(b)
	}
	if b := p.Get(50_000); b == nil || p.used+p.kept > p.limit {
		t.Errorf("%d bytes used, %d kept", p.used, p.kept)
	}
}
