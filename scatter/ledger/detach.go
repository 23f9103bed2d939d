package ledger

import (
	"slices"

	"github.com/scatter-vm/scatter/multicast"
)

// detachment is a host that a channel's blocks no longer reach.
type detachment struct {
	host    int
	missing []uint64 // ascending, below next
	next    uint64   // the first of all later ones, which it lacks, too
}

func (d detachment) lacks(n uint64) bool {
	_, found := slices.BinarySearch(d.missing, n)
	return found || n >= d.next
}

// Detach is multicast's word that a host is no longer reached by a channel: it lacks some blocks, and all from next on.
func (t *Tracker) Detach(ch multicast.ChannelID, host int, missing []uint64, next uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := detachment{host, missing, next}
	t.detached[ch] = append(t.detached[ch], d)
	t.backlogs.of(host).epoch++
	for b := range t.inFlight.lackedBy(ch, d) {
		t.putBack(&b.Cargo, host, 0)
	}
	for i := range t.undelivered[ch] {
		t.putBack(&t.undelivered[ch][i], host, 0)
	}
	t.wake()
}

// Defer takes a block that is not sent, because the host that it is for gets its blocks in the background.
func (t *Tracker) Defer(b OutBlock, host int) {
	t.VMs.Expect(b.Cargo.vms)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.putBack(&b.Cargo, host, b.Cargo.Bytes)
	t.Buffers.put(b.Payload)
	t.wake()
}

// Undelivered takes a block whose channel could not be opened.
func (t *Tracker) Undelivered(ch multicast.ChannelID, c Cargo) {
	t.VMs.Expect(c.vms)
	t.keep(ch, c)
}

// keep keeps a block that finds no members in its channel. Those who were detached from that are still to get it, also those
// of whom this is told later.
func (t *Tracker) keep(ch multicast.ChannelID, c Cargo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, d := range t.detached[ch] {
		t.putBack(&c, d.host, 0)
	}
	if t.VMs.wait(c.vms) { // not after a host that is lost, whose VMs wait for nothing any more
		t.undelivered[ch] = append(t.undelivered[ch], c)
	}
	t.wake()
}

// putBack moves the pages of a host's VMs from a block's cargo to the host's backlog. Until they are sent again it is not known
// what the target holds of them: it may yet place the block, or not. bytes is what of it nobody else has got. The lock is held.
func (t *Tracker) putBack(c *Cargo, host int, bytes int64) {
	p := c.split(host, t.routes)
	p.bytes = bytes
	t.forget(p.Owners)
	if t.VMs.wait(p.vms) {
		b := t.backlogs.of(host)
		b.parts = append(b.parts, p)
	}
}

// Detached tells whether a host was ever detached from a channel: it gets what is for it alone in the background from then on.
func (t *Tracker) Detached(host int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backlogs[host] != nil
}

// Ready are those of a channel's members that have no backlog. The others count as detached from it, and may
// be in the next one. hosts are the names of all hosts.
func (t *Tracker) Ready(ch multicast.ChannelID, hosts, names []string) []string {
	ready := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return t.lags(slices.Index(hosts, name)) })
	if len(ready) == 0 {
		return names
	}
	for _, name := range names {
		if !slices.Contains(ready, name) {
			t.Detach(ch, slices.Index(hosts, name), nil, 0)
		}
	}
	return ready
}

func (t *Tracker) lags(host int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.backlogs.lag(host)
}
