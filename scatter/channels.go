package scatter

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/multicast"
)

// channels opens the channels of a plan a step ahead of their use, so that joins cost no time, and closes each in
// the background once all its blocks are confirmed.
type channels struct {
	sender *multicast.Sender
	plan   *plan
	opened map[int]chan error
	wg     sync.WaitGroup
}

func newChannels(s *multicast.Sender, p *plan) *channels {
	return &channels{sender: s, plan: p, opened: make(map[int]chan error)}
}

// ahead begins to open the channel of the first step and of the next step that uses another one.
func (c *channels) ahead(ctx context.Context, steps []bulkStep) {
	c.open(ctx, steps[0].channel)
	for _, s := range steps[1:] {
		if s.channel != steps[0].channel {
			c.open(ctx, s.channel)
			return
		}
	}
}

func (c *channels) open(ctx context.Context, channel int) {
	if c.opened[channel] != nil {
		return
	}
	result := make(chan error, 1)
	c.opened[channel] = result
	c.wg.Go(func() { result <- c.openLive(ctx, c.plan.channels[channel].multicast(c.plan)) })
}

// openLive opens a channel for those of its members that have not been ejected.
func (c *channels) openLive(ctx context.Context, m multicast.Channel) error {
	live := c.live(m.Members)
	for {
		m.Members = live
		err := c.sender.Open(ctx, m)
		live = c.live(live)
		if !errors.Is(err, multicast.ErrUnknown) || len(live) == len(m.Members) {
			return err // else one was ejected between the look and the call
		}
	}
}

func (c *channels) live(names []string) []string {
	targets := c.sender.Stats().Targets
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool {
		t, ok := targets[n]
		return !ok || t.Ejected
	})
}

// await returns when the channel is open.
func (c *channels) await(ctx context.Context, channel int) error {
	select {
	case err := <-c.opened[channel]:
		c.opened[channel] <- err // for the next step of the same channel
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave closes every open channel that no remaining step uses.
func (c *channels) leave(ctx context.Context, rest []bulkStep) {
	for channel, result := range c.opened {
		if result == nil || slices.ContainsFunc(rest, func(s bulkStep) bool { return s.channel == channel }) {
			continue
		}
		select {
		case err := <-result:
			result <- err
		default:
			continue // still opening: it is needed, or the context ends it
		}
		c.opened[channel] = nil
		id := multicast.ChannelID(c.plan.channels[channel].id)
		c.wg.Go(func() {
			if c.sender.Flush(ctx, id) == nil {
				_ = c.sender.CloseChannel(id) // a channel that cannot be closed ends with the sender
			}
		})
	}
}

// wait returns when nothing is opening or closing any more.
func (c *channels) wait() { c.wg.Wait() }
