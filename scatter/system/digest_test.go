package system

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// bytesRAM is guest RAM in a slice per block.
type bytesRAM struct {
	blocks [][]byte
	err    error
}

func (m bytesRAM) ReadPages(block int, first uint32, n int, dst []byte) error {
	if m.err != nil {
		return m.err
	}
	copy(dst, m.blocks[block][int(first)*model.PageSize:(int(first)+n)*model.PageSize])
	return nil
}

// twoBlocks is RAM of two blocks, listed in the other order; neither is a whole number of chunks.
func twoBlocks() (bytesRAM, []RAMBlock) {
	ram := bytesRAM{blocks: [][]byte{kit.Noise((digestChunk + 3) * model.PageSize), kit.Noise(5 * model.PageSize)}}
	return ram, []RAMBlock{{Name: "small", Length: 5 * model.PageSize, Index: 1}, {Name: "large", Length: (digestChunk + 3) * model.PageSize, Index: 0}}
}

func TestDigestRAM(t *testing.T) {
	ram, blocks := twoBlocks()
	got, err := DigestRAM(t.Context(), ram, blocks, nil)
	if err != nil {
		t.Fatal(err)
	}
	small, first, second := sha256.Sum256(ram.blocks[1]), sha256.Sum256(ram.blocks[0][:digestChunk*model.PageSize]), sha256.Sum256(ram.blocks[0][digestChunk*model.PageSize:])
	a, b := sha256.Sum256(small[:]), sha256.Sum256(slices.Concat(first[:], second[:]))
	if len(got) != 2 || !bytes.Equal(got[0], a[:]) || !bytes.Equal(got[1], b[:]) {
		t.Errorf("got %x", got)
	}
}

// TestDigestSeesEachByte: one bit in any page makes another digest, of its block only.
func TestDigestSeesEachByte(t *testing.T) {
	ram, blocks := twoBlocks()
	want, err := DigestRAM(t.Context(), ram, blocks, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range []int{0, 1, digestChunk - 1, digestChunk, digestChunk + 2} {
		ram.blocks[0][page*model.PageSize+page%model.PageSize] ^= 1
		got, err := DigestRAM(t.Context(), ram, blocks, nil)
		if err != nil || !bytes.Equal(got[0], want[0]) || bytes.Equal(got[1], want[1]) {
			t.Errorf("a bit in page %d: %v", page, err)
		}
		err = CompareDigests("web", blocks, want, control.Digested{Sums: got})
		bad, ok := errors.AsType[*DigestError](err)
		if !ok || bad.VM != "web" || bad.Block != "large" {
			t.Errorf("got %v", err)
		}
		ram.blocks[0][page*model.PageSize+page%model.PageSize] ^= 1
	}
}

// TestDigestSkips: what is to be skipped may differ, the byte before it and the byte behind it may not.
func TestDigestSkips(t *testing.T) {
	ram, blocks := twoBlocks()
	const last = (digestChunk + 2) * model.PageSize // of block large
	skip := []control.Span{{Block: 1, Offset: last + 100, Length: 32}, {Block: 0, Offset: 8, Length: 12}, {Block: 1, Offset: 4064, Length: 32}}
	want, err := DigestRAM(t.Context(), ram, blocks, skip)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		block, at int
		differs   bool
	}{
		{0, last + 99, true}, {0, last + 100, false}, {0, last + 131, false}, {0, last + 132, true}, {0, 4063, true}, {0, 4064, false}, {0, 4096, true},
		{1, 7, true}, {1, 8, false}, {1, 19, false}, {1, 20, true},
	} {
		ram.blocks[c.block][c.at] ^= 1
		got, err := DigestRAM(t.Context(), ram, blocks, skip)
		if err != nil || (CompareDigests("web", blocks, want, control.Digested{Sums: got}) != nil) != c.differs {
			t.Errorf("byte %d of block %d: %v, want a difference: %v", c.at, c.block, err, c.differs)
		}
		ram.blocks[c.block][c.at] ^= 1
	}
}

// TestDigestRefusesSkips: nothing is skipped that is not within one page of the guest, and not very many pieces.
func TestDigestRefusesSkips(t *testing.T) {
	ram, blocks := twoBlocks()
	for name, skip := range map[string][]control.Span{
		"no such block": {{Block: 2, Length: 1}}, "before the first block": {{Block: -1, Length: 1}}, "behind the block": {{Offset: 5 * model.PageSize, Length: 1}},
		"over the end of a page": {{Offset: 4090, Length: 7}}, "a whole block": {{Length: 5 * model.PageSize}}, "far": {{Offset: 1<<64 - 1, Length: 1}},
		"too many": make([]control.Span, control.MaxSkips+1),
	} {
		if _, err := DigestRAM(t.Context(), ram, blocks, skip); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestDigestFails(t *testing.T) {
	ram, blocks := twoBlocks()
	ram.err = errors.New("gone")
	if _, err := DigestRAM(t.Context(), ram, blocks, nil); !errors.Is(err, ram.err) || !strings.Contains(err.Error(), "ram block") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(model.ErrCancelled)
	if _, err := DigestRAM(ctx, ram, blocks, nil); !errors.Is(err, model.ErrCancelled) && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCompareDigests(t *testing.T) {
	_, blocks := twoBlocks()
	ours := [][]byte{{1}, {2}}
	for _, c := range []struct {
		name   string
		theirs [][]byte
		block  string // "" = equal
	}{
		{"equal", [][]byte{{1}, {2}}, ""},
		{"first differs", [][]byte{{9}, {2}}, "small"},
		{"second differs", [][]byte{{1}, {9}}, "large"},
		{"one is missing", [][]byte{{1}}, "list (1 instead of 2)"},
		{"one too many", [][]byte{{1}, {2}, {3}}, "list (3 instead of 2)"},
		{"the target cannot read one", [][]byte{nil, {2}}, ""},
		{"nothing can be compared", [][]byte{nil, nil}, "list (nothing can be compared)"},
	} {
		err := CompareDigests("web", blocks, ours, control.Digested{Sums: c.theirs})
		bad, ok := errors.AsType[*DigestError](err)
		if c.block == "" && err != nil || c.block != "" && (!ok || bad.Block != c.block) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestDigestOfHiddenBlocks: what cannot be read is left out.
func TestDigestOfHiddenBlocks(t *testing.T) {
	ram, blocks := twoBlocks()
	blocks[0].Hidden = true
	got, err := DigestRAM(t.Context(), ram, blocks, nil)
	if err != nil || got[0] != nil || len(got[1]) != sha256.Size {
		t.Errorf("got %x, %v", got, err)
	}
}
