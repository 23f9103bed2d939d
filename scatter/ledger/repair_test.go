package ledger

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// shipment is a tracker between an engine and a multicast that tells of everything later, in its order. The pages of the
// targets are numbers: what was last placed there.
type shipment struct {
	t       rapid.TB
	chance  *rapid.T // what makes things happen by themselves; nil: they do not
	tr      *Tracker
	host    []int
	memory  []uint64 // by page
	out     []bool   // by host: was detached from the group, as multicast knows it
	blocks  map[blockKey]*parcel
	next    map[multicast.ChannelID]uint64
	told    []func() // what multicast has still to say
	done    []int
	version uint64
}

// parcel is a block on its way.
type parcel struct {
	owners []dedup.Page
	hashes []uint64
	placed []bool // by host
	lacks  []bool // by host: it was detached before it had placed the block
	over   bool
}

const (
	shipVMs, shipHosts, shipPages = 4, 3, 40 // pages of each VM
	shipGroup                     = multicast.ChannelID(1)
)

func newShipment(t rapid.TB) *shipment {
	chance, _ := t.(*rapid.T)
	s := &shipment{t: t, chance: chance, out: make([]bool, shipHosts), memory: make([]uint64, shipVMs*shipPages),
		blocks: make(map[blockKey]*parcel), next: make(map[multicast.ChannelID]uint64), version: 1000}
	var regions []dedup.Region
	for vm := range shipVMs {
		s.host = append(s.host, vm%shipHosts)
		regions = append(regions, dedup.Region{VM: vm, Pages: shipPages})
	}
	layout, err := dedup.NewLayout(regions)
	if err != nil {
		t.Fatal(err)
	}
	s.tr = NewTracker(s.host, layout, dedup.NewHeld(layout), s.checkDone)
	s.tr.Sender = s
	return s
}

// checkDone checks what converge relies on: a page of which something is noted has these bytes at the target.
func (s *shipment) checkDone(vm int) {
	if slices.Contains(s.done, vm) {
		s.t.Fatalf("vm %d is done twice", vm)
	}
	s.done = append(s.done, vm)
	unknown := dedup.NewHeld(s.tr.routes.layout)
	unknown.Forget(0)
	for i := range shipPages {
		p := s.tr.routes.layout.First(vm) + dedup.Page(i)
		if noted := s.tr.held.Get(p); noted != s.memory[p] && noted != unknown.Get(0) {
			s.t.Fatalf("vm %d is done: page %d is noted as %d, its target has %d", vm, i, noted, s.memory[p])
		}
	}
}

// cargo is a block's with some pages in one content each, noted as held.
func (s *shipment) cargo(owners ...dedup.Page) Cargo {
	c := Cargo{Bytes: int64(len(owners)) * model.PageSize}
	for _, p := range owners {
		s.version++
		s.tr.held.Set(p, s.version)
		c.count(s.tr.routes.layout.VM(p))
		c.Owners = append(c.Owners, p)
		c.Ends = append(c.Ends, uint16(len(c.Owners)))
	}
	return c
}

// parcel notes the block that is to be sent next on a channel.
func (s *shipment) parcel(ch multicast.ChannelID, c Cargo) *parcel {
	b := &parcel{owners: c.Owners, placed: make([]bool, shipHosts), lacks: make([]bool, shipHosts)}
	for _, p := range c.Owners {
		b.hashes = append(b.hashes, s.tr.held.Get(p))
	}
	s.blocks[blockKey{ch, s.next[ch]}] = b
	return b
}

// Send takes a block as multicast does. Anything may happen before it returns.
func (s *shipment) Send(_ context.Context, ch multicast.ChannelID, _ []byte) (uint64, error) {
	b := s.blocks[blockKey{ch, s.next[ch]}]
	if ch == shipGroup && !slices.Contains(s.out, false) {
		delete(s.blocks, blockKey{ch, s.next[ch]})
		return 0, fmt.Errorf("channel %d: %w", ch, multicast.ErrNoMembers)
	}
	if ch == shipGroup {
		copy(b.lacks, s.out)
	} else {
		for h := range b.lacks {
			b.lacks[h] = multicast.ChannelID(h) != ch-10
		}
	}
	n := s.next[ch]
	s.next[ch]++
	s.happen()
	return n, nil
}

// place writes a block into a host's pages.
func (s *shipment) place(b *parcel, host int) {
	for i, p := range b.owners {
		if s.host[s.tr.routes.layout.VM(p)] == host {
			s.memory[p] = b.hashes[i]
		}
	}
	b.placed[host] = true
}

// keys are the blocks on their way, in some order that does not change.
func (s *shipment) keys() (all []blockKey) {
	for k, b := range s.blocks {
		if !b.over && k.n < s.next[k.ch] {
			all = append(all, k)
		}
	}
	slices.SortFunc(all, func(a, b blockKey) int { return int(a.ch)*1000 + int(a.n) - int(b.ch)*1000 - int(b.n) })
	return all
}

// arrive lets a host place a block, and says that the block is confirmed if it was the last that had to.
func (s *shipment) arrive(k blockKey, host int) {
	b := s.blocks[k]
	if !b.lacks[host] && !b.placed[host] {
		s.place(b, host)
	}
	s.settle(k)
}

