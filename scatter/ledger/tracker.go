// Package ledger knows what each target holds of the contents that bulk sends, and what it still needs: sent, confirmed, missed, left out.
package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// Cargo is what a block carries: distinct bytes, their owners, and pages by VM.
type Cargo struct {
	Bytes  int64
	Owners []dedup.Page
	Ends   []uint16 // of each content's owners
	vms    []int
	pages  []int64 // of vms[i]
}

// Add notes a content by its owners.
func (c *Cargo) Add(pages []dedup.Page, owners []block.Owner) {
	for _, o := range owners {
		c.count(int(o.VM))
	}
	c.Owners = append(c.Owners, pages...)
	c.Ends = append(c.Ends, uint16(len(c.Owners)))
}

// Reset empties it, to be used again.
func (c *Cargo) Reset() {
	*c = Cargo{Owners: c.Owners[:0], Ends: c.Ends[:0], vms: c.vms[:0], pages: c.pages[:0]}
}

// Clone is a copy that takes no more memory than it must: it is kept for as long as its block is on its way, or missed.
func (c *Cargo) Clone() Cargo {
	return Cargo{Bytes: c.Bytes, Owners: exactly(c.Owners), Ends: exactly(c.Ends), vms: exactly(c.vms), pages: exactly(c.pages)}
}

func exactly[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func (c *Cargo) count(vm int) {
	for i := len(c.vms) - 1; i >= 0; i-- {
		if c.vms[i] == vm {
			c.pages[i]++
			return
		}
	}
	c.vms, c.pages = append(c.vms, vm), append(c.pages, 1)
}

// blockSender takes blocks; *multicast.Sender is one. It may confirm a block before Send has returned its number.
type blockSender interface {
	Send(ctx context.Context, ch multicast.ChannelID, payload []byte) (uint64, error)
}

// Tracker knows which blocks of each VM are still unconfirmed, and says when the last one is.
type Tracker struct {
	Sender blockSender
	done   func(vm int)
	host   []int // by VM
	layout *dedup.Layout
	held   *dedup.Held

	mu      sync.Mutex // guards the fields below
	open    map[blockKey]sentBlock
	spare   [][]byte          // payloads of confirmed blocks, to use again; at most mostSpare
	early   map[blockKey]bool // confirmed before Send knew the number
	count   int               // blocks confirmed
	placed  int64             // distinct bytes confirmed
	pages   []int64           // by VM: pages confirmed
	pending []int             // by VM: unconfirmed blocks, and missed ones that were not sent again
	sent    []bool            // by VM: its last block was sent
	told    []bool            // by VM: done was called
	ended   bool              // no blocks follow but those that were missed
	left    map[multicast.ChannelID][]leaver
	refused map[multicast.ChannelID][]Cargo // of blocks that found no members
	backlog map[int]*backlog                // by host
	news    chan struct{}                   // closed when those who wait for missed blocks should look again
}

// sentBlock is a block on its way.
type sentBlock struct {
	Cargo
	payload []byte
}

type blockKey struct {
	ch multicast.ChannelID
	n  uint64
}

// NewTracker makes a tracker of VMs that go to host[vm], whose pages are numbered by layout.
func NewTracker(host []int, layout *dedup.Layout, held *dedup.Held, done func(vm int)) *Tracker {
	vms := len(host)
	return &Tracker{done: done, host: host, layout: layout, held: held,
		open: make(map[blockKey]sentBlock), early: make(map[blockKey]bool),
		pages: make([]int64, vms), pending: make([]int, vms), sent: make([]bool, vms), told: make([]bool, vms),
		left: make(map[multicast.ChannelID][]leaver), refused: make(map[multicast.ChannelID][]Cargo), backlog: make(map[int]*backlog), news: make(chan struct{})}
}

// Send sends a block, and expects its confirmation.
func (t *Tracker) Send(ctx context.Context, ch multicast.ChannelID, payload []byte, c Cargo) error {
	t.expect(c)
	n, err := t.Sender.Send(ctx, ch, payload)
	if errors.Is(err, multicast.ErrNoMembers) {
		t.missedByAll(ch, c)
		return err
	}
	if err != nil {
		t.LeaveOut(c)
		t.settle(c.vms)
		return err
	}
	key := blockKey{ch, n}
	t.mu.Lock()
	for _, l := range t.left[ch] {
		if l.misses(n) {
			t.miss(&c, l.host, 0)
		}
	}
	t.open[key] = sentBlock{c, payload}
	early := t.early[key]
	t.mu.Unlock()
	if early {
		t.Confirmed(ch, n)
	}
	return nil
}

// LeaveOut takes a block that is not going to be sent: nobody knows what the targets hold of its pages, so converge sends them.
func (t *Tracker) LeaveOut(c Cargo) {
	for _, p := range c.Owners {
		t.held.Forget(p)
	}
}

// settle takes back what expect has counted.
func (t *Tracker) settle(vms []int) {
	t.mu.Lock()
	for _, vm := range vms {
		t.pending[vm]--
	}
	t.mu.Unlock()
	t.tell(vms...)
}

// expect counts a block as pending.
func (t *Tracker) expect(c Cargo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, vm := range c.vms {
		t.pending[vm]++
	}
}

// Confirmed is multicast's word that every live member has placed the block.
func (t *Tracker) Confirmed(ch multicast.ChannelID, n uint64) {
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
	t.release(b.payload)
	t.count++
	t.placed += b.Bytes
	for i, vm := range b.vms {
		t.pending[vm]--
		t.pages[vm] += b.pages[i]
	}
	if t.over() {
		t.stir()
	}
	t.mu.Unlock()
	t.tell(b.vms...)
}

// Stuck tells whether blocks are on their way and none was confirmed since the count was before; it returns the count now.
func (t *Tracker) Stuck(before int) (bool, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) > 0 && t.count == before, t.count
}

