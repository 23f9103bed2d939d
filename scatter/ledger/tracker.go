// Package ledger knows what each target holds of the contents that bulk sends, and what it still needs. A Tracker composes what is in flight, what is
// open of each VM (Accounts), what each host lacks and is sent again (its backlog, and the Repair that empties it), and the Buffers of payloads.
package ledger

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
)

// blockSender takes blocks; *multicast.Sender is one. It may confirm a block before Send has returned its number.
type blockSender interface {
	Send(ctx context.Context, ch multicast.ChannelID, payload []byte) (uint64, error)
}

// Tracker knows where each block is: in flight, confirmed, or what of it is in which host's backlog.
type Tracker struct {
	Sender  blockSender
	Buffers Buffers   // of payloads
	VMs     *Accounts // what is open of each
	routes  routes
	held    *dedup.Held

	mu          sync.Mutex // guards the fields below; Accounts and Buffers have their own, taken after it
	inFlight    inFlight
	placed      int64 // distinct bytes confirmed
	ended       bool  // no blocks follow but those of backlogs
	detached    map[multicast.ChannelID][]detachment
	undelivered map[multicast.ChannelID][]Cargo // of blocks that found no members
	backlogs    backlogs
	news        chan struct{} // closed when repairs should look again
}

// NewTracker makes a tracker of VMs that go to host[vm], whose pages are numbered by layout.
func NewTracker(host []int, layout *dedup.Layout, held *dedup.Held, done func(vm int)) *Tracker {
	return &Tracker{VMs: newAccounts(len(host), done), routes: routes{host, layout}, held: held, inFlight: newInFlight(),
		detached: make(map[multicast.ChannelID][]detachment), undelivered: make(map[multicast.ChannelID][]Cargo),
		backlogs: make(backlogs), news: make(chan struct{})}
}

// Send sends a block, and expects its confirmation.
func (t *Tracker) Send(ctx context.Context, ch multicast.ChannelID, payload []byte, c Cargo) error {
	t.VMs.Expect(c.vms)
	n, err := t.Sender.Send(ctx, ch, payload)
	if errors.Is(err, multicast.ErrNoMembers) {
		t.keep(ch, c)
		return err
	}
	if err != nil {
		t.Forget(c)
		t.VMs.Settle(c.vms)
		return err
	}
	t.mu.Lock()
	for _, d := range t.detached[ch] {
		if d.lacks(n) {
			t.putBack(&c, d.host, 0)
		}
	}
	early := t.inFlight.add(blockKey{ch, n}, &sentBlock{c, payload})
	t.mu.Unlock()
	if early {
		t.Confirmed(ch, n)
	}
	return nil
}

// Forget takes a block that is not going to be sent: nobody knows what the targets hold of its pages, so converge sends them.
func (t *Tracker) Forget(c Cargo) { t.forget(c.Owners) }

func (t *Tracker) forget(pages []dedup.Page) {
	for _, p := range pages {
		t.held.Forget(p)
	}
}

// Confirmed is multicast's word that every live member has placed the block.
func (t *Tracker) Confirmed(ch multicast.ChannelID, n uint64) {
	t.mu.Lock()
	b := t.inFlight.confirm(blockKey{ch, n})
	if b == nil {
		t.mu.Unlock()
		return
	}
	t.Buffers.put(b.payload)
	t.placed += b.Bytes
	t.VMs.confirm(&b.Cargo)
	if t.over() {
		t.wake()
	}
	t.mu.Unlock()
	t.VMs.tell(b.vms)
}

// Stuck tells whether blocks are in flight and none was confirmed since the count was before; it returns the count now.
func (t *Tracker) Stuck(before int) (bool, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.inFlight.blocks) > 0 && t.inFlight.confirmed == before, t.inFlight.confirmed
}

// Progress tells the distinct bytes that have reached their targets, and each VM's pages.
func (t *Tracker) Progress() (placed int64, pages []int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.placed, t.VMs.pages()
}

// End says that no blocks follow but those of backlogs.
func (t *Tracker) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.wake()
}

// GiveUp says that nothing of vm needs to be confirmed any more.
func (t *Tracker) GiveUp(vm int) {
	t.VMs.GiveUp(vm)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wake()
}

// over tells whether no backlog can grow any more: all was sent and is confirmed, and it is known who lacks what was not. The lock is held.
func (t *Tracker) over() bool {
	return t.ended && len(t.inFlight.blocks) == 0 && !t.awaitsDetachment()
}

// awaitsDetachment tells whether there are blocks without members whose hosts are still to be named, or lost. The lock is held.
func (t *Tracker) awaitsDetachment() bool {
	for _, blocks := range t.undelivered {
		if slices.ContainsFunc(blocks, func(c Cargo) bool { return t.VMs.wait(c.vms) }) {
			return true
		}
	}
	return false
}

// wake makes repairs look again; the lock is held.
func (t *Tracker) wake() {
	close(t.news)
	t.news = make(chan struct{})
}
