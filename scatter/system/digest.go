package system

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// digestChunk is how many pages one leaf of a digest covers.
const digestChunk = 256

// pageReader reads guest RAM; *qemu.Memory is one.
type pageReader interface {
	ReadPages(block int, first uint32, n int, dst []byte) error
}

// DigestRAM returns for each block the SHA-256 of the SHA-256 of each chunk of digestChunk pages, nothing for
// hidden blocks. What is to be skipped counts as zeros. The VM must be paused.
func DigestRAM(ctx context.Context, mem pageReader, blocks []RAMBlock, skip []control.Span) ([][]byte, error) {
	skips, err := skipsOf(blocks, skip)
	if err != nil {
		return nil, err
	}
	leaves := make([][][sha256.Size]byte, len(blocks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(Processors)
	for i, b := range blocks {
		if b.Hidden {
			continue
		}
		leaves[i] = make([][sha256.Size]byte, (b.Pages()+digestChunk-1)/digestChunk)
		for l := range leaves[i] {
			g.Go(func() error { return digestLeaf(ctx, mem, b, uint32(l)*digestChunk, skips[i], &leaves[i][l]) })
		}
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sums := make([][]byte, len(blocks))
	for i := range blocks {
		if leaves[i] != nil {
			sums[i] = digestLeaves(leaves[i])
		}
	}
	return sums, nil
}

func digestLeaves(leaves [][sha256.Size]byte) []byte {
	h := sha256.New()
	for _, leaf := range leaves {
		h.Write(leaf[:])
	}
	return h.Sum(nil)
}

var chunks = sync.Pool{New: func() any { return new([digestChunk * model.PageSize]byte) }}

func digestLeaf(ctx context.Context, mem pageReader, b RAMBlock, first uint32, skip []control.Span, out *[sha256.Size]byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	n := min(digestChunk, int(b.Pages()-first))
	whole := chunks.Get().(*[digestChunk * model.PageSize]byte)
	defer chunks.Put(whole)
	buf := whole[:n*model.PageSize]
	if err := mem.ReadPages(b.Index, first, n, buf); err != nil {
		return fmt.Errorf("ram block %s: %w", b.Name, err)
	}
	start := uint64(first) * model.PageSize
	i, _ := slices.BinarySearchFunc(skip, start, func(s control.Span, at uint64) int { return cmp.Compare(s.Offset, at) })
	for ; i < len(skip) && skip[i].Offset < start+uint64(len(buf)); i++ {
		clear(buf[skip[i].Offset-start:][:skip[i].Length])
	}
	*out = sha256.Sum256(buf)
	return nil
}

// skipsOf sorts what is to be skipped by block and offset. None may leave its page, so that none is in two leaves.
func skipsOf(blocks []RAMBlock, skip []control.Span) (map[int][]control.Span, error) {
	if len(skip) > control.MaxSkips {
		return nil, fmt.Errorf("digest without %d pieces of RAM: more than %d", len(skip), control.MaxSkips)
	}
	of := make(map[int][]control.Span)
	for _, s := range skip {
		if s.Block < 0 || s.Block >= len(blocks) || s.Offset >= blocks[s.Block].Length || s.Offset%model.PageSize+uint64(s.Length) > model.PageSize {
			return nil, fmt.Errorf("digest without %d bytes at %#x of ram block %d: not in one page of it", s.Length, s.Offset, s.Block)
		}
		of[s.Block] = append(of[s.Block], s)
	}
	for _, list := range of {
		slices.SortFunc(list, func(a, b control.Span) int { return cmp.Compare(a.Offset, b.Offset) })
	}
	return of, nil
}

// DigestError says that a VM's RAM on the target is not what the source sent.
type DigestError struct {
	VM    string
	Block string
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("vm %s: ram block %s differs between source and target", e.VM, e.Block)
}

// CompareDigests reports the first block whose digests differ, among those that both sides can read.
func CompareDigests(vm string, blocks []RAMBlock, ours [][]byte, theirs control.Digested) error {
	if len(theirs.Sums) != len(ours) {
		return &DigestError{vm, fmt.Sprintf("list (%d instead of %d)", len(theirs.Sums), len(ours))}
	}
	compared := 0
	for i := range ours {
		if len(ours[i]) == 0 || len(theirs.Sums[i]) == 0 {
			continue
		}
		if string(ours[i]) != string(theirs.Sums[i]) {
			return &DigestError{vm, blocks[i].Name}
		}
		compared++
	}
	if compared == 0 {
		return &DigestError{vm, "list (nothing can be compared)"}
	}
	return nil
}
