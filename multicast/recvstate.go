package multicast

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// minSpacing is the least time between reports, in units of the reorder time.
const minSpacing = 1

// recvState is a target's side of the protocol. Not for concurrent use.
type recvState struct {
	timing     timing
	key        [32]byte
	evacuation [8]byte
	epochs     [wire.Epochs]*seal.Epoch
	current    uint8   // epoch of the last authentic datagram
	highest    uint64  // sequence that has been heard, or heard of
	retire     instant // when those before it are forgotten; never = they are
	channels   map[uint16]*inbound
	recent     *inbound // of channels: that of the last datagram
	open       []*inbound
	pool       pool
	scratch    []byte
	events     []recvEvent
	stats      ReceiverStats

	reported instant
	every    time.Duration // between reports while something changes
	changed  bool          // something is worth a report
	prompt   bool          // and soon
	fresh    int           // bytes since the last report
	report   wire.Report
	have     []uint8
}

// inbound is a channel at a receiver.
type inbound struct {
	wire    uint16
	id      ChannelID
	start   uint64
	group   netip.AddrPort
	floor   uint32
	blocks  []*assembly // from floor on; nil = nothing has arrived
	count   uint32      // blocks that the source says there are, where it waits for reports
	paths   [2]arrivals // multicast, unicast
	changed bool
	closed  bool
}

// arrivals is what has come by one path. What is reported is the sight some time ago: what was sent before and is not
// here by now is lost, not late.
type arrivals struct {
	current   sight
	candidate sight // to be settled next
	settled   sight
	since     instant // of the candidate
}

// sight is how much of a path has been heard.
type sight struct {
	highest uint64
	count   uint32
	at      instant
}

// settle moves the boundary between lost and late.
func (a *arrivals) settle(now, reorder instant) {
	if now-a.since >= reorder {
		a.settled, a.candidate, a.since = a.candidate, a.current, now
	}
}

// recvEventKind is what the state wants done.
type recvEventKind uint8

const (
	reply   recvEventKind = iota // message to the source
	join                         // group of channel
	leave                        // group of channel
	deliver                      // the block is complete
)

type recvEvent struct {
	kind    recvEventKind
	message []byte
	channel *inbound
	any     bool // join: without naming the source
	again   bool // leave: a join follows
	number  uint32
	block   *assembly
}

func newRecvState(t timing, key [32]byte, evacuation [8]byte, window int) *recvState {
	return &recvState{
		timing: t, every: t.report, key: key, evacuation: evacuation, retire: never, channels: map[uint16]*inbound{},
		pool: pool{limit: window, free: map[int][][]byte{}},
	}
}

func (r *recvState) emit(e recvEvent) { r.events = append(r.events, e) }

// takeEvents hands the events over; the slice is the caller's.
func (r *recvState) takeEvents() []recvEvent {
	e := r.events
	r.events = nil
	return e
}

// control acts on a control message of the source. An error is its violation of the protocol.
func (r *recvState) control(now instant, message []byte) error {
	if len(message) == 0 {
		return fmt.Errorf("empty message: %w", wire.ErrFormat)
	}
	switch wire.Type(message[0]) {
	case wire.TypeKey:
		return r.onKey(message)
	case wire.TypeAnnounce:
		return r.onAnnounce(now, message)
	case wire.TypeClose:
		return r.onClose(message)
	case wire.TypeLeave:
		return r.onLeave(message)
	case wire.TypeEvery:
		return r.onEvery(message)
	default:
		return fmt.Errorf("message of type %d: %w", message[0], wire.ErrFormat)
	}
}

// onKey learns the key of an epoch.
func (r *recvState) onKey(message []byte) error {
	k, err := wire.ParseKey(message)
	if err != nil {
		return err
	}
	if r.epochs[k.Epoch], err = seal.NewEpoch(k.Epoch, r.key, r.evacuation, k.Salt); err != nil {
		return err
	}
	r.emit(recvEvent{kind: reply, message: wire.Keyed{Epoch: k.Epoch}.Append(nil)})
	return nil
}

// use notes that the source uses an epoch. Those before it stay good for a moment, for datagrams that are under way.
func (r *recvState) use(now instant, epoch uint8) {
	if ahead := (epoch - r.current) % wire.Epochs; ahead != 0 && ahead < wire.Epochs/2 {
		r.current, r.retire = epoch, now+r.timing.keyRest
	}
}

// forget drops the epochs before the current one when their time is over: a target that was ejected knows them.
func (r *recvState) forget(now instant) {
	if r.retire == never || now < r.retire {
		return
	}
	r.retire = never
	for back := uint8(1); back <= wire.Epochs/2; back++ {
		r.epochs[(r.current+wire.Epochs-back)%wire.Epochs] = nil
	}
}

