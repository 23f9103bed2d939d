package scatter

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
)

// Limits of one block: contents that make a block of about 256 KiB, and owners whose pages are
// read and compared at one time.
const (
	blockContents = 62
	batchOwners   = 2048
)

// bulk sends the planned contents. It returns when every step was sent; the tracker says when a VM's blocks are confirmed.
type bulk struct {
	e       *evacuation
	plan    *plan
	tracker *tracker

	enc   *block.Encoder
	gain  gain
	batch batch
}

// run sends all steps in order. The channel of the next step is opened while the current one is sent.
func (b *bulk) run(ctx context.Context) error {
	var err error
	if b.enc, err = block.NewEncoder(); err != nil {
		return err
	}
	ch := newChannels(b.e.sender, b.plan)
	defer ch.wait()
	for _, vm := range b.plan.endsAt[-1] {
		b.tracker.allSent(vm)
	}
	for i, s := range b.plan.steps {
		ch.ahead(ctx, b.plan.steps[i:])
		err := ch.await(ctx, s.channel)
		if err == nil {
			err = b.step(ctx, s)
		}
		if err != nil && !errors.Is(err, multicast.ErrNoMembers) { // without members its VMs are given up, or blind
			return fmt.Errorf("bulk: %w", err)
		}
		for _, vm := range b.plan.endsAt[i] {
			b.tracker.allSent(vm)
		}
		ch.leave(ctx, b.plan.steps[i+1:])
	}
	return nil
}

// step sends one class into its channel.
func (b *bulk) step(ctx context.Context, s bulkStep) error {
	for owners := range b.e.index.Contents(s.class) {
		if b.batch.full(len(owners)) {
			if err := b.send(ctx, s.channel); err != nil {
				return err
			}
		}
		b.batch.add(owners)
	}
	return b.send(ctx, s.channel)
}

