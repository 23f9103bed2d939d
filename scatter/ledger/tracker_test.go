package ledger

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/model"
)

// postman numbers blocks per channel. inSend is called between taking a block and telling its number.
type postman struct {
	next   map[multicast.ChannelID]uint64
	inSend func(ch multicast.ChannelID, n uint64)
	err    error
}

func (p *postman) Send(_ context.Context, ch multicast.ChannelID, _ []byte) (uint64, error) {
	if p.err != nil {
		return 0, p.err
	}
	if p.next == nil {
		p.next = make(map[multicast.ChannelID]uint64)
	}
	n := p.next[ch]
	p.next[ch]++
	if p.inSend != nil {
		p.inSend(ch, n)
	}
	return n, nil
}

// done collects the VMs that a tracker says are done.
type done struct {
	mu  sync.Mutex
	vms []int
}

func (d *done) add(vm int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.vms = append(d.vms, vm)
}

func newTestTracker(vms int) (*Tracker, *postman, *done) {
	d, p := &done{}, &postman{}
	t := NewTracker(make([]int, vms), nil, nil, d.add)
	t.Sender = p
	return t, p, d
}

// of is the cargo of a block with a page for each VM.
func of(vms ...int) Cargo {
	c := Cargo{Bytes: model.PageSize}
	for _, vm := range vms {
		c.count(vm)
	}
	return c
}

func wantDone(t *testing.T, d *done, want ...int) {
	t.Helper()
	if !slices.Equal(d.vms, want) {
		t.Errorf("done: %v, want %v", d.vms, want)
	}
}

func TestTrackerWaitsForTheLastBlock(t *testing.T) {
	tr, _, d := newTestTracker(3)
	for _, c := range []Cargo{of(0), of(0, 1), of(1)} {
		if err := tr.Send(t.Context(), 7, make([]byte, 100), c); err != nil {
			t.Fatal(err)
		}
	}
	tr.Confirmed(7, 0)
	tr.Confirmed(7, 1)
	wantDone(t, d) // more may follow
	tr.VMs.AllSent(0)
	tr.VMs.AllSent(1)
	wantDone(t, d, 0)
	tr.Confirmed(7, 2)
	wantDone(t, d, 0, 1)
	tr.VMs.AllSent(2) // nothing was ever sent for it
	tr.VMs.AllSent(2)
	wantDone(t, d, 0, 1, 2)
	if placed, pages := tr.Progress(); placed != 3*model.PageSize || !slices.Equal(pages, []int64{2, 2, 0}) {
		t.Errorf("placed %d bytes, pages %v", placed, pages)
	}
	if len(tr.inFlight.blocks) != 0 || len(tr.inFlight.early) != 0 {
		t.Errorf("left behind: %d blocks, %d early", len(tr.inFlight.blocks), len(tr.inFlight.early))
	}
}

// TestTrackerConfirmedBeforeSendReturns: the confirmation of a block may overtake its number.
func TestTrackerConfirmedBeforeSendReturns(t *testing.T) {
	tr, p, d := newTestTracker(1)
	p.inSend = tr.Confirmed
	for range 3 {
		if err := tr.Send(t.Context(), 1, make([]byte, 10), of(0)); err != nil {
			t.Fatal(err)
		}
	}
	tr.VMs.AllSent(0)
	wantDone(t, d, 0)
	if len(tr.inFlight.blocks) != 0 || len(tr.inFlight.early) != 0 {
		t.Errorf("left behind: %d blocks, %d early", len(tr.inFlight.blocks), len(tr.inFlight.early))
	}
}

// TestTrackerGiveUp: a VM that nobody waits for any more is done at once, and only once.
func TestTrackerGiveUp(t *testing.T) {
	tr, _, d := newTestTracker(2)
	if err := tr.Send(t.Context(), 1, nil, of(0, 1)); err != nil {
		t.Fatal(err)
	}
	tr.VMs.GiveUp(0)
	tr.VMs.GiveUp(0)
	wantDone(t, d, 0)
	tr.VMs.AllSent(0)
	if err := tr.Send(t.Context(), 1, nil, of(0, 1)); err != nil {
		t.Fatal(err)
	}
	tr.Confirmed(1, 0)
	tr.VMs.AllSent(1)
	wantDone(t, d, 0)
	tr.Confirmed(1, 1)
	wantDone(t, d, 0, 1)
}

// TestTrackerKeepsUnsentPending: a VM some of whose bytes could not be sent is never done by itself: what its target
// holds must not be taken for known.
func TestTrackerKeepsUnsentPending(t *testing.T) {
	tr, p, d := newTestTracker(1)
	p.err = multicast.ErrNoMembers
	if err := tr.Send(t.Context(), 1, nil, of(0)); !errors.Is(err, multicast.ErrNoMembers) {
		t.Fatal(err)
	}
	tr.VMs.AllSent(0)
	wantDone(t, d)
	tr.VMs.GiveUp(0)
	wantDone(t, d, 0)
}

// TestTrackerOfTwoChannels: numbers count in each channel from 0.
func TestTrackerOfTwoChannels(t *testing.T) {
	tr, _, d := newTestTracker(2)
	for vm, ch := range []multicast.ChannelID{1, 2} {
		if err := tr.Send(t.Context(), ch, nil, of(vm)); err != nil {
			t.Fatal(err)
		}
		tr.VMs.AllSent(vm)
	}
	tr.Confirmed(2, 0)
	wantDone(t, d, 1)
	tr.Confirmed(1, 0)
	wantDone(t, d, 1, 0)
}