func (r *recvState) onAnnounce(now instant, message []byte) error {
	a, err := wire.ParseAnnounce(message)
	if err != nil {
		return err
	}
	c := r.channels[a.Channel]
	if c == nil {
		if len(r.open) == wire.MaxReported {
			return fmt.Errorf("more than %d channels: %w", wire.MaxReported, wire.ErrFormat)
		}
		c = &inbound{wire: a.Channel, id: ChannelID(a.ID), start: a.Start, group: a.Group}
		r.channels[a.Channel] = c
		r.open = append(r.open, c)
		r.reported = now // heartbeats begin
		r.highest = max(r.highest, a.Start)
	}
	if c.id != ChannelID(a.ID) || c.group != a.Group {
		return fmt.Errorf("channel %d: announced anew with another group or number: %w", a.ID, wire.ErrFormat)
	}
	if !c.group.IsValid() {
		return nil
	}
	if a.Round > 0 {
		r.emit(recvEvent{kind: leave, channel: c, again: true})
	}
	r.emit(recvEvent{kind: join, channel: c, any: a.AnySource})
	return nil
}

func (r *recvState) onLeave(message []byte) error {
	m, err := wire.ParseLeave(message)
	if c := r.channels[m.Channel]; err == nil && c != nil && c.group.IsValid() {
		r.emit(recvEvent{kind: leave, channel: c})
	}
	return err
}

func (r *recvState) onClose(message []byte) error {
	m, err := wire.ParseClose(message)
	if err != nil {
		return err
	}
	c := r.channels[m.Channel]
	if c == nil {
		return nil
	}
	c.closed = true
	delete(r.channels, m.Channel)
	r.recent = nil
	r.open = slices.DeleteFunc(r.open, func(o *inbound) bool { return o == c })
	for _, a := range c.blocks {
		if a != nil && !a.placed && a.lacking > 0 {
			r.pool.put(a.buffer)
		}
	}
	if c.group.IsValid() {
		r.emit(recvEvent{kind: leave, channel: c})
	}
	return nil
}

// onEvery learns how often to report. Where that is seldom, because targets are many, more may arrive in between.
func (r *recvState) onEvery(message []byte) error {
	m, err := wire.ParseEvery(message)
	if err == nil {
		r.every = time.Duration(m.Milliseconds) * time.Millisecond
	}
	return err
}

// refuse tells the source that a group could not be joined, or a block not placed.
func (r *recvState) refuse(c *inbound, fatal bool, cause error) {
	r.emit(recvEvent{kind: reply, message: wire.Refusal{Channel: c.wire, Fatal: fatal, Text: cause.Error()}.Append(nil)})
}

// receive takes a datagram in; it is borrowed for the call.
func (r *recvState) receive(now instant, datagram []byte, unicast bool) {
	h, err := wire.ParseHeader(datagram)
	if err != nil {
		r.stats.Forged++
		return
	}
	c, epoch := r.channel(h.Channel), r.epochs[h.Epoch]
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
	r.use(now, h.Epoch)
	r.highest = max(r.highest, h.Sequence)
	r.arrived(now, c, h, unicast)
	r.fresh += len(datagram)
}

// channel finds an open channel. Most datagrams are of the same as the one before.
func (r *recvState) channel(number uint16) *inbound {
	if r.recent == nil || r.recent.wire != number {
		r.recent = r.channels[number]
	}
	return r.recent
}

