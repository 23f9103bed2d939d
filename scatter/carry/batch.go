package carry

import (
	"context"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// batch is some contents of one channel's steps: their owners, and then the blocks that carry them. A content with very many owners goes
// into several batches, and its bytes are repeated in each: what a batch takes is bounded whatever guests hold.
type batch struct {
	step  int // the first
	ended int // the last one that is complete with it; -1 = none

	owners []dedup.Page // at most batchOwners
	ends   []uint16     // of each content's owners

	blocks []ledger.OutBlock
	done   chan struct{} // tells once that blocks are made
}

func (t *batch) reset(step int) {
	t.step, t.ended = step, -1
	t.owners, t.ends, t.blocks = t.owners[:0], t.ends[:0], t.blocks[:0]
	t.done = make(chan struct{}, 1)
}

// await returns when a worker has made the blocks.
func (t *batch) await(ctx context.Context) error {
	select {
	case <-t.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// full tells whether a content with so many more owners is for the next batch. Only one that no batch has room for is taken apart.
func (t *batch) full(more int) bool {
	room := ledger.BatchOwners - len(t.owners)
	return len(t.ends) >= planning.BlockContents || room <= 0 || more > room && more <= ledger.BatchOwners
}

// add takes those owners of one content that are wanted, as many as there is room for, and returns the rest.
func (t *batch) add(owners []dedup.Page, wanted func(dedup.Page) bool) (rest []dedup.Page) {
	before := len(t.owners)
	for len(owners) > 0 && len(t.owners) < ledger.BatchOwners {
		if wanted == nil || wanted(owners[0]) {
			t.owners = append(t.owners, owners[0])
		}
		owners = owners[1:]
	}
	if len(t.owners) > before {
		t.ends = append(t.ends, uint16(len(t.owners)))
	}
	return owners
}

// batchEncoder makes blocks out of batches, one at a time. Between two of them it keeps its memory: that of a batch's pages, and a block's.
type batchEncoder struct {
	e       *Carriage
	tracker *ledger.Tracker
	enc     *block.Encoder
	haste   haste         // of S2
	gain    planning.Gain // of Zstd
	waits   func() bool   // tells whether much waits for the link: there is time for Zstd

	data  []byte    // of the batch's owners
	pages []vmPages // by VM
	equal []dedup.Equal

	// The block that is being made.
	contents []block.Content
	owners   []block.Owner // of contents
	hashes   []uint64      // of contents
	cargo    ledger.Cargo
}

func newBatchEncoder(e *Carriage, t *ledger.Tracker) (*batchEncoder, error) {
	enc, err := block.NewEncoder()
	if err != nil {
		return nil, err
	}
	least := e.ExpectedRate()
	// What one worker's blocks must fill of the link, in bytes/s, where nothing is gained by compressing them.
	share := func() int64 { return max(e.Rate(), least) / int64(e.BulkWorkers()) }
	waits := func() bool { return e.toTargets.Load().Waiting() >= planning.MuchWaits }
	return &batchEncoder{e: e, tracker: t, enc: enc, haste: haste{rate: share}, waits: waits, pages: make([]vmPages, len(e.VMs))}, nil
}

// encode reads the batch's pages, compares the owners of each content byte by byte, and makes blocks of what is equal
// now. What the targets are going to hold is noted.
func (w *batchEncoder) encode(t *batch) {
	w.read(t)
	start := uint16(0)
	for _, end := range t.ends {
		w.equal = dedup.SplitEqual(w.equal[:0], w.e.Seed, t.owners[start:end], w.data[int(start)*model.PageSize:int(end)*model.PageSize])
		for _, q := range w.equal {
			if q.Hash != 0 { // else it became a zero page: the target has that already
				w.add(t, q)
			}
		}
		start = end
	}
	w.emit(t)
}

// add puts a content into the block that is being made, and into further ones where that has no room for all owners.
func (w *batchEncoder) add(t *batch, q dedup.Equal) {
	for len(q.Owners) > 0 {
		if len(w.contents) == block.MaxContents || len(w.owners) == block.MaxOwners {
			w.emit(t)
		}
		n := min(len(q.Owners), block.MaxOwners-len(w.owners))
		first := len(w.owners)
		w.owners = w.e.Owners(w.owners, q.Owners[:n])
		w.cargo.Add(q.Owners[:n], w.owners[first:])
		w.contents = append(w.contents, block.Content{Owners: w.owners[first:], Data: q.Data})
		w.hashes = append(w.hashes, q.Hash)
		q.Owners = q.Owners[n:]
	}
}

// emit makes the block. One that cannot be encoded is not noted as held: converge sends its pages.
func (w *batchEncoder) emit(t *batch) {
	if len(w.contents) == 0 {
		return
	}
	w.cargo.Bytes = int64(len(w.contents) * model.PageSize)
	how := w.compression()
	began := time.Now()
	payload, err := w.enc.Append(w.tracker.Buffers.Get(), w.contents, how)
	if err == nil {
		switch size := len(w.contents) * model.PageSize; how {
		case block.S2:
			w.haste.measure(size, time.Since(began))
		case block.Zstd:
			w.gain.Note(size, len(payload))
		}
		w.note()
		t.blocks = append(t.blocks, ledger.OutBlock{Payload: w.tracker.Buffers.Fit(payload), Cargo: w.cargo.Clone()})
	} else {
		w.e.LeftOut(len(w.owners), err)
	}
	w.contents, w.owners, w.hashes = w.contents[:0], w.owners[:0], w.hashes[:0]
	w.cargo.Reset()
}

// compression is the next block's. While others wait for the link it may take its time, unless that is in vain. Else the link waits, or a target: then it is
// to be quick, and there is none where even that would not keep up with the link.
func (w *batchEncoder) compression() block.Compression {
	switch {
	case w.e.Cfg.NoCompress:
		return block.None
	case w.waits() && w.gain.Worth():
		return block.Zstd
	case w.haste.keepsUp():
		return block.S2
	}
	return block.None
}

// note records what the targets are going to hold.
func (w *batchEncoder) note() {
	start := uint16(0)
	for i, end := range w.cargo.Ends {
		for _, p := range w.cargo.Owners[start:end] {
			w.e.Held.Set(p, w.hashes[i])
		}
		start = end
	}
}

// read reads the pages of a batch out of the running VMs. Pages of a VM that is given up meanwhile read as zero.
func (w *batchEncoder) read(t *batch) {
	w.data = slices.Grow(w.data[:0], len(t.owners)*model.PageSize)[:len(t.owners)*model.PageSize]
	for vm := range w.pages {
		g := &w.pages[vm]
		g.refs, g.to = g.refs[:0], g.to[:0]
	}
	for i, p := range t.owners {
		region, index := w.e.Layout.Locate(p)
		r := w.e.Regions[region]
		g := &w.pages[r.VM]
		g.refs = append(g.refs, r.Ref(index))
		g.to = append(g.to, uint32(i))
	}
	for vm := range w.pages {
		w.e.gather(w.e.VMs[vm], &w.pages[vm], w.data)
	}
}

// vmPages are the pages of one VM in a batch, and their places in the batch's data.
type vmPages struct {
	refs []qemu.PageRef
	to   []uint32
}
