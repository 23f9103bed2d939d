package receiver

import (
	"errors"
	"slices"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// State is a target's side of the protocol. Not for concurrent use.
type State struct {
	timing   Timing
	keys     keyring
	highest  uint64 // sequence that has been heard, or heard of
	channels map[uint16]*Channel
	recent   *Channel // of channels: that of the last datagram
	open     []*Channel
	pool     coding.Pool
	scratch  []byte
	events   []Event
	reports  reports
	stats    Stats
}

// New makes the state of a target that knows the evacuation's key and holds at most window bytes of blocks.
func New(t Timing, key [32]byte, evacuation [8]byte, window int) *State {
	return &State{
		timing: t, keys: keyring{key: key, evacuation: evacuation, retire: clock.Never}, channels: map[uint16]*Channel{},
		pool: coding.NewPool(window), reports: reports{timing: t, every: t.Report, plenty: window / 4},
	}
}

func (r *State) emit(e Event) { r.events = append(r.events, e) }

// TakeEvents hands the events over; the slice is the caller's.
func (r *State) TakeEvents() []Event {
	e := r.events
	r.events = nil
	return e
}

// Refuse tells the source that a channel's group could not be joined, or, which is fatal, a block of it not placed.
func (r *State) Refuse(c *Channel, fatal bool, cause error) {
	r.emit(Event{Kind: Reply, Message: wire.Refusal{Channel: c.wire, Fatal: fatal, Text: cause.Error()}.Append(nil)})
}

// Receive takes a datagram in; it is borrowed for the call.
func (r *State) Receive(now clock.Instant, datagram []byte, unicast bool) {
	h, err := wire.ParseHeader(datagram)
	if err != nil {
		r.stats.Forged++
		return
	}
	c, epoch := r.channel(h.Channel), r.keys.epochs[h.Epoch]
	if c == nil || epoch == nil {
		r.stats.Stray++
		return
	}
	h.Complete(r.highest, c.floor)
	if h.Sequence <= c.start {
		r.stats.Stray++
		return
	}
	switch h.Kind {
	case wire.Symbol:
		err = r.symbol(c, epoch, h, datagram)
	default:
		err = r.signal(c, epoch, h, datagram, unicast)
	}
	if !r.accepted(err) {
		return
	}
	r.keys.use(now, h.Epoch, r.timing.KeyRest)
	r.highest = max(r.highest, h.Sequence)
	c.arrived(now, h, unicast, r.timing.Reorder)
	r.reports.arrived(h.Kind, len(datagram))
}

// channel finds an open channel. Most datagrams are of the same as the one before.
func (r *State) channel(number uint16) *Channel {
	if r.recent == nil || r.recent.wire != number {
		r.recent = r.channels[number]
	}
	return r.recent
}

// accepted counts a datagram by what became of it; false: it has no claim to be heard.
func (r *State) accepted(err error) bool {
	switch {
	case err == nil:
		r.stats.Accepted++
		return true
	case errors.Is(err, seal.ErrReplayed):
		r.stats.Replayed++
	default:
		r.stats.Forged++
	}
	return false
}

// signal opens a mark or probe. Only probes are answered here.
func (r *State) signal(c *Channel, epoch *seal.Epoch, h wire.Header, datagram []byte, unicast bool) error {
	if _, err := r.openAside(epoch, h, datagram); err != nil {
		return err
	}
	if h.Kind == wire.Probe {
		a := wire.Answer{Channel: c.wire, Unicast: unicast, Cookie: uint16(h.Block), Window: uint32(r.pool.Limit())}
		r.emit(Event{Kind: Reply, Message: a.Append(nil)})
	}
	return nil
}

// openAside opens a datagram whose body has no place of its own yet.
func (r *State) openAside(epoch *seal.Epoch, h wire.Header, datagram []byte) ([]byte, error) {
	r.scratch = slices.Grow(r.scratch[:0], len(datagram))[:len(datagram)]
	return epoch.Open(r.scratch, h, datagram)
}

// symbol opens a symbol, straight into its place when its block is known already.
func (r *State) symbol(c *Channel, epoch *seal.Epoch, h wire.Header, datagram []byte) error {
	a := c.block(h.Block)
	cut, ok := cutOf(a, h.Length, len(datagram)-wire.Overhead)
	stripe, id := int(h.Stripe), int(h.Index)
	if !ok || stripe >= cut.Stripes {
		return wire.ErrFormat
	}
	if a == nil || a.Cut() != cut || !a.Needs(stripe, id) {
		body, err := r.openAside(epoch, h, datagram)
		if err == nil {
			r.begin(c, cut, h, body)
		}
		return err
	}
	place := a.Place(stripe, id)
	if _, err := epoch.Open(a.Slot(stripe, place), h, datagram); err != nil {
		return err
	}
	r.add(c, a, h, place)
	return nil
}

// cutOf is the cut of a block of length bytes with symbols of size bytes: that of the assembly, mostly, which needs no computing.
func cutOf(a *coding.Assembly, length, size int) (wire.Cut, bool) {
	if a != nil {
		if c := a.Cut(); c.Length == length && c.Size == size {
			return c, true
		}
	}
	return wire.CutFor(length, size)
}

// begin puts the first symbol of a block in its place. Symbols that nobody needs end here too.
func (r *State) begin(c *Channel, cut wire.Cut, h wire.Header, body []byte) {
	if h.Block < c.floor || c.block(h.Block) != nil {
		r.stats.Duplicate++
		return
	}
	if h.Block-c.floor >= wire.MaxOutstanding {
		r.stats.Overrun++
		return
	}
	buffer := r.pool.Get(cut.Length)
	if buffer == nil {
		r.stats.Overrun++
		return
	}
	a := coding.NewAssembly(cut, buffer)
	c.begin(h.Block, a)
	place := a.Place(int(h.Stripe), int(h.Index))
	copy(a.Slot(int(h.Stripe), place)[:cut.Size], body)
	r.add(c, a, h, place)
}

func (r *State) add(c *Channel, a *coding.Assembly, h wire.Header, place int) {
	a.Add(int(h.Stripe), int(h.Index), place)
	if a.Complete() {
		r.emit(Event{Kind: Deliver, Channel: c, Number: h.Block, Block: a})
	}
}

// Placed notes that a block has been delivered.
func (r *State) Placed(c *Channel, a *coding.Assembly) {
	r.pool.Put(a.Release())
	r.stats.Blocks++
	r.stats.Bytes += uint64(a.Cut().Length)
	if c.closed {
		return
	}
	c.advance()
	r.reports.placed(c.floor == c.count)
}

// Due is when the next report is to be made.
func (r *State) Due() clock.Instant { return r.reports.due(len(r.open)) }

// ReportNow makes a report, which says that the kernel has dropped so many datagrams. The message is the caller's.
func (r *State) ReportNow(now clock.Instant, overflow uint32) []byte {
	r.keys.forget(now)
	r.reports.report.Overflow = overflow
	return r.reports.write(now, r.open)
}

// Memberships takes in how often groups were joined and left, and tells whether that is news, of which a report is to be made.
func (r *State) Memberships(joins, leaves uint32) (news bool) {
	return r.reports.memberships(joins, leaves)
}

// Stats is what has been seen so far, but for what the sockets know.
func (r *State) Stats() Stats {
	st := r.stats
	st.Held = r.pool.Used()
	return st
}
