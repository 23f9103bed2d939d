package carry

import (
	"context"
	"errors"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/ledger"
)

// Share has others send pages beside bulk, each of which is claimed before, and ask for contents to be sent before others. It is called before bulk.
func (e *Carriage) Share() {
	e.Claims, e.Ahead = ledger.NewClaims(e.Layout.Pages()), make(Ahead, mostAhead)
}

// Ahead takes pages whose contents are to be sent before all others, to all of their owners: somebody waits for them, or is about to.
type Ahead chan []dedup.Page

// mostAhead is how many requests may wait; others are dropped.
const mostAhead = 256

// Forward asks for pages. They come in their turn if that is not possible.
func (a Ahead) Forward(pages []dedup.Page) {
	select {
	case a <- pages:
	default:
	}
}

// forwarding sends what is to go ahead, by a channel of its own that leads to all hosts: those of the plan are open in their turn.
type forwarding struct {
	b     *bulk
	all   []int           // VMs
	going context.Context // until the end
	stop  context.CancelFunc
	ended chan struct{} // closed when it sends no more

	id    multicast.ChannelID
	enc   *batchEncoder
	where *dedup.Locator
}

func newForwarding(ctx context.Context, b *bulk) *forwarding {
	f := &forwarding{b: b, ended: make(chan struct{})}
	f.going, f.stop = context.WithCancel(ctx)
	for vm := range b.e.VMs {
		f.all = append(f.all, vm)
	}
	return f
}

// end returns when nothing is sent any more.
func (f *forwarding) end() {
	f.stop()
	<-f.ended
}

// run sends until the end. What it does not send, bulk does.
func (f *forwarding) run(ctx context.Context) error {
	err := f.open()
	if err == nil {
		err = f.serve(ctx)
	}
	close(f.ended)
	if err == nil {
		err = errors.Join(f.b.e.Sender.Flush(ctx, f.id), f.b.e.Sender.CloseChannel(f.id))
	}
	if err != nil && ends(ctx, err) {
		return err
	}
	return nil
}

var errNoWay = errors.New("there is no address for a group of all hosts")

// open opens the channel, unless the end comes before.
func (f *forwarding) open() (err error) {
	b := f.b
	c := multicast.Channel{Members: slices.Clone(b.schedule.Hosts), Ahead: true}
	if len(c.Members) > 1 {
		if c.Group = b.schedule.Spare; !c.Group.IsValid() {
			return errNoWay
		}
	}
	if f.enc, err = newBatchEncoder(b.e, b.tracker); err != nil {
		return err
	}
	f.enc.waits = func() bool { return false } // it is to be quick
	f.id = multicast.ChannelID(len(b.schedule.Channels)) + multicast.ChannelID(b.extra.Add(1))
	c.ID = f.id
	opened := make(chan error, 1) // at once: bulk would fill the window
	go func() { opened <- newChannels(b.e.Sender, b.schedule, b.tracker).openLive(f.going, c) }()
	f.where = b.e.Index.Locator()
	return <-opened
}

// serve sends what is asked for.
func (f *forwarding) serve(ctx context.Context) error {
	t := &batch{}
	for {
		select {
		case pages := <-f.b.e.Ahead:
			if err := f.send(ctx, t, pages); err != nil {
				return err
			}
		case <-f.going.Done():
			return context.Cause(ctx) // nil at the end
		}
	}
}

// send sends the contents of pages, with the owners of which nobody has claimed them. No VM's account is closed meanwhile: bulk may come to its end, and
// have left out what this sends.
func (f *forwarding) send(ctx context.Context, t *batch, pages []dedup.Page) error {
	f.b.tracker.VMs.Expect(f.all)
	defer f.b.tracker.VMs.Settle(f.all)
	t.reset(0)
	for _, p := range pages {
		for owners := f.where.Owners(p); len(owners) > 0; {
			if t.full(len(owners)) {
				if err := f.flush(ctx, t); err != nil {
					return err
				}
			}
			owners = t.add(owners, f.b.e.Claims.Claim)
		}
	}
	return f.flush(ctx, t)
}

// flush sends a batch and empties it.
func (f *forwarding) flush(ctx context.Context, t *batch) error {
	f.enc.encode(t)
	err := f.b.sendBatch(ctx, t, f.id)
	t.reset(0)
	return err
}