func (s *shipment) settle(k blockKey) {
	b := s.blocks[k]
	for h := range shipHosts {
		if !b.placed[h] && !b.lacks[h] {
			return
		}
	}
	if !b.over {
		b.over = true
		s.told = append(s.told, func() { s.tr.Confirmed(k.ch, k.n) })
	}
}

// detach takes a host out of the group. What it lacks it may place yet, but not after what it is sent by another channel.
func (s *shipment) detach(host int) {
	if s.out[host] {
		return
	}
	s.out[host] = true
	var lacks []uint64
	for _, k := range s.keys() {
		if b := s.blocks[k]; k.ch == shipGroup && !b.placed[host] {
			b.lacks[host] = true
			lacks = append(lacks, k.n)
			if rapid.Bool().Draw(s.chance, "placed late") {
				s.place(b, host)
			}
		}
	}
	next := s.next[shipGroup]
	s.told = append(s.told, func() { s.tr.Detach(shipGroup, host, lacks, next) })
	for _, k := range s.keys() {
		s.settle(k)
	}
}

// happen lets a few things happen, or none.
func (s *shipment) happen() {
	if s.chance == nil {
		return
	}
	for range rapid.IntRange(0, 4).Draw(s.chance, "happenings") {
		switch rapid.IntRange(0, 7).Draw(s.chance, "what") {
		case 0:
			s.detach(rapid.IntRange(0, shipHosts-1).Draw(s.chance, "detached"))
		case 1, 2, 3:
			if keys := s.keys(); len(keys) > 0 {
				s.arrive(rapid.SampledFrom(keys).Draw(s.chance, "block"), rapid.IntRange(0, shipHosts-1).Draw(s.chance, "at"))
			}
		default:
			if len(s.told) > 0 {
				say := s.told[0]
				s.told = s.told[1:]
				say()
			}
		}
	}
}

// send sends a block, as the engine does.
func (s *shipment) send(ch multicast.ChannelID, c Cargo) {
	s.parcel(ch, c)
	_ = s.tr.Send(context.Background(), ch, nil, c) // without members it is for those who were detached
}

// repair sends a host its backlog. Some pages have become zero meanwhile: they are not sent, as ever.
func (s *shipment) repair(host int) {
	r := s.tr.Repair(host)
	r.Begin()
	defer r.End()
	for {
		p, ok := r.Next()
		if !ok {
			return
		}
		var now []dedup.Page
		for _, o := range p.Owners {
			if s.host[s.tr.routes.layout.VM(o)] != host {
				s.t.Fatalf("host %d is sent a page of another's", host)
			}
			if rapid.IntRange(0, 9).Draw(s.chance, "zero") > 0 {
				now = append(now, o)
			}
		}
		if len(now) > 0 {
			s.send(multicast.ChannelID(10+host), s.cargo(now...))
		}
		r.Resent(p)
	}
}

// drain lets all that is on its way arrive and be told.
func (s *shipment) drain() {
	for _, k := range s.keys() {
		for h := range shipHosts {
			s.arrive(k, h)
		}
	}
	for len(s.told) > 0 {
		say := s.told[0]
		s.told = s.told[1:]
		say()
	}
}

// TestInvariant3BacklogIsNeverTakenForHeld: whenever hosts are detached from a group, and whatever they place of it late, a VM is done when
// its target has got all that was sent, by whatever channel; then each of its pages has the bytes that are noted, or nobody
// claims to know them.
func TestInvariant3BacklogIsNeverTakenForHeld(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newShipment(t)
		for i := 0; i < shipPages; i += 2 {
			var owners []dedup.Page
			for vm := range shipVMs {
				if rapid.IntRange(0, 2).Draw(t, "has it") > 0 {
					owners = append(owners, s.tr.routes.layout.First(vm)+dedup.Page(i+1))
				}
			}
			if len(owners) > 0 {
				s.send(shipGroup, s.cargo(owners...))
			}
			if h := rapid.IntRange(0, shipHosts-1).Draw(t, "alone"); s.tr.Detached(h) {
				s.tr.Defer(OutBlock{Cargo: s.cargo(s.tr.routes.layout.First(h) + dedup.Page(i))}, h)
			}
			s.happen()
			if h := rapid.IntRange(0, 3*shipHosts).Draw(t, "repaired"); h < shipHosts {
				s.repair(h)
			}
		}
		for vm := range shipVMs {
			s.tr.VMs.AllSent(vm)
		}
		s.tr.End()
		for range 3 { // what is confirmed may tell of more that is lacked
			s.drain()
			for h := range shipHosts {
				s.repair(h)
			}
		}
		s.drain()
		if len(s.done) != shipVMs {
			t.Fatalf("done: %v; pending: %v", s.done, s.tr.VMs.vms)
		}
		for h := range shipHosts {
			if s.tr.Repair(h).Await(context.Background()) || s.tr.lags(h) {
				t.Errorf("host %d still has a backlog", h)
			}
		}
	})
}

