package carry

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// bulk sends the planned contents. Batches are read, compared and encoded by several workers, and sent in the
// planned order by one. The tracker says when a VM's blocks are confirmed.
type bulk struct {
	e        *Carriage
	schedule *planning.Schedule
	tracker  *ledger.Tracker

	work  chan *batch // to the workers
	order chan *batch // to the sender, the same batches and the ends of steps
	spare chan *batch
	extra atomic.Uint32 // channels that the plan does not know

	repairers chan *batchEncoder // for the repairs of all hosts
}

// What is being made at one time is bounded, and with it its memory: an encoder holds a batch's pages, 4 MiB, a batch in the worst case
// blocks of as much.
const (
	batchesPerWorker = 2
	repairEncoders   = 2
)

// run returns when every step was sent, and repaired where a host was detached from a channel.
func (b *bulk) run(ctx context.Context) error {
	workers := b.e.BulkWorkers()
	n := workers * batchesPerWorker
	b.work, b.order, b.spare = make(chan *batch, n), make(chan *batch, n), make(chan *batch, n)
	for range n {
		b.spare <- &batch{}
	}
	if err := b.makeRepairers(); err != nil {
		return err
	}
	for _, vm := range b.schedule.EndsAt[-1] {
		b.tracker.VMs.AllSent(vm)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var guard sync.WaitGroup
	defer guard.Wait()
	defer cancel(nil)
	guard.Go(func() { b.watch(ctx, cancel) })
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(b.work)
		defer close(b.order)
		return b.collect(gctx)
	})
	for range workers {
		g.Go(func() error { return b.encode(gctx) })
	}
	g.Go(func() error {
		defer b.tracker.End()
		if b.e.Ahead != nil {
			f := newForwarding(gctx, b)
			g.Go(func() error { return f.run(gctx) })
			defer f.end()
		}
		return b.send(gctx)
	})
	for host := range b.schedule.Hosts {
		g.Go(func() error { return b.repair(gctx, host) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // all was sent, but perhaps not confirmed
}

// confirmSilence is how long blocks may be on their way without one being confirmed, before bulk is given up. Targets that are
// lost are ejected long before; this is for what nobody thought of.
const confirmSilence = 30 * time.Second

var errNoConfirmation = fmt.Errorf("bulk: no block was confirmed for %v; the rest goes over the control path", confirmSilence)

// watch ends bulk when nothing is confirmed any more.
func (b *bulk) watch(ctx context.Context, cancel context.CancelCauseFunc) {
	t := time.NewTicker(confirmSilence)
	defer t.Stop()
	count := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			stuck, now := b.tracker.Stuck(count)
			if stuck {
				cancel(errNoConfirmation)
				return
			}
			count = now
		}
	}
}

// collect cuts the contents of all steps into batches. Steps of one channel that follow one another share batches: there are often many classes of
// few contents, and each block has its price.
func (b *bulk) collect(ctx context.Context) error {
	r := reader{index: b.e.Index}
	var t *batch
	for i, s := range b.schedule.Steps {
		var err error
		if t == nil {
			if t, err = b.next(ctx, i); err != nil {
				return err
			}
		}
		wanted := b.reached(s)
		for owners := range r.contents(s) {
			for len(owners) > 0 {
				if t.full(len(owners)) {
					if err := b.hand(ctx, t); err != nil {
						return err
					}
					if t, err = b.next(ctx, i); err != nil {
						return err
					}
				}
				owners = t.add(owners, wanted)
			}
		}
		t.ended = i
		if i+1 < len(b.schedule.Steps) && b.schedule.Steps[i+1].Channel == s.Channel && !t.full(1) {
			continue
		}
		if err := b.hand(ctx, t); err != nil {
			return err
		}
		t = nil
	}
	return nil
}

// reader reads classes piece by piece.
type reader struct {
	index *dedup.Index
	open  map[[2]int]*dedup.Cursor // by class and channel; those that were read in part
}

// contents yields the owners of a step's contents. Steps of the same class and channel are read in their order.
func (r *reader) contents(s planning.BulkStep) iter.Seq[[]dedup.Page] {
	return func(yield func([]dedup.Page) bool) {
		key := [2]int{s.Class, s.Channel}
		c := r.open[key]
		if c == nil {
			c = r.index.Cursor(s.Class)
		}
		delete(r.open, key)
		for range s.Contents {
			owners, ok := c.Next()
			if !ok || !yield(owners) {
				return
			}
		}
		if r.open == nil {
			r.open = make(map[[2]int]*dedup.Cursor)
		}
		r.open[key] = c
	}
}

