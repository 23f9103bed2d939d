package scatter

import (
	"context"
	"fmt"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
)

// Limits of one batch: contents that make a block of about 256 KiB, and owners whose pages are
// read and compared at one time.
const (
	blockContents = 62
	batchOwners   = 1024
)

// blocksOf is how many blocks so many contents make, unless they have very many owners.
func blocksOf(contents int) int { return (contents + blockContents - 1) / blockContents }

// batch is some contents of one step: their owners, then their bytes, then the blocks that carry them.
type batch struct {
	step int
	last bool // of its step

	owners []dedup.Page
	ends   []int // of each content's owners
	data   []byte

	blocks []outBlock
	done   chan error // tells once that blocks are made
}

// outBlock is an encoded block and what it carries.
type outBlock struct {
	payload []byte
	cargo   cargo
}

func (t *batch) reset(step int) {
	t.step, t.last = step, false
	t.owners, t.ends, t.blocks = t.owners[:0], t.ends[:0], t.blocks[:0]
	t.done = make(chan error, 1)
}

// await returns when a worker has made the blocks.
func (t *batch) await(ctx context.Context) error {
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *batch) full(more int) bool {
	return len(t.ends) >= blockContents || len(t.owners) > 0 && len(t.owners)+more > batchOwners
}

func (t *batch) add(owners []dedup.Page) {
	// A page that fills half a guest has more owners than one block may name: its bytes are repeated.
	for len(owners) > 0 {
		n := min(len(owners), batchOwners)
		t.owners = append(t.owners, owners[:n]...)
		t.ends = append(t.ends, len(t.owners))
		owners = owners[n:]
	}
}

// batchEncoder makes blocks out of batches. It belongs to one worker.
type batchEncoder struct {
	e        *evacuation
	tracker  *tracker
	enc      *block.Encoder
	gain     gain
	waits    bool      // for a slow host: there is time to compress
	pages    []vmPages // by VM
	equal    []dedup.Equal
	contents []block.Content
	cargo    cargo
}

func newBatchEncoder(e *evacuation, t *tracker) (*batchEncoder, error) {
	enc, err := block.NewEncoder()
	if err != nil {
		return nil, err
	}
	return &batchEncoder{e: e, tracker: t, enc: enc, pages: make([]vmPages, len(e.vms))}, nil
}

// encode reads the batch's pages, compares the owners of each content byte by byte, and makes blocks of what is equal
// now. What the targets are going to hold is noted.
func (w *batchEncoder) encode(t *batch) error {
	w.read(t)
	w.contents, w.cargo = w.contents[:0], cargo{}
	start := 0
	for _, end := range t.ends {
		w.equal = dedup.SplitEqual(w.equal[:0], w.e.seed, t.owners[start:end], t.data[start*PageSize:end*PageSize])
		for _, q := range w.equal {
			if q.Hash == 0 {
				continue // it became a zero page: the target has that already
			}
			if len(w.contents) == block.MaxContents {
				if err := w.emit(t); err != nil {
					return err
				}
			}
			owners := w.e.owners(q.Owners)
			w.cargo.add(q.Owners, owners)
			w.contents = append(w.contents, block.Content{Owners: owners, Data: q.Data})
			for _, p := range q.Owners {
				w.e.held.Set(p, q.Hash)
			}
		}
		start = end
	}
	return w.emit(t)
}

func (w *batchEncoder) emit(t *batch) error {
	if len(w.contents) == 0 {
		return nil
	}
	w.cargo.bytes = int64(len(w.contents) * PageSize)
	try := !w.e.cfg.NoCompress && (w.waits || w.tracker.busy()) && w.gain.worth()
	payload, err := w.enc.Append(w.tracker.buffer(), w.contents, try)
	if err != nil {
		return fmt.Errorf("block: %w", err)
	}
	if try {
		w.gain.note(len(w.contents)*PageSize, len(payload))
	}
	t.blocks = append(t.blocks, outBlock{w.tracker.fit(payload), w.cargo})
	w.contents, w.cargo = w.contents[:0], cargo{}
	return nil
}

// read reads the pages of a batch out of the running VMs. Pages of a VM that is given up meanwhile read as zero.
func (w *batchEncoder) read(t *batch) {
	need := len(t.owners) * PageSize
	if cap(t.data) < need {
		t.data = make([]byte, need)
	}
	t.data = t.data[:need]
	for vm := range w.pages {
		g := &w.pages[vm]
		g.refs, g.to = g.refs[:0], g.to[:0]
	}
	for i, p := range t.owners {
		region, index := w.e.layout.Locate(p)
		r := w.e.regions[region]
		g := &w.pages[r.vm]
		g.refs = append(g.refs, qemu.PageRef{Block: uint16(r.memory), Page: index})
		g.to = append(g.to, uint32(i))
	}
	for vm := range w.pages {
		w.e.gather(w.e.vms[vm], &w.pages[vm], t.data)
	}
}

// vmPages are the pages of one VM in a batch, and their places in the batch's data.
type vmPages struct {
	refs []qemu.PageRef
	to   []uint32
}

// gather reads pages of one VM. When its QEMU is gone the VM fails, not the bulk of the others.
func (e *evacuation) gather(v *sourceVM, p *vmPages, dst []byte) {
	if len(p.refs) == 0 {
		return
	}
	if !v.gone.Load() {
		err := v.mem.GatherTo(p.refs, p.to, dst)
		if err == nil {
			return
		}
		v.gone.Store(true)
		e.post(event{kind: evFailed, vm: v.index, err: fmt.Errorf("vm %s: %w", v.name(), err)})
	}
	for _, i := range p.to {
		clear(dst[int(i)*PageSize : int(i+1)*PageSize])
	}
}

// owners translates page numbers for the wire.
func (e *evacuation) owners(pages []dedup.Page) []block.Owner {
	out := make([]block.Owner, len(pages))
	for i, p := range pages {
		region, index := e.layout.Locate(p)
		r := e.regions[region]
		out[i] = block.Owner{VM: uint16(r.vm), Block: uint16(r.block), Page: index}
	}
	return out
}
