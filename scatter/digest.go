package scatter

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/scatter/control"
)

// digestChunk is how many pages one leaf of a digest covers.
const digestChunk = 256

// pageReader reads guest RAM; *qemu.Memory is one.
type pageReader interface {
	ReadPages(block int, first uint32, n int, dst []byte) error
}

// digestRAM returns for each block the SHA-256 of the SHA-256 of each chunk of digestChunk pages, nothing for
// hidden blocks. The VM must be paused.
func digestRAM(ctx context.Context, mem pageReader, blocks []ramBlock) ([][]byte, error) {
	leaves := make([][][sha256.Size]byte, len(blocks))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, b := range blocks {
		if b.hidden {
			continue
		}
		leaves[i] = make([][sha256.Size]byte, (b.pages()+digestChunk-1)/digestChunk)
		for l := range leaves[i] {
			g.Go(func() error { return digestLeaf(ctx, mem, b, uint32(l)*digestChunk, &leaves[i][l]) })
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

var chunks = sync.Pool{New: func() any { return new([digestChunk * PageSize]byte) }}

func digestLeaf(ctx context.Context, mem pageReader, b ramBlock, first uint32, out *[sha256.Size]byte) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	n := min(digestChunk, int(b.pages()-first))
	whole := chunks.Get().(*[digestChunk * PageSize]byte)
	defer chunks.Put(whole)
	buf := whole[:n*PageSize]
	if err := mem.ReadPages(b.index, first, n, buf); err != nil {
		return fmt.Errorf("ram block %s: %w", b.name, err)
	}
	*out = sha256.Sum256(buf)
	return nil
}

// DigestError says that a VM's RAM on the target is not what the source sent.
type DigestError struct {
	VM    string
	Block string
}

func (e *DigestError) Error() string {
	return fmt.Sprintf("vm %s: ram block %s differs between source and target", e.VM, e.Block)
}

// compareDigests reports the first block whose digests differ, among those that both sides can read.
func compareDigests(vm string, blocks []ramBlock, ours [][]byte, theirs control.Digested) error {
	if len(theirs.Sums) != len(ours) {
		return &DigestError{vm, fmt.Sprintf("list (%d instead of %d)", len(theirs.Sums), len(ours))}
	}
	compared := 0
	for i := range ours {
		if len(ours[i]) == 0 || len(theirs.Sums[i]) == 0 {
			continue
		}
		if string(ours[i]) != string(theirs.Sums[i]) {
			return &DigestError{vm, blocks[i].name}
		}
		compared++
	}
	if compared == 0 {
		return &DigestError{vm, "list (nothing can be compared)"}
	}
	return nil
}