// TestBacklogIsSentWithSharedBytes: what one host lacks of several blocks is put together again, contents that its VMs share as
// one, up to what a block holds.
func TestBacklogIsSentWithSharedBytes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want []int // owners of each content
		for p := (Part{}); ; {
			n := rapid.IntRange(1, BatchOwners/4).Draw(t, "owners")
			q := Part{Owners: make([]dedup.Page, n), Ends: []uint16{uint16(n)}, vms: []int{0}, bytes: model.PageSize}
			if !p.join(q) {
				if len(p.Owners)+n <= BatchOwners && len(p.Ends) < planning.BlockContents {
					t.Fatalf("%d owners did not fit behind %d", n, len(p.Owners))
				}
				break
			}
			want = append(want, n)
			start := 0
			for i, end := range p.Ends {
				if int(end)-start != want[i] {
					t.Fatalf("content %d has %d owners, not %d", i, int(end)-start, want[i])
				}
				start = int(end)
			}
			if start != len(p.Owners) || len(p.vms) != len(want) || p.bytes != int64(len(want))*model.PageSize || start > BatchOwners {
				t.Fatalf("%d owners, ends %v, %d VMs, %d bytes", len(p.Owners), p.Ends, len(p.vms), p.bytes)
			}
		}
	})
}

// TestLaggingHostsStayOut: who has a backlog is no member of the groups that are opened meanwhile, and is
// when that is empty.
func TestLaggingHostsStayOut(t *testing.T) {
	s := newShipment(t)
	wants := func(ch multicast.ChannelID, want ...string) {
		if got := s.tr.Ready(ch, []string{"h0", "h1", "h2"}, []string{"h0", "h2"}); !slices.Equal(got, want) {
			t.Errorf("channel %d: %v, not %v", ch, got, want)
		}
	}
	wants(5, "h0", "h2")
	s.send(shipGroup, s.cargo(s.tr.routes.layout.First(0), s.tr.routes.layout.First(2)))
	s.drain()
	s.tr.Detach(shipGroup, 2, nil, 1)
	wants(6, "h0", "h2") // it lacks nothing yet
	s.out[2] = true
	s.send(shipGroup, s.cargo(s.tr.routes.layout.First(2)+1))
	wants(7, "h0")
	if l := s.tr.detached[7]; len(l) != 1 || l[0].host != 2 || !l[0].lacks(0) {
		t.Errorf("who is not in channel 7: %v", l)
	}
	r := s.tr.Repair(2)
	r.Begin()
	p, ok := r.Next()
	wants(8, "h0") // what it lacks is on its way
	if _, again := r.Next(); !ok || again || !slices.Equal(p.Owners, []dedup.Page{s.tr.routes.layout.First(2) + 1}) {
		t.Errorf("it lacks %v", p)
	}
	r.Resent(p)
	r.End()
	wants(9, "h0", "h2")
	s.tr.Defer(OutBlock{Cargo: s.cargo(s.tr.routes.layout.First(0))}, 0)
	s.tr.Defer(OutBlock{Cargo: s.cargo(s.tr.routes.layout.First(2))}, 2)
	wants(10, "h0", "h2") // together they are no slower than each other
}

// TestEpochEndsWhenAHostIsDetachedAgain: what it lacked before and what it lacks since do not go by one channel.
func TestEpochEndsWhenAHostIsDetachedAgain(t *testing.T) {
	s := newShipment(t)
	s.tr.Defer(OutBlock{Cargo: s.cargo(0)}, 0)
	r := s.tr.Repair(0)
	r.Begin()
	s.tr.Detach(5, 0, nil, 0)
	if p, ok := r.Next(); ok {
		t.Errorf("%v in the old epoch", p)
	}
	r.Begin()
	if p, ok := r.Next(); !ok || len(p.Owners) != 1 {
		t.Errorf("%v in the new epoch", p)
	}
}

// forgotten is what is noted of a page of which nothing is known.
func forgotten(l *dedup.Layout) uint64 {
	h := dedup.NewHeld(l)
	h.Forget(0)
	return h.Get(0)
}

// TestBacklogIsAwaitedUntilHostsAreNamed: a block finds no members before it is told who they were. Its host's repair waits for that, or until
// nobody waits for the block.
func TestBacklogIsAwaitedUntilHostsAreNamed(t *testing.T) {
	for name, told := range map[string]func(tr *Tracker){
		"detached": func(tr *Tracker) { tr.Detach(1, 0, nil, 0) },
		"lost":     func(tr *Tracker) { tr.GiveUp(0) },
	} {
		t.Run(name, func(t *testing.T) {
			tr, p, _ := newTestTracker(1)
			p.err = multicast.ErrNoMembers
			if err := tr.Send(t.Context(), 1, nil, of(0)); err == nil {
				t.Fatal("it was sent")
			}
			tr.End()
			some := make(chan bool)
			go func() { some <- tr.Repair(0).Await(t.Context()) }()
			select {
			case got := <-some:
				t.Fatalf("it did not wait: %v", got)
			case <-time.After(20 * time.Millisecond):
			}
			told(tr)
			if got := <-some; got != (name == "detached") {
				t.Errorf("backlog: %v", got)
			}
		})
	}
}
