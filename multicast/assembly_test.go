package multicast

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
		cut := wire.NewCut(len(payload), rapid.IntRange(5, 100).Draw(t, "limit"))
		b := block{payload: payload, cut: cut}
		if cut.Bytes() > len(payload) {
			b.tail = make([]byte, cut.Size)
			copy(b.tail, payload[(cut.Symbols-1)*cut.Size:])
		}
		s := sendState{}
		p := pool{limit: 1 << 20, free: map[int][][]byte{}}
		a := newAssembly(cut, p.get(cut.Length))
		for a.lacking > 0 {
			stripe := rapid.IntRange(0, cut.Stripes-1).Draw(t, "stripe")
			id := rapid.IntRange(0, fec.MaxSymbols-1).Draw(t, "id")
			if rapid.Bool().Draw(t, "source") {
				id %= cut.K(stripe)
			}
			if !a.needs(stripe, id) {
				continue
			}
			place := a.place(stripe, id)
			copy(a.slot(stripe, place)[:cut.Size], s.body(&b, stripe, id))
			a.add(stripe, id, place)
		}
		got, err := a.restore(&decoder)
		if err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("restored %d bytes, %v", len(got), err)
		}
		p.put(a.buffer)
		if p.used != 0 {
			t.Fatalf("%d bytes in use", p.used)
		}
	})
}

func TestFootprintHoldsTheBlock(t *testing.T) {
	last := 0
	for length := 1; length <= MaxBlock; length += 1 + length/100 {
		got := footprint(length)
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
	p := pool{limit: 100_000, free: map[int][][]byte{}}
	var held [][]byte
	for b := p.get(10_000); b != nil; b = p.get(10_000) {
		held = append(held, b)
	}
	if len(held) < 5 || p.used > p.limit {
		t.Errorf("%d buffers, %d bytes", len(held), p.used)
	}
	for _, b := range held {
		p.put(b)
	}
	if b := p.get(50_000); b == nil || p.used+p.kept > p.limit {
		t.Errorf("%d bytes used, %d kept", p.used, p.kept)
	}
}
