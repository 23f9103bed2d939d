package ledger

import (
	"context"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// leaver is a host that a channel's blocks no longer reach.
type leaver struct {
	host  int
	lacks []uint64 // ascending, below next
	next  uint64   // the first of all that follow
}

func (l *leaver) misses(n uint64) bool {
	_, found := slices.BinarySearch(l.lacks, n)
	return found || n >= l.next
}

// backlog is what a host has missed and was not sent again. A host that ever left a channel has one.
type backlog struct {
	parts     []Part
	turn      int  // how often it has left a channel
	following bool // its backlog is being sent
}

// Part is contents that a host lacks, with their owners there.
type Part struct {
	Owners []dedup.Page
	Ends   []uint16 // of each content's owners
	vms    []int    // whose pending blocks are among it, one for each block
	bytes  int64    // of contents that nobody else has got either
}

// join puts q behind p, if that makes no more than one block.
func (p *Part) join(q Part) bool {
	if len(p.Ends) > 0 && (len(p.Ends)+len(q.Ends) > planning.BlockContents || len(p.Owners)+len(q.Owners) > BatchOwners) {
		return false
	}
	for _, end := range q.Ends {
		p.Ends = append(p.Ends, uint16(len(p.Owners))+end)
	}
	p.Owners, p.vms, p.bytes = append(p.Owners, q.Owners...), append(p.vms, q.vms...), p.bytes+q.bytes
	return true
}

// Leave is multicast's word that a host is no longer reached by a channel: it lacks some blocks, and all from next on.
func (t *Tracker) Leave(ch multicast.ChannelID, host int, lacks []uint64, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := leaver{host, lacks, next}
	t.left[ch] = append(t.left[ch], l)
	t.backlogOf(host).turn++
	for key, b := range t.open {
		if key.ch == ch && l.misses(key.n) {
			t.miss(&b.Cargo, host, 0)
			t.open[key] = b
		}
	}
	for i := range t.refused[ch] {
		t.miss(&t.refused[ch][i], host, 0)
	}
	t.stir()
}

func (t *Tracker) backlogOf(host int) *backlog {
	if t.backlog[host] == nil {
		t.backlog[host] = &backlog{}
	}
	return t.backlog[host]
}

// Skip takes a block that is not sent, because the host that it is for gets its blocks in the background.
func (t *Tracker) Skip(b OutBlock, host int) {
	t.expect(b.Cargo)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.miss(&b.Cargo, host, b.Cargo.Bytes)
	t.release(b.Payload)
	t.stir()
}

// Refuse takes a block whose channel could not be opened.
func (t *Tracker) Refuse(ch multicast.ChannelID, c Cargo) {
	t.expect(c)
	t.missedByAll(ch, c)
}

// missedByAll takes a block that finds no members in its channel. Those who have left that are still to get it, also those
// of whom this is told later.
func (t *Tracker) missedByAll(ch multicast.ChannelID, c Cargo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, l := range t.left[ch] {
		t.miss(&c, l.host, 0)
	}
	if t.waits(c.vms) { // not after a host that is lost, whose VMs wait for nothing any more
		t.refused[ch] = append(t.refused[ch], c)
	}
	t.stir()
}

// miss moves the pages of a host's VMs from a block's cargo to the host's backlog. Until they are sent again it is not known
// what the target holds of them: it may yet place the block, or not. bytes is what of it nobody else has got.
func (t *Tracker) miss(c *Cargo, host int, bytes int64) {
	p, start := Part{bytes: bytes}, uint16(0)
	if n := t.owned(c, host); n > 0 { // of exactly the memory that it needs: there may be as many as pages
		p.Owners, p.Ends = make([]dedup.Page, 0, n), make([]uint16, 0, min(n, len(c.Ends)))
	}
	for _, end := range c.Ends {
		before := len(p.Owners)
		for _, o := range c.Owners[start:end] {
			if t.host[t.layout.VM(o)] == host {
				t.held.Forget(o)
				p.Owners = append(p.Owners, o)
			}
		}
		if len(p.Owners) > before {
			p.Ends = append(p.Ends, uint16(len(p.Owners)))
		}
		start = end
	}
	rest := Cargo{Bytes: c.Bytes, Owners: c.Owners, Ends: c.Ends}
	for i, vm := range c.vms {
		if t.host[vm] == host {
			p.vms = append(p.vms, vm)
		} else {
			rest.vms, rest.pages = append(rest.vms, vm), append(rest.pages, c.pages[i])
		}
	}
	*c = rest
	if t.waits(p.vms) {
		b := t.backlogOf(host)
		b.parts = append(b.parts, p)
	}
}

// owned counts the owners of a block's contents that a host has.
func (t *Tracker) owned(c *Cargo, host int) (n int) {
	for _, o := range c.Owners {
		if t.host[t.layout.VM(o)] == host {
			n++
		}
	}
	return n
}

// waits tells whether any of the VMs still waits for blocks; the lock is held.
func (t *Tracker) waits(vms []int) bool {
	return slices.ContainsFunc(vms, func(vm int) bool { return !t.told[vm] })
}

// Slow tells whether a host has ever left a channel: it gets what is for it alone in the background from then on.
func (t *Tracker) Slow(host int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backlog[host] != nil
}

// behind tells whether a host has a backlog now.
func (t *Tracker) behind(host int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.backlog[host]
	return b != nil && (b.following || len(b.parts) > 0)
}

// End says that no blocks follow but those that were missed.
func (t *Tracker) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	t.stir()
}