// TestTrackerInAnyOrder: each VM is done exactly once, not before its last block was sent and confirmed.
func TestTrackerInAnyOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const vms = 4
		blocks := rapid.SliceOfN(rapid.SliceOfNDistinct(rapid.IntRange(0, vms-1), 1, vms, rapid.ID), 0, 12).Draw(t, "blocks")
		tr, p, d := newTestTracker(vms)
		left := make([]int, vms) // unconfirmed blocks
		var onWay []uint64
		early := rapid.Bool().Draw(t, "early")
		p.inSend = func(ch multicast.ChannelID, n uint64) {
			if early {
				tr.Confirmed(ch, n)
			} else {
				onWay = append(onWay, n)
			}
		}
		confirm := func() {
			i := rapid.IntRange(0, len(onWay)-1).Draw(t, "confirmed")
			n := onWay[i]
			onWay = slices.Delete(onWay, i, i+1)
			for _, vm := range blocks[n] {
				left[vm]--
			}
			tr.Confirmed(1, n)
		}
		for _, owners := range blocks {
			if !early {
				for _, vm := range owners {
					left[vm]++
				}
			}
			if err := tr.Send(context.Background(), 1, nil, of(owners...)); err != nil {
				t.Fatal(err)
			}
			if len(onWay) > 0 && rapid.Bool().Draw(t, "confirm now") {
				confirm()
			}
		}
		for vm := range vms {
			tr.VMs.AllSent(vm)
		}
		for {
			for vm := range vms {
				if slices.Contains(d.vms, vm) != (left[vm] == 0) {
					t.Fatalf("vm %d with %d unconfirmed blocks, done %v", vm, left[vm], d.vms)
				}
			}
			if len(onWay) == 0 {
				break
			}
			confirm()
		}
		if len(d.vms) != vms {
			t.Fatalf("done %v", d.vms)
		}
	})
}

// TestTrackerBuffers: payloads of confirmed blocks are used again, never those of blocks on their way.
func TestTrackerBuffers(t *testing.T) {
	tr, _, _ := newTestTracker(1)
	first := append(tr.Buffers.Get(), 1)
	if err := tr.Send(t.Context(), 1, first, of(0)); err != nil {
		t.Fatal(err)
	}
	if second := append(tr.Buffers.Get(), 2); &second[0] == &first[0] {
		t.Error("the buffer of a block on its way was given out")
	}
	tr.Confirmed(1, 0)
	if third := append(tr.Buffers.Get(), 3); &third[0] != &first[0] {
		t.Error("the buffer of a confirmed block was not used again")
	}
}

// TestTrackerFitsBuffers: a small payload is kept in a small buffer, a large one where it is, and both are used again, but not
// kept without bound.
func TestTrackerFitsBuffers(t *testing.T) {
	tr, _, _ := newTestTracker(1)
	large := tr.Buffers.Fit(append(tr.Buffers.Get(), make([]byte, halfBuffer+1)...))
	made := append(tr.Buffers.Get(), make([]byte, halfBuffer)...)
	made[0] = 7
	small := tr.Buffers.Fit(made)
	if cap(large) != fullBuffer || cap(small) != halfBuffer || !bytes.Equal(small, made) {
		t.Fatalf("%d bytes for %d, %d for %d", cap(large), len(large), cap(small), len(small))
	}
	if again := append(tr.Buffers.Get(), 1); &again[0] != &made[0] {
		t.Error("the buffer that a payload was made in was not used again")
	}
	for range 2 * mostSpare {
		tr.Buffers.put(make([]byte, 0, halfBuffer))
	}
	if len(tr.Buffers.spare) != mostSpare {
		t.Errorf("%d spare buffers", len(tr.Buffers.spare))
	}
	if b := tr.Buffers.Get(); cap(b) != fullBuffer || len(tr.Buffers.spare) != mostSpare {
		t.Errorf("a buffer of %d bytes, %d are left", cap(b), len(tr.Buffers.spare))
	}
}

// TestBlockThatCannotBeSent costs its own pages: nothing is known of them, and its VMs wait for no more than the other blocks.
func TestBlockThatCannotBeSent(t *testing.T) {
	s := newShipment(t)
	post := &postman{}
	s.tr.Sender = post
	lost := s.cargo(s.tr.routes.layout.First(0), s.tr.routes.layout.First(1))
	good := s.cargo(s.tr.routes.layout.First(0) + 1)
	post.err = errors.New("too large")
	if err := s.tr.Send(t.Context(), shipGroup, nil, lost); !errors.Is(err, post.err) {
		t.Fatal(err)
	}
	post.err = nil
	if err := s.tr.Send(t.Context(), shipGroup, nil, good); err != nil {
		t.Fatal(err)
	}
	s.memory[good.Owners[0]] = s.tr.held.Get(good.Owners[0])
	s.tr.VMs.AllSent(0)
	s.tr.VMs.AllSent(1)
	if !slices.Equal(s.done, []int{1}) {
		t.Errorf("done: %v, but VM 0 waits for a block, and 1 for none", s.done)
	}
	s.tr.Confirmed(shipGroup, 0)
	if !slices.Equal(s.done, []int{1, 0}) {
		t.Errorf("done: %v", s.done)
	}
	for _, p := range lost.Owners {
		if s.tr.held.Get(p) != forgotten(s.tr.routes.layout) {
			t.Errorf("page %d is noted as %d", p, s.tr.held.Get(p))
		}
	}
}
