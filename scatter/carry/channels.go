package carry

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// channels opens the channels of a plan a step ahead of their use, so that joins cost no time, and closes each in
// the background once all its blocks are confirmed.
type channels struct {
	sender   *multicast.Sender
	schedule *planning.Schedule
	tracker  *ledger.Tracker
	opened   map[int]*opening
	wg       sync.WaitGroup
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

func newChannels(s *multicast.Sender, p *planning.Schedule, t *ledger.Tracker) *channels {
	return &channels{sender: s, schedule: p, tracker: t, opened: make(map[int]*opening)}
}

// ahead begins to open the channel of the first step, those of all groups that are due by now, and that of the next host.
func (c *channels) ahead(ctx context.Context, steps []planning.BulkStep) {
	now := steps[0].Channel
	c.open(ctx, now)
	for i := now + 1; i < len(c.schedule.Channels) && c.schedule.Channels[i].Group.IsValid(); i++ {
		if c.schedule.Channels[i].Opens <= now {
			c.open(ctx, i)
		}
	}
	next := slices.IndexFunc(steps, func(s planning.BulkStep) bool { return s.Channel != now })
	if next >= 0 && !c.schedule.Channels[steps[next].Channel].Group.IsValid() {
		c.open(ctx, steps[next].Channel)
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
		o.err = c.openLive(ctx, channelOf(c.schedule, c.schedule.Channels[channel]))
	})
}

// openLive opens a channel for those of its members that have not been ejected, and have no backlog.
func (c *channels) openLive(ctx context.Context, m multicast.Channel) error {
	live := c.tracker.Ready(m.ID, c.schedule.Hosts, c.live(m.Members))
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

// closeUnused closes every open channel that no remaining step uses. One whose group has another channel after it is closed when
// that one is open, so that the hosts of both stay joined.
func (c *channels) closeUnused(ctx context.Context, rest []planning.BulkStep) {
	if len(rest) > 0 {
		c.ahead(ctx, rest)
	}
	for channel, o := range c.opened {
		if o == nil || slices.ContainsFunc(rest, func(s planning.BulkStep) bool { return s.Channel == channel }) {
			continue
		}
		select {
		case <-o.done:
		default:
			continue // still opening: it is needed, or the context ends it
		}
		after := c.opened[c.schedule.Channels[channel].After]
		c.opened[channel] = nil
		c.wg.Go(func() { c.close(ctx, c.schedule.Channels[channel], after) })
	}
}

func (c *channels) close(ctx context.Context, ch planning.Channel, after *opening) {
	id := multicast.ChannelID(ch.ID)
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

// channelOf is a channel as package multicast knows it.
func channelOf(p *planning.Schedule, c planning.Channel) multicast.Channel {
	m := multicast.Channel{ID: multicast.ChannelID(c.ID), Group: c.Group}
	for _, h := range c.Hosts {
		m.Members = append(m.Members, p.Hosts[h])
	}
	return m
}
