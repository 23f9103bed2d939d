package pages

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// RAM is that of a QEMU that waits for its migration stream. Pages are written straight into it, or through QEMU's incoming socket where that is
// not possible. It takes pages between Open and Stop only.
type RAM struct {
	Blocks []system.RAMBlock // in the order of the stream

	mu     sync.Mutex // held while pages are placed, and while memory is read
	open   bool
	mem    *qemu.Memory // nil: out of reach
	direct bool         // pages are written into mem
	in     net.Conn     // QEMU's incoming socket
	w      *stream.Writer
	filled
}

// socketPatience bounds how long QEMU may not read a part of a block, in which no other guest gets its pages.
const socketPatience = 10 * time.Second

// NewRAM is the RAM blocks of a QEMU. mem is its memory, or nil where that cannot be reached; direct: pages are written into it.
func NewRAM(blocks []system.RAMBlock, mem *qemu.Memory, direct bool) *RAM {
	return &RAM{Blocks: blocks, mem: mem, direct: direct && mem != nil}
}

// Direct tells whether pages are written straight into memory.
func (r *RAM) Direct() bool { return r.direct }

// Connect gives it QEMU's incoming socket. w has written the head of the stream to it.
func (r *RAM) Connect(in net.Conn, w *stream.Writer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.in, r.w = in, w
}

// Open lets pages in.
func (r *RAM) Open() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = true
}

// Stop keeps pages out, and returns when none is being placed.
func (r *RAM) Stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = false
}

// Close is Stop for good, and lets go of the memory. Whoever closes the incoming socket before need not wait for a QEMU that does not read.
func (r *RAM) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open, r.bulk = false, false
	if r.past != nil {
		r.past.Close()
		r.past, r.lacked = nil, nil
	}
	if r.mem != nil {
		r.mem.Close()
		r.mem = nil
	}
}

// Zero tells which blocks are all zero: those of a fresh QEMU's main memory.
func (r *RAM) Zero() ([]bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	zero := make([]bool, len(r.Blocks))
	if r.mem == nil {
		return zero, nil
	}
	for i, b := range r.Blocks {
		var err error
		if b.Hidden {
			continue
		}
		if zero[i], err = r.mem.IsZero(b.Index); err != nil {
			return nil, fmt.Errorf("ram block %s: %w", b.Name, err)
		}
	}
	return zero, nil
}

// errOutOfReach: there is no memory to read.
var errOutOfReach = errors.New("its memory cannot be read")

// Digest digests all RAM, but for what is to be skipped.
func (r *RAM) Digest(ctx context.Context, skip []control.Span) ([][]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mem == nil {
		return nil, errOutOfReach
	}
	return system.DigestRAM(ctx, r.mem, r.Blocks, skip)
}

// Place writes bulk pages. Once the stream has begun they come too late and are dropped.
func (r *RAM) Place(p *Pages, b block.Block) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.open && !r.bulk {
		return nil
	}
	for _, o := range p.Owners {
		if int(o.Block) >= len(r.Blocks) || o.Page >= r.Blocks[o.Block].Pages() {
			return fmt.Errorf("page %d of ram block %d: outside of the guest", o.Page, o.Block)
		}
	}
	if r.bulk {
		return r.placeLacking(p, b)
	}
	direct, bySocket := r.split(p)
	return errors.Join(r.placeDirectly(direct, b), r.placeBySocket(bySocket, b))
}

// split sorts the pages by the way they take.
func (r *RAM) split(p *Pages) (direct, bySocket *Pages) {
	if !r.direct {
		return &Pages{}, p
	}
	direct, bySocket = &Pages{}, &Pages{}
	for i, o := range p.Owners {
		way := direct
		if r.Blocks[o.Block].Hidden {
			way = bySocket
		}
		way.Owners, way.From = append(way.Owners, o), append(way.From, p.From[i])
	}
	return direct, bySocket
}

func (r *RAM) placeDirectly(p *Pages, b block.Block) error {
	if len(p.Owners) == 0 {
		return nil
	}
	refs := make([]qemu.PageRef, len(p.Owners))
	for i, o := range p.Owners {
		refs[i] = qemu.PageRef{Block: uint16(r.Blocks[o.Block].Index), Page: o.Page}
	}
	return r.mem.ScatterFrom(refs, p.From, b.Pages)
}

func (r *RAM) placeBySocket(p *Pages, b block.Block) error {
	if len(p.Owners) == 0 {
		return nil
	}
	if err := r.in.SetWriteDeadline(time.Now().Add(socketPatience)); err != nil {
		return err
	}
	defer r.in.SetWriteDeadline(time.Time{})
	if err := r.w.BeginPart(); err != nil {
		return err
	}
	for i, o := range p.Owners {
		if err := r.w.Page(int(o.Block), uint64(o.Page)*model.PageSize, b.Contents[p.From[i]].Data); err != nil {
			return err
		}
	}
	return errors.Join(r.w.EndPart(), r.w.Flush())
}
