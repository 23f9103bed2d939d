package scatter

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/block"
)

// cargo is what a block carries: distinct bytes, their owners, and pages by VM.
type cargo struct {
	bytes  int64
	owners []dedup.Page
	ends   []uint16 // of each content's owners
	vms    []int
	pages  []int64 // of vms[i]
}

// add notes a content by its owners.
func (c *cargo) add(pages []dedup.Page, owners []block.Owner) {
	for _, o := range owners {
		c.count(int(o.VM))
	}
	c.owners = append(c.owners, pages...)
	c.ends = append(c.ends, uint16(len(c.owners)))
}

// reset empties it, to be used again.
func (c *cargo) reset() {
	*c = cargo{owners: c.owners[:0], ends: c.ends[:0], vms: c.vms[:0], pages: c.pages[:0]}
}

// clone is a copy that takes no more memory than it must: it is kept for as long as its block is on its way, or missed.
func (c *cargo) clone() cargo {
	return cargo{bytes: c.bytes, owners: exactly(c.owners), ends: exactly(c.ends), vms: exactly(c.vms), pages: exactly(c.pages)}
}

func exactly[T any](s []T) []T { return append(make([]T, 0, len(s)), s...) }

func (c *cargo) count(vm int) {
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

// tracker knows which blocks of each VM are still unconfirmed, and says when the last one is.
type tracker struct {
	sender blockSender
	done   func(vm int)
	host   []int // by VM
	layout *dedup.Layout
	held   *dedup.Held

	mu      sync.Mutex // guards the fields below
	open    map[blockKey]sentBlock
	spare   [][]byte          // payloads of confirmed blocks, to use again; at most mostSpare
	early   map[blockKey]bool // confirmed before send knew the number
	count   int               // blocks confirmed
	placed  int64             // distinct bytes confirmed
	pages   []int64           // by VM: pages confirmed
	pending []int             // by VM: unconfirmed blocks, and missed ones that were not sent again
	sent    []bool            // by VM: its last block was sent
	told    []bool            // by VM: done was called
	ended   bool              // no blocks follow but those that were missed
	left    map[multicast.ChannelID][]leaver
	refused map[multicast.ChannelID][]cargo // of blocks that found no members
	backlog map[int]*backlog                // by host
	news    chan struct{}                   // closed when those who wait for missed blocks should look again
}

// sentBlock is a block on its way.
type sentBlock struct {
	cargo
	payload []byte
}

type blockKey struct {
	ch multicast.ChannelID
	n  uint64
}

// newTracker makes a tracker of VMs that go to host[vm], whose pages are numbered by layout.
func newTracker(host []int, layout *dedup.Layout, held *dedup.Held, done func(vm int)) *tracker {
	vms := len(host)
	return &tracker{done: done, host: host, layout: layout, held: held,
		open: make(map[blockKey]sentBlock), early: make(map[blockKey]bool),
		pages: make([]int64, vms), pending: make([]int, vms), sent: make([]bool, vms), told: make([]bool, vms),
		left: make(map[multicast.ChannelID][]leaver), refused: make(map[multicast.ChannelID][]cargo), backlog: make(map[int]*backlog), news: make(chan struct{})}
}

func (t *tracker) send(ctx context.Context, ch multicast.ChannelID, payload []byte, c cargo) error {
	t.expect(c)
	n, err := t.sender.Send(ctx, ch, payload)
	if errors.Is(err, multicast.ErrNoMembers) {
		t.missedByAll(ch, c)
		return err
	}
	if err != nil {
		t.leaveOut(c)
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
		t.confirmed(ch, n)
	}
	return nil
}

// leaveOut takes a block that is not going to be sent: nobody knows what the targets hold of its pages, so converge sends them.
func (t *tracker) leaveOut(c cargo) {
	for _, p := range c.owners {
		t.held.Forget(p)
	}
}

// settle takes back what expect has counted.
func (t *tracker) settle(vms []int) {
	t.mu.Lock()
	for _, vm := range vms {
		t.pending[vm]--
	}
	t.mu.Unlock()
	t.tell(vms...)
}

// expect counts a block as pending.
func (t *tracker) expect(c cargo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, vm := range c.vms {
		t.pending[vm]++
	}
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
	t.release(b.payload)
	t.count++
	t.placed += b.bytes
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

// stuck tells whether blocks are on their way and none was confirmed since the count was before; it returns the count now.
func (t *tracker) stuck(before int) (bool, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.open) > 0 && t.count == before, t.count
}

// progress tells the distinct bytes that have reached their targets, and each VM's pages.
func (t *tracker) progress() (placed int64, pages []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.placed, slices.Clone(t.pages)
}

// Payload buffers come in two sizes, for most compressed blocks need less than half: what is on its way is bounded in bytes of
// payloads, but held in buffers. Payloads that are still smaller, of few contents with many owners, have memory of their own.
const (
	fullBuffer = blockContents*PageSize + batchOwners*ownerBytes
	halfBuffer = fullBuffer / 2
	leastHalf  = halfBuffer / 2
	ownerBytes = 4 // of a block's owner, mostly
	mostSpare  = windowBytes / fullBuffer / 4
)

// buffer is an empty buffer for the payload of any block.
func (t *tracker) buffer() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.take(fullBuffer)
}

// fit puts a payload that was made in a buffer into the smallest that holds it.
func (t *tracker) fit(payload []byte) []byte {
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
func (t *tracker) take(size int) []byte {
	for i, b := range t.spare {
		if cap(b) == size {
			t.spare = slices.Delete(t.spare, i, i+1)
			return b[:0]
		}
	}
	return make([]byte, 0, size)
}

// release keeps a buffer that nobody needs any more, if there are not enough.
func (t *tracker) release(b []byte) {
	if (cap(b) == fullBuffer || cap(b) == halfBuffer) && len(t.spare) < mostSpare {
		t.spare = append(t.spare, b)
	}
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
