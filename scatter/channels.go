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
	sender  *multicast.Sender
	plan    *plan
	tracker *tracker
	opened  map[int]*opening
	wg      sync.WaitGroup
}

// opening is a channel that is being opened. err is set when done is closed.
type opening struct {
	done chan struct{}
	err  error
	told bool // it could not be opened, and that was said
}

// tell is true the first time.
func (o *opening) tell() bool {
	first := !o.told
	o.told = true
	return first
}

func newChannels(s *multicast.Sender, p *plan, t *tracker) *channels {
	return &channels{sender: s, plan: p, tracker: t, opened: make(map[int]*opening)}
}

// ahead begins to open the channel of the first step, those of all groups that are due by now, and that of the next host.
func (c *channels) ahead(ctx context.Context, steps []bulkStep) {
	now := steps[0].channel
	c.open(ctx, now)
	for i := now + 1; i < len(c.plan.channels) && c.plan.channels[i].group.IsValid(); i++ {
		if c.plan.channels[i].opens <= now {
			c.open(ctx, i)
		}
	}
	next := slices.IndexFunc(steps, func(s bulkStep) bool { return s.channel != now })
	if next >= 0 && !c.plan.channels[steps[next].channel].group.IsValid() {
		c.open(ctx, steps[next].channel)
	}
}

func (c *channels) open(ctx context.Context, channel int) {
	if c.opened[channel] != nil {
		return
	}
	o := &opening{done: make(chan struct{})}
	c.opened[channel] = o
	c.wg.Go(func() {
		defer close(o.done)
		o.err = c.openLive(ctx, c.plan.channels[channel].multicast(c.plan))
	})
}

// openLive opens a channel for those of its members that have not been ejected, and are not behind.
func (c *channels) openLive(ctx context.Context, m multicast.Channel) error {
	live := c.ready(m.ID, c.live(m.Members))
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

// ready leaves those of a channel's members that have nothing to catch up with. The others are as if they had left it, and may
// be in the next one.
func (c *channels) ready(ch multicast.ChannelID, names []string) []string {
	behind := func(name string) bool { return c.tracker.behind(slices.Index(c.plan.hosts, name)) }
	some := slices.DeleteFunc(slices.Clone(names), behind)
	if len(some) == 0 {
		return names
	}
	for _, name := range names {
		if !slices.Contains(some, name) {
			c.tracker.leave(ch, slices.Index(c.plan.hosts, name), nil, 0)
		}
	}
	return some
}

// await returns when the channel is open.
func (c *channels) await(ctx context.Context, channel int) error {
	return c.opened[channel].wait(ctx)
}

func (o *opening) wait(ctx context.Context) error {
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// leave closes every open channel that no remaining step uses. One whose group has another channel after it is closed when
// that one is open, so that the hosts of both stay joined.
func (c *channels) leave(ctx context.Context, rest []bulkStep) {
	if len(rest) > 0 {
		c.ahead(ctx, rest)
	}
	for channel, o := range c.opened {
		if o == nil || slices.ContainsFunc(rest, func(s bulkStep) bool { return s.channel == channel }) {
			continue
		}
		select {
		case <-o.done:
		default:
			continue // still opening: it is needed, or the context ends it
		}
		after := c.opened[c.plan.channels[channel].after]
		c.opened[channel] = nil
		c.wg.Go(func() { c.close(ctx, c.plan.channels[channel], after) })
	}
}

func (c *channels) close(ctx context.Context, ch channel, after *opening) {
	id := multicast.ChannelID(ch.id)
	if c.sender.Flush(ctx, id) != nil {
		return
	}
	if after != nil {
		_ = after.wait(ctx) // if it cannot be opened, nobody need stay joined
	}
	_ = c.sender.CloseChannel(id) // a channel that cannot be closed ends with the sender
}

// wait returns when nothing is opening or closing any more.
func (c *channels) wait() { c.wg.Wait() }