// Progress tells the distinct bytes that have reached their targets, and each VM's pages.
func (t *Tracker) Progress() (placed int64, pages []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.placed, slices.Clone(t.pages)
}

// Payload buffers come in two sizes, for most compressed blocks need less than half: what is on its way is bounded in bytes of
// payloads, but held in buffers. Payloads that are still smaller, of few contents with many owners, have memory of their own.
const (
	fullBuffer = planning.BlockContents*model.PageSize + BatchOwners*ownerBytes
	halfBuffer = fullBuffer / 2
	leastHalf  = halfBuffer / 2
	ownerBytes = 4 // of a block's owner, mostly
	mostSpare  = model.WindowBytes / fullBuffer / 4
)

// Buffer is an empty buffer for the payload of any block.
func (t *Tracker) Buffer() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(fullBuffer)
}

// Fit puts a payload that was made in a buffer into the smallest that holds it.
func (t *Tracker) Fit(payload []byte) []byte {
	if len(payload) > halfBuffer {
		return payload
	}
	var small []byte
	if len(payload) >= leastHalf {
		t.mu.Lock()
		small = t.take(halfBuffer)
		t.mu.Unlock()
		small = append(small, payload...) // without the lock, for which confirmations wait
	} else {
		small = exactly(payload)
	}
	t.mu.Lock()
	t.release(payload)
	t.mu.Unlock()
	return small
}

// take is an empty buffer of a size, a spare one where there is one.
func (t *Tracker) take(size int) []byte {
	for i, b := range t.spare {
		if cap(b) == size {
			t.spare = slices.Delete(t.spare, i, i+1)
			return b[:0]
		}
	}
	return make([]byte, 0, size)
}

// release keeps a buffer that nobody needs any more, if there are not enough.
func (t *Tracker) release(b []byte) {
	if (cap(b) == fullBuffer || cap(b) == halfBuffer) && len(t.spare) < mostSpare {
		t.spare = append(t.spare, b)
	}
}

// AllSent says that no more blocks of vm follow.
func (t *Tracker) AllSent(vm int) {
	t.mu.Lock()
	t.sent[vm] = true
	t.mu.Unlock()
	t.tell(vm)
}

func (t *Tracker) tell(vms ...int) {
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

// GiveUp says that nothing of vm needs to be confirmed any more.
func (t *Tracker) GiveUp(vm int) {
	t.mu.Lock()
	t.sent[vm], t.pending[vm] = true, 0
	now := !t.told[vm]
	t.told[vm] = true
	t.mu.Unlock()
	if now {
		t.done(vm)
	}
}

const BatchOwners = 1024

// OutBlock is an encoded block and what it carries.
type OutBlock struct {
	Payload []byte
	Cargo   Cargo
}
