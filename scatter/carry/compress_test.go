package carry

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// TestGainBacksOff: what gains nothing is tried after 1, 3, 7 and then every 15 pieces; one success and all are tried again.
func TestGainBacksOff(t *testing.T) {
	var g planning.Gain
	var tried []int
	for i := range 60 {
		if g.Worth() {
			tried = append(tried, i)
			g.Note(1000, 1000)
		}
	}
	if want := []int{0, 2, 6, 14, 30, 46}; !slices.Equal(tried, want) {
		t.Errorf("tried %v, want %v", tried, want)
	}
	for !g.Worth() {
	}
	g.Note(1000, 500)
	for range 5 {
		if !g.Worth() {
			t.Fatal("not tried again after a success")
		}
		g.Note(1000, 500)
	}
}

func TestLeastGain(t *testing.T) {
	for _, c := range []struct {
		after int
		again bool
	}{{500, true}, {960, true}, {961, false}, {1000, false}, {1010, false}} {
		var g planning.Gain
		g.Note(1000, c.after)
		if g.Worth() != c.again {
			t.Errorf("1000 bytes became %d: tried again at once: %v", c.after, !c.again)
		}
	}
}

// tries counts how many of n frames a packer would try.
func tries(p *Packer, n int) (tried int) {
	for range n {
		if p.keepsUp() {
			tried++
		}
	}
	return tried
}

// TestPackerLeavesAFastLinkAlone: compression that is slower than the link would slow the evacuation down. One frame of
// sixteen is tried all the same.
func TestPackerLeavesAFastLinkAlone(t *testing.T) {
	rate := int64(1000)
	p := &Packer{haste: haste{rate: func() int64 { return rate }}}
	if tries(p, 10) != 10 {
		t.Error("not tried before its speed is known")
	}
	p.measure(1000, time.Second)
	if n := tries(p, 160); n != 160/retryWaived {
		t.Errorf("%d of 160 frames tried at the link's own speed", n)
	}
	rate = 900
	if n := tries(p, 160); n != 160 {
		t.Errorf("%d of 160 frames tried on a slower link", n)
	}
}

// TestPackerRetries: a host that was busy becomes idle, and compression is used again.
func TestPackerRetries(t *testing.T) {
	p := &Packer{haste: haste{rate: func() int64 { return 1000 }}}
	p.measure(100, time.Second)
	for range 20 {
		p.measure(5000, time.Second)
	}
	if tries(p, 100) != 100 {
		t.Errorf("still too slow at %.0f bytes/s", p.speed)
	}
}

// TestBlocksAreCompressed: well while others wait for the link, unless it is in vain; quickly while it is idle, where that keeps up with it.
func TestBlocksAreCompressed(t *testing.T) {
	rate := int64(1000)
	waits := false
	w := &batchEncoder{e: &Carriage{}, haste: haste{rate: func() int64 { return rate }}, waits: func() bool { return waits }}
	expect := func(when string, none, zstd, s2 int) {
		t.Helper()
		var n [3]int
		for range retryWaived {
			n[w.compression()]++
		}
		if want := [3]int{none, zstd, s2}; n != want {
			t.Errorf("%s: none, small and quick are %v, want %v", when, n, want)
		}
	}
	w.haste.measure(1200, time.Second)
	expect("the link waits", 0, 0, retryWaived)
	waits = true
	expect("the link is slow", 0, retryWaived, 0)
	w.gain.Note(100, 100)
	expect("it is slow, and one was in vain", 0, retryWaived-1, 1)
	rate = 2000
	expect("it is fast, and much waits for it", 0, retryWaived, 0)
	waits = false
	expect("it is fast", retryWaived-1, 0, 1)
	w.e.Cfg.NoCompress = true
	expect("nothing is to be compressed", retryWaived, 0, 0)
}

func TestPackerTries(t *testing.T) {
	p, err := NewPacker(func() int64 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	text := bytes.Repeat([]byte("the quick brown fox "), FrameSize/20)
	small, ok := p.Try(text)
	if !ok || len(small) > len(text)/10 {
		t.Fatalf("text of %d bytes became %d, %v", len(text), len(small), ok)
	}
	if got, err := z.DecodeAll(small, nil); err != nil || !bytes.Equal(got, text) {
		t.Errorf("text came back as %d bytes, %v", len(got), err)
	}
	if b, ok := p.Try(kit.Noise(FrameSize)); ok {
		t.Errorf("noise of %d bytes is sent as %d", FrameSize, len(b))
	}
	if _, ok := p.Try(text); ok {
		t.Error("the frame after noise was tried")
	}
	var none *Packer
	if _, ok := none.Try(text); ok {
		t.Error("a packer that is off has compressed")
	}
}