// reached tells which owners' host hears the step's channel, and claims those pages where others may send them; nil = all. The others' pages go out in
// other steps, where they may have other bytes: they must not be noted here as held.
func (b *bulk) reached(s planning.BulkStep) func(dedup.Page) bool {
	claims := b.e.Claims
	if !s.Part && claims == nil {
		return nil
	}
	hosts := b.schedule.Channels[s.Channel].Hosts
	return func(p dedup.Page) bool {
		return (!s.Part || slices.Contains(hosts, b.e.VMs[b.e.Layout.VM(p)].Host)) && (claims == nil || claims.Claim(p))
	}
}

// next is an empty batch for a step.
func (b *bulk) next(ctx context.Context, step int) (*batch, error) {
	select {
	case t := <-b.spare:
		t.reset(step)
		return t, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// hand gives a batch to the workers and to the sender. Neither queue can be full: there are no more batches than places.
func (b *bulk) hand(ctx context.Context, t *batch) error {
	for _, queue := range []chan *batch{b.work, b.order} {
		select {
		case queue <- t:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// encode makes blocks of batches until there are no more.
func (b *bulk) encode(ctx context.Context) error {
	enc, err := newBatchEncoder(b.e, b.tracker)
	if err != nil {
		return err
	}
	system.StandBehindGuests()
	for t := range b.work {
		if err := b.e.Pacer.Wait(ctx, 0, multicast.Bulk); err != nil { // blocks that may not leave are not made either
			return err
		}
		enc.encode(t)
		t.done <- struct{}{}
	}
	return nil
}

// send sends the batches in order. The channel of the next step is opened while the current one is sent.
func (b *bulk) send(ctx context.Context) error {
	ch := newChannels(b.e.Sender, b.schedule, b.tracker)
	defer ch.wait()
	for t := range b.order {
		s := b.schedule.Steps[t.step]
		ch.ahead(ctx, b.schedule.Steps[t.step:])
		err := t.await(ctx) // also if nobody is left to send it to: it is used again
		if err == nil {
			err = b.sendStep(ctx, ch, s.Channel, t)
		}
		if err != nil {
			return fmt.Errorf("bulk: %w", err)
		}
		for step := t.step; step <= t.ended; step++ {
			for _, vm := range b.schedule.EndsAt[step] {
				b.tracker.VMs.AllSent(vm)
			}
		}
		if t.ended >= 0 {
			ch.closeUnused(ctx, b.schedule.Steps[t.ended+1:])
		}
		b.spare <- t // has room for all
	}
	return nil
}

// sendStep sends a batch of a channel's, if its host does not get all in the background.
func (b *bulk) sendStep(ctx context.Context, ch *channels, channel int, t *batch) error {
	c := b.schedule.Channels[channel]
	if len(c.Hosts) == 1 && b.tracker.Detached(c.Hosts[0]) {
		for _, p := range t.blocks {
			b.tracker.Defer(p, c.Hosts[0])
		}
		return nil
	}
	id := multicast.ChannelID(c.ID)
	err := ch.await(ctx, channel)
	switch {
	case err == nil:
		return b.sendBatch(ctx, t, id)
	case errors.Is(err, multicast.ErrNoMembers): // its VMs are given up, or blind
		for _, p := range t.blocks {
			b.tracker.Undelivered(id, p.Cargo)
		}
		return nil
	case ends(ctx, err):
		return err
	}
	if ch.opened[channel].tell() {
		b.e.Tell(model.Event{Type: "warning", Message: fmt.Sprintf("bulk: what goes by channel %d is left to the control path: %v", id, err)})
	}
	for _, p := range t.blocks {
		b.tracker.Forget(p.Cargo)
	}
	return nil
}

// ends tells whether after an error of the sender no block can be sent, rather than one block or channel.
func ends(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errors.Is(err, multicast.ErrClosed) || errors.Is(err, multicast.ErrBroken)
}

// sendBatch sends all blocks of a batch, also where nobody is left to get them: then each goes to the backlogs of those who were detached. A
// block that cannot be sent is left out.
func (b *bulk) sendBatch(ctx context.Context, t *batch, ch multicast.ChannelID) error {
	for _, p := range t.blocks {
		err := b.tracker.Send(ctx, ch, p.Payload, p.Cargo)
		switch {
		case err == nil || errors.Is(err, multicast.ErrNoMembers):
		case ends(ctx, err):
			return err
		default:
			b.e.LeftOut(len(p.Cargo.Owners), err)
		}
	}
	return nil
}
