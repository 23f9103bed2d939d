package carry

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
)

// repair sends a host again what it lacks because a group was too fast for it, beside everything else and in the
// background. It returns when all blocks of all hosts are confirmed, or the host is lost.
func (b *bulk) repair(ctx context.Context, host int) error {
	r, told := b.tracker.Repair(host), false
	for r.Await(ctx) {
		err := b.repairRound(ctx, host, r)
		switch {
		case err == nil:
		case errors.Is(err, multicast.ErrNoMembers) || errors.Is(err, multicast.ErrUnknown):
			return nil // its VMs are given up, or blind
		case ends(ctx, err):
			return err
		default:
			if !told {
				b.e.Tell(model.Event{Type: "warning", Host: b.schedule.Hosts[host], Message: fmt.Sprintf("what %s has missed is left to the control path: %v", b.schedule.Hosts[host], err)})
			}
			told = true
			r.Abandon()
		}
	}
	return nil
}

// makeRepairers makes the encoders that all repairs share.
func (b *bulk) makeRepairers() error {
	b.repairers = make(chan *batchEncoder, repairEncoders)
	for range repairEncoders {
		enc, err := newBatchEncoder(b.e, b.tracker)
		if err != nil {
			return err
		}
		enc.waits = func() bool { return true } // the host is slow: there is time
		b.repairers <- enc
	}
	return nil
}

// repairRound sends a host's backlog by a channel of its own, which is opened anew each time the host was detached from others: it takes no
// block of one that is opened later before it has done with those, so that an old page never overwrites a new one.
func (b *bulk) repairRound(ctx context.Context, host int, r *ledger.Repair) error {
	r.Begin()
	defer r.End()
	id := multicast.ChannelID(len(b.schedule.Channels)) + multicast.ChannelID(b.extra.Add(1))
	c := multicast.Channel{ID: id, Members: []string{b.schedule.Hosts[host]}, Background: true}
	if err := b.e.Sender.Open(ctx, c); err != nil {
		return err
	}
	for {
		p, ok := r.Next()
		if !ok {
			break
		}
		if err := b.resend(ctx, id, p); err != nil {
			return err
		}
		r.Resent(p)
	}
	return errors.Join(b.e.Sender.Flush(ctx, id), b.e.Sender.CloseChannel(id))
}

// resend reads contents again, compares them as ever, and sends what they are now.
func (b *bulk) resend(ctx context.Context, ch multicast.ChannelID, p ledger.Part) error {
	t := &batch{owners: p.Owners, ends: p.Ends}
	select {
	case enc := <-b.repairers:
		enc.encode(t)
		b.repairers <- enc // has room for all
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	for i := range t.blocks {
		t.blocks[i].Cargo.Bytes = 0 // counted with the block that was lacked
	}
	return b.sendBatch(ctx, t, ch)
}
