package scatter

import (
	"context"
	"errors"

	"github.com/scatter-vm/scatter/multicast"
)

// follow sends a host again what it has missed because a group was too fast for it, beside everything else and in the
// background. It returns when all blocks of all hosts are confirmed, or the host is lost.
func (b *bulk) follow(ctx context.Context, host int) error {
	for b.tracker.awaitMissed(ctx, host) {
		err := b.catchUp(ctx, host)
		if errors.Is(err, multicast.ErrNoMembers) || errors.Is(err, multicast.ErrUnknown) {
			return nil // its VMs are given up, or blind
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// catchUp sends a host's backlog by a channel of its own, which is opened anew each time the host has left others: it takes no
// block of one that is opened later before it has done with those, so that an old page never overwrites a new one.
func (b *bulk) catchUp(ctx context.Context, host int) error {
	turn := b.tracker.follow(host)
	defer b.tracker.followed(host)
	enc, err := newBatchEncoder(b.e, b.tracker)
	if err != nil {
		return err
	}
	enc.waits = true
	id := multicast.ChannelID(len(b.plan.channels)) + multicast.ChannelID(b.extra.Add(1))
	c := multicast.Channel{ID: id, Members: []string{b.plan.hosts[host]}, Background: true}
	if err := b.e.sender.Open(ctx, c); err != nil {
		return err
	}
	for {
		p, ok := b.tracker.nextMissed(host, turn)
		if !ok {
			break
		}
		if err := b.resend(ctx, enc, id, p); err != nil {
			return err
		}
	}
	return errors.Join(b.e.sender.Flush(ctx, id), b.e.sender.CloseChannel(id))
}

// resend reads contents again, compares them as ever, and sends what they are now.
func (b *bulk) resend(ctx context.Context, enc *batchEncoder, ch multicast.ChannelID, p part) error {
	t := &batch{owners: p.owners, ends: p.ends}
	if err := enc.encode(t); err != nil {
		return err
	}
	for i := range t.blocks {
		t.blocks[i].cargo.bytes = 0 // counted with the block that was missed
	}
	if err := b.sendBatch(ctx, t, ch); err != nil {
		return err
	}
	b.tracker.resent(p)
	return nil
}