// batch collects contents by their owners until they make a block.
type batch struct {
	owners []dedup.Page
	ends   []int // of each content's owners
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

// send reads the batch's pages, compares the owners of each content byte by byte, and sends what is equal now as one block or more.
func (b *bulk) send(ctx context.Context, channel int) error {
	defer func() { b.batch.owners, b.batch.ends = b.batch.owners[:0], b.batch.ends[:0] }()
	var contents []block.Content
	var vms vmSet
	data, err := b.e.readPages(&b.batch)
	if err != nil {
		return err
	}
	var equal []dedup.Equal
	start := 0
	for _, end := range b.batch.ends {
		owners := b.batch.owners[start:end]
		equal = dedup.SplitEqual(equal[:0], b.e.seed, owners, data[start*PageSize:end*PageSize])
		for _, q := range equal {
			if q.Hash == 0 || len(q.Owners) == 0 {
				continue // it became a zero page: the target has that already
			}
			if len(contents) == block.MaxContents {
				if err := b.emit(ctx, channel, contents, vms); err != nil {
					return err
				}
				contents, vms = contents[:0], vmSet{}
			}
			contents = append(contents, block.Content{Owners: b.e.owners(q.Owners, &vms), Data: q.Data})
			for _, p := range q.Owners {
				b.e.held.Set(p, q.Hash)
			}
		}
		start = end
	}
	return b.emit(ctx, channel, contents, vms)
}

func (b *bulk) emit(ctx context.Context, channel int, contents []block.Content, vms vmSet) error {
	if len(contents) == 0 {
		return nil
	}
	try := !b.e.cfg.NoCompress && b.gain.worth(b.e.rate())
	began := time.Now()
	payload, err := b.enc.Append(b.tracker.buffer(), contents, try)
	if err != nil {
		return err
	}
	if try {
		b.gain.note(len(contents)*PageSize, len(payload), time.Since(began))
	}
	return b.tracker.send(ctx, multicast.ChannelID(b.plan.channels[channel].id), payload, vms)
}

// readPages reads the pages of a batch out of the running VMs. Pages of a VM that is given up meanwhile read as zero.
func (e *evacuation) readPages(t *batch) ([]byte, error) {
	need := len(t.owners) * PageSize
	if cap(e.pageBuf) < need {
		e.pageBuf = make([]byte, need)
	}
	data := e.pageBuf[:need]
	refs := make([]qemu.PageRef, 0, len(t.owners))
	for i := 0; i < len(t.owners); {
		vm := e.layout.VM(t.owners[i])
		j := i
		refs = refs[:0]
		for ; j < len(t.owners) && e.layout.VM(t.owners[j]) == vm; j++ {
			region, index := e.layout.Locate(t.owners[j])
			refs = append(refs, qemu.PageRef{Block: uint16(e.regions[region].memory), Page: index})
		}
		if err := e.gather(e.vms[vm], refs, data[i*PageSize:j*PageSize]); err != nil {
			return nil, err
		}
		i = j
	}
	return data, nil
}

// gather reads pages of one VM. When its QEMU is gone the VM fails, not the bulk of the others.
func (e *evacuation) gather(v *sourceVM, refs []qemu.PageRef, dst []byte) error {
	if !v.gone.Load() {
		err := v.mem.Gather(refs, dst)
		if err == nil {
			return nil
		}
		v.gone.Store(true)
		e.post(event{kind: evFailed, vm: v.index, err: fmt.Errorf("vm %s: %w", v.name(), err)})
	}
	clear(dst)
	return nil
}

// owners translates page numbers for the wire and notes whose they are.
func (e *evacuation) owners(pages []dedup.Page, vms *vmSet) []block.Owner {
	out := make([]block.Owner, len(pages))
	for i, p := range pages {
		region, index := e.layout.Locate(p)
		r := e.regions[region]
		out[i] = block.Owner{VM: uint16(r.vm), Block: uint16(r.block), Page: index}
		vms.add(r.vm)
	}
	return out
}

// vmSet is a small set of VM indices.
type vmSet struct{ vms []int }

func (s *vmSet) add(vm int) {
	for i := len(s.vms) - 1; i >= 0; i-- {
		if s.vms[i] == vm {
			return
		}
	}
	s.vms = append(s.vms, vm)
}

// tracker knows which blocks of each VM are still unconfirmed, and says when the last one is.
type tracker struct {
	sender *multicast.Sender
	done   func(vm int)

	mu      sync.Mutex // guards the fields below
	open    map[blockKey]sentBlock
	spare   [][]byte          // payloads of confirmed blocks, to use again
	early   map[blockKey]bool // confirmed before send knew the number
	pending []int             // by VM: unconfirmed blocks
	sent    []bool            // by VM: its last block was sent
	told    []bool            // by VM: done was called
}

// sentBlock is a block on its way.
type sentBlock struct {
	vms     []int
	payload []byte
}

type blockKey struct {
	ch multicast.ChannelID
	n  uint64
}

func newTracker(vms int, done func(vm int)) *tracker {
	return &tracker{done: done, open: make(map[blockKey]sentBlock), early: make(map[blockKey]bool),
		pending: make([]int, vms), sent: make([]bool, vms), told: make([]bool, vms)}
}

func (t *tracker) send(ctx context.Context, ch multicast.ChannelID, payload []byte, vms vmSet) error {
	t.mu.Lock()
	for _, vm := range vms.vms {
		t.pending[vm]++
	}
	t.mu.Unlock()
	n, err := t.sender.Send(ctx, ch, payload)
	if err != nil {
		return err
	}
	key := blockKey{ch, n}
	t.mu.Lock()
	t.open[key] = sentBlock{vms.vms, payload}
	early := t.early[key]
	t.mu.Unlock()
	if early {
		t.confirmed(ch, n)
	}
	return nil
}

// confirmed is multicast's word that every live member has placed the block.
func (t *tracker) confirmed(ch multicast.ChannelID, n uint64) {
	key := blockKey{ch, n}
	t.mu.Lock()
	b, ok := t.open[key]
	if !ok {
		t.early[key] = true
		t.mu.Unlock()
		return
	}
	delete(t.open, key)
	delete(t.early, key)
	t.spare = append(t.spare, b.payload)
	for _, vm := range b.vms {
		t.pending[vm]--
	}
	t.mu.Unlock()
	t.tell(b.vms...)
}

// buffer is an empty payload buffer, from a confirmed block where there is one.
func (t *tracker) buffer() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := len(t.spare); n > 0 {
		b := t.spare[n-1]
		t.spare = t.spare[:n-1]
		return b[:0]
	}
	return nil
}

// allSent says that no more blocks of vm follow.
func (t *tracker) allSent(vm int) {
	t.mu.Lock()
	t.sent[vm] = true
	t.mu.Unlock()
	t.tell(vm)
}

func (t *tracker) tell(vms ...int) {
	for _, vm := range vms {
		t.mu.Lock()
		now := t.sent[vm] && t.pending[vm] == 0 && !t.told[vm]
		t.told[vm] = t.told[vm] || now
		t.mu.Unlock()
		if now {
			t.done(vm)
		}
	}
}

// giveUp says that nothing of vm needs to be confirmed any more.
func (t *tracker) giveUp(vm int) {
	t.mu.Lock()
	t.sent[vm], t.pending[vm] = true, 0
	now := !t.told[vm]
	t.told[vm] = true
	t.mu.Unlock()
	if now {
		t.done(vm)
	}
}