// over tells whether nothing can be missed any more: all was sent and is confirmed. The lock is held.
func (t *Tracker) over() bool { return t.ended && len(t.open) == 0 }

// stir wakes those who wait for missed blocks; the lock is held.
func (t *Tracker) stir() {
	close(t.news)
	t.news = make(chan struct{})
}

// AwaitMissed returns true when a host has a backlog, false when it will not have any: all that was sent is confirmed.
func (t *Tracker) AwaitMissed(ctx context.Context, host int) bool {
	for {
		t.mu.Lock()
		b, over, news := t.backlog[host], t.over(), t.news
		some := b != nil && len(b.parts) > 0
		t.mu.Unlock()
		if some || over {
			return some
		}
		select {
		case <-news:
		case <-ctx.Done():
			return false
		}
	}
}

// Follow begins to send a host's backlog, and returns its turn.
func (t *Tracker) Follow(host int) (turn int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.backlogOf(host)
	b.following = true
	return b.turn
}

// Followed ends what follow began.
func (t *Tracker) Followed(host int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.backlogOf(host).following = false
}

// NextMissed takes no more than a block from a host's backlog; false: there is none, or its turn is over.
func (t *Tracker) NextMissed(host, turn int) (p Part, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.backlogOf(host)
	for b.turn == turn && len(b.parts) > 0 && p.join(b.parts[0]) {
		b.parts, ok = b.parts[1:], true
	}
	return p, ok
}

// LeaveMissed leaves a host's backlog out. Its pages are forgotten already.
func (t *Tracker) LeaveMissed(host int) {
	t.mu.Lock()
	parts := t.backlogOf(host).parts
	t.backlogOf(host).parts = nil
	t.mu.Unlock()
	for _, p := range parts {
		t.settle(p.vms)
	}
}

// Resent says that the blocks of a part were sent again.
func (t *Tracker) Resent(p Part) {
	t.mu.Lock()
	t.placed += p.bytes
	t.mu.Unlock()
	t.settle(p.vms)
}

// Ready leaves those of a channel's members that have nothing to catch up with. The others are as if they had left it, and may
// be in the next one. hosts are the names of all hosts.
func (t *Tracker) Ready(ch multicast.ChannelID, hosts, names []string) []string {
	behind := func(name string) bool { return t.behind(slices.Index(hosts, name)) }
	some := slices.DeleteFunc(slices.Clone(names), behind)
	if len(some) == 0 {
		return names
	}
	for _, name := range names {
		if !slices.Contains(some, name) {
			t.Leave(ch, slices.Index(hosts, name), nil, 0)
		}
	}
	return some
}