// accepted counts a datagram by what became of it; false: it has no claim to be heard.
func (r *recvState) accepted(err error) bool {
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

// arrived notes an authentic datagram. A mark comes behind all that it tells of, so what is not here is lost.
func (r *recvState) arrived(now instant, c *inbound, h wire.Header, unicast bool) {
	p := &c.paths[0]
	if unicast {
		p = &c.paths[1]
	}
	p.current.count++
	if h.Sequence > p.current.highest {
		p.current.highest, p.current.at = h.Sequence, now
	}
	p.settle(now, r.timing.reorder)
	c.changed, r.changed = true, true
	if h.Kind == wire.Mark {
		p.settled, p.candidate, p.since = p.current, p.current, now
		c.count = max(c.count, h.Block)
		r.prompt = true
	}
}

// signal opens a mark or probe. Only probes are answered here.
func (r *recvState) signal(c *inbound, epoch *seal.Epoch, h wire.Header, datagram []byte, unicast bool) error {
	r.scratch = grow(r.scratch, len(datagram))
	if _, err := epoch.Open(r.scratch, h, datagram); err != nil {
		return err
	}
	if h.Kind == wire.Probe {
		a := wire.Answer{Channel: c.wire, Unicast: unicast, Cookie: uint16(h.Block), Window: uint32(r.pool.limit)}
		r.emit(recvEvent{kind: reply, message: a.Append(nil)})
	}
	return nil
}

// symbol opens a symbol, straight into its place when its block is known already.
func (r *recvState) symbol(c *inbound, epoch *seal.Epoch, h wire.Header, datagram []byte) error {
	a := c.block(h.Block)
	cut, ok := cutOf(a, h.Length, len(datagram)-wire.Overhead)
	stripe, id := int(h.Stripe), int(h.Index)
	if !ok || stripe >= cut.Stripes {
		return wire.ErrFormat
	}
	if a == nil || a.cut != cut || !a.needs(stripe, id) {
		r.scratch = grow(r.scratch, len(datagram))
		body, err := epoch.Open(r.scratch, h, datagram)
		if err == nil {
			r.begin(c, cut, h, body)
		}
		return err
	}
	place := a.place(stripe, id)
	if _, err := epoch.Open(a.slot(stripe, place), h, datagram); err != nil {
		return err
	}
	r.add(c, a, h, place)
	return nil
}

// cutOf is the cut of a block of length bytes with symbols of size bytes: that of the assembly, mostly, which needs no computing.
func cutOf(a *assembly, length, size int) (wire.Cut, bool) {
	if a != nil && a.cut.Length == length && a.cut.Size == size {
		return a.cut, true
	}
	return wire.CutFor(length, size)
}

// begin puts the first symbol of a block in its place. Symbols that nobody needs end here too.
func (r *recvState) begin(c *inbound, cut wire.Cut, h wire.Header, body []byte) {
	if h.Block < c.floor || c.block(h.Block) != nil {
		r.stats.Duplicate++
		return
	}
	if h.Block-c.floor >= wire.MaxOutstanding {
		r.stats.Overrun++
		return
	}
	buffer := r.pool.get(cut.Length)
	if buffer == nil {
		r.stats.Overrun++
		return
	}
	for uint32(len(c.blocks)) <= h.Block-c.floor {
		c.blocks = append(c.blocks, nil)
	}
	a := newAssembly(cut, buffer)
	c.blocks[h.Block-c.floor] = a
	place := a.place(int(h.Stripe), int(h.Index))
	copy(a.slot(int(h.Stripe), place)[:cut.Size], body)
	r.add(c, a, h, place)
}

func (r *recvState) add(c *inbound, a *assembly, h wire.Header, place int) {
	a.add(int(h.Stripe), int(h.Index), place)
	if a.lacking == 0 {
		r.emit(recvEvent{kind: deliver, channel: c, number: h.Block, block: a})
	}
}

// block is the assembly of a block, nil if nothing is known of it.
func (c *inbound) block(number uint32) *assembly {
	if i := number - c.floor; number >= c.floor && i < uint32(len(c.blocks)) {
		return c.blocks[i]
	}
	return nil
}

// placed notes that a block has been delivered.
func (r *recvState) placed(c *inbound, a *assembly) {
	r.pool.put(a.buffer)
	a.placed, a.buffer, a.at = true, nil, nil
	r.stats.Blocks++
	r.stats.Bytes += uint64(a.cut.Length)
	if c.closed {
		return
	}
	n := 0
	for n < len(c.blocks) && c.blocks[n] != nil && c.blocks[n].placed {
		c.blocks[n] = nil
		n++
	}
	c.blocks = c.blocks[n:]
	c.floor += uint32(n)
	c.changed, r.changed = true, true
	r.prompt = r.prompt || c.floor == c.count // all there is: the source waits for this
}

// due is when the next report is to be made.
func (r *recvState) due() instant {
	switch {
	case len(r.open) == 0 && !r.changed:
		return never
	case r.changed && (r.prompt || r.fresh > r.plenty()):
		return r.reported + minSpacing*r.timing.reorder
	case r.changed:
		return r.reported + r.every
	default:
		return r.reported + max(r.every, r.timing.heartbeat)
	}
}

// plenty is how many bytes are worth a report before its time.
func (r *recvState) plenty() int { return r.pool.limit / 4 }

// reportNow makes a report. The message is the caller's.
func (r *recvState) reportNow(now instant) []byte {
	r.forget(now)
	r.report.Channels, r.have = r.report.Channels[:0], r.have[:0]
	r.reported, r.changed, r.prompt, r.fresh = now, false, false, 0
	for _, c := range r.open {
		if c.changed {
			r.report.Channels = append(r.report.Channels, r.progress(now, c))
			r.changed = r.changed || c.changed
		}
	}
	return r.report.Append(nil)
}

// progress is a channel's part of the report.
func (r *recvState) progress(now instant, c *inbound) wire.Progress {
	c.changed = false
	p := wire.Progress{
		Channel: c.wire, Floor: c.floor,
		Multicast: r.path(now, c, &c.paths[0]), Unicast: r.path(now, c, &c.paths[1]),
	}
	for _, a := range c.blocks {
		p.Blocks = append(p.Blocks, r.holding(a))
	}
	return p
}

func (r *recvState) path(now instant, c *inbound, a *arrivals) wire.Path {
	a.settle(now, r.timing.reorder)
	c.changed = c.changed || a.settled.count != a.current.count
	age := min((now - a.settled.at).Microseconds(), wire.MaxAge)
	return wire.Path{Highest: a.settled.highest, Count: a.settled.count, Age: uint32(age)}
}

func (r *recvState) holding(a *assembly) wire.Holding {
	if a == nil {
		return wire.Holding{}
	}
	if a.placed {
		return wire.Holding{Placed: true}
	}
	start := len(r.have)
	for i := range a.stripes {
		r.have = append(r.have, uint8(a.stripes[i].have))
	}
	return wire.Holding{Stripes: r.have[start:len(r.have):len(r.have)]}
}
