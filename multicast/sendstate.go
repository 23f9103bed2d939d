package multicast

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

var (
	// ErrUnreachable says that a target hears neither multicast nor unicast.
	ErrUnreachable = errors.New("target hears neither multicast nor unicast")
	// ErrSilent says that a target has stopped reporting.
	ErrSilent = errors.New("target has stopped reporting")
	// ErrNoMembers says that a channel has no live members.
	ErrNoMembers = errors.New("channel has no live members")
	// ErrUnknown says that a target or channel is not known, or is closed.
	ErrUnknown = errors.New("unknown target or channel")
	// ErrStuck says that a target has all of a block for long and does not place it.
	ErrStuck = errors.New("target does not place what it has")
	// ErrInsatiable says that a target has had a block sent again and again, and still lacks it.
	ErrInsatiable = errors.New("target lacks what it was sent many times")
	// ErrKeyless says that a target does not take the key that is to be used from now on.
	ErrKeyless = errors.New("target does not take the next key")
	// ErrProtocol says that a target does not keep to the protocol.
	ErrProtocol = errors.New("target does not keep to the protocol")
	// ErrPlacement says that a target could not place a block; the text is the target's.
	ErrPlacement = errors.New("target could not place a block")
)

// Why a member of a group is served by unicast.
var (
	errDeaf    = errors.New("no probe came through the group")
	errRefused = errors.New("the group could not be joined")
	errSilent  = errors.New("the group has gone silent")
	errSlow    = errors.New("the group is too fast for it")
)

// timing of the protocol; a test may scale it.
type timing struct {
	probe     time.Duration // how long a path is probed
	probeGap  time.Duration // first gap between probes, doubled up to eight times
	rejoin    time.Duration // between announcements to a member that does not answer
	mark      time.Duration // first gap between marks, doubled up to eight times
	silence   time.Duration // until a path that is sent on and not heard counts as silent
	dead      time.Duration // until a target without reports is ejected
	heartbeat time.Duration // between reports of a receiver with nothing to say
	report    time.Duration // between its reports otherwise
	reorder   time.Duration // how late a datagram may be without being taken for lost
	keyRest   time.Duration // how long a key is good after another has been used
	keyed     time.Duration // until a target must have taken the next key
	stuck     time.Duration // until a member must have placed a block that it has, to stay in its group
}

func defaultTiming() timing {
	return timing{
		probe: 3 * time.Second, probeGap: 10 * time.Millisecond, rejoin: 600 * time.Millisecond,
		mark: 20 * time.Millisecond, silence: 700 * time.Millisecond, dead: 2500 * time.Millisecond,
		heartbeat: 200 * time.Millisecond, report: 25 * time.Millisecond, reorder: 2 * time.Millisecond,
		keyRest: time.Second, keyed: 5 * time.Second, stuck: 5 * time.Second,
	}
}

// sendState is the source's side of the protocol. Not for concurrent use.
type sendState struct {
	timing   timing
	keys     keys
	sequence uint64 // last used
	window   int    // bytes of blocks that may wait for confirmation
	used     int
	packet   int     // largest UDP payload
	burst    int     // bytes of a burst, at most udp.MaxBurst
	joint    bool    // the system cuts bursts up into datagrams
	rate     float64 // of the link, bytes per second
	link     uint64  // bytes that the engine has sent, as datagrams and otherwise
	port     uint64  // bytes that have left by the interface, from whomever; 0 = not known
	given    given
	auto     pace // of the link
	paced    pacing

	slowRatio float64 // of what the others of a group get: less is too little
	crowded   bool    // a channel that is not in the background has blocks under way

	targets  map[string]*target
	channels map[ChannelID]*channel
	wires    map[uint16]*channel
	open     []*channel // in the order of opening: the order of everything periodic
	nextWire uint16

	signals queue[signal]
	repairs queue[*transfer]
	fresh   queue[*transfer]
	parity  []byte
	report  wire.Report
	reports uint64 // that came
	events  []event
	stats   Stats
}

func makeSendState(t timing, k keys, window, packet int) (*sendState, error) {
	var err error
	k.current, err = k.make(0)
	return &sendState{
		timing: t, keys: k, window: window, packet: packet, burst: udp.MaxBurst,
		rate: StartRate, auto: newPace(StartRate), slowRatio: DefaultSlowRatio,
		targets: map[string]*target{}, channels: map[ChannelID]*channel{}, wires: map[uint16]*channel{},
	}, err
}

// signal is a mark or probe to send.
type signal struct {
	stream  *stream
	channel *channel
	kind    wire.Kind
	to      netip.AddrPort
	block   uint32
	joint   bool // a probe of several datagrams in one burst
}

// eventKind is what the state wants done, or tells.
type eventKind uint8

const (
	sendControl eventKind = iota // message to target
	confirmed                    // block of channel
	unreachable                  // target, for err
	fellBack                     // target in channel goes on by unicast, for err
	left                         // target is no longer a member of channel
	apart                        // target gets datagrams only one by one
)

type event struct {
	kind    eventKind
	target  string
	message []byte
	channel ChannelID
	block   uint64
	err     error
	lacks   []uint64 // left: blocks below block that the target has not placed; it gets none from block on
}

func (s *sendState) emit(e event) { s.events = append(s.events, e) }

// takeEvents hands the events over; the slice is the caller's.
func (s *sendState) takeEvents() []event {
	e := s.events
	s.events = nil
	return e
}

// symbol is the largest symbol in bytes.
func (s *sendState) symbol() int { return s.packet - wire.Overhead }

func (s *sendState) addTarget(name string, addr netip.AddrPort) error {
	if t := s.targets[name]; t != nil && t.live {
		return fmt.Errorf("target %s: added twice", name)
	}
	if !addr.IsValid() || addr.Addr().IsMulticast() || addr.Addr().IsUnspecified() || addr.Port() == 0 {
		return fmt.Errorf("target %s: %v is not a unicast address", name, addr)
	}
	t := &target{name: name, addr: addr, live: true, keyed: -1, every: s.timing.report}
	s.targets[name] = t
	s.tellKeys(t)
	return nil
}

func (s *sendState) control(t *target, message []byte) {
	s.emit(event{kind: sendControl, target: t.name, message: message})
}

// openChannel announces a channel and begins to probe. The channel is open when its opening is false.
func (s *sendState) openChannel(now instant, c Channel) (*channel, error) {
	if s.channels[c.ID] != nil {
		return nil, fmt.Errorf("channel %d: opened twice", c.ID)
	}
	if c.Group.IsValid() && (!c.Group.Addr().IsMulticast() || c.Group.Port() == 0) {
		return nil, fmt.Errorf("channel %d: %v is not a group and port", c.ID, c.Group)
	}
	ch := &channel{Channel: c, opening: true, start: s.sequence, cookie: s.keys.cookie()}
	for _, name := range c.Members {
		t := s.targets[name]
		if t == nil || !t.live {
			return nil, fmt.Errorf("channel %d: target %q: %w", c.ID, name, ErrUnknown)
		}
		if slices.ContainsFunc(ch.members, func(m *member) bool { return m.target == t }) {
			return nil, fmt.Errorf("channel %d: target %q is a member twice", c.ID, name)
		}
		ch.members = append(ch.members, &member{target: t, channel: ch, index: len(ch.members), waiting: never, cookie: s.keys.cookie()})
	}
	if len(ch.members) == 0 {
		return nil, fmt.Errorf("channel %d: %w", c.ID, ErrNoMembers)
	}
	if len(s.open) >= wire.MaxReported {
		return nil, fmt.Errorf("channel %d: more than %d channels are open", c.ID, wire.MaxReported)
	}
	s.number(ch)
	s.begin(now, ch)
	return ch, nil
}

// number gives the channel a number on the wire. Numbers go round, so that one that was closed is not used again soon.
func (s *sendState) number(ch *channel) {
	for s.nextWire++; s.wires[s.nextWire] != nil; s.nextWire++ {
	}
	ch.wire = s.nextWire
	s.channels[ch.ID], s.wires[ch.wire] = ch, ch
	s.open = append(s.open, ch)
}

// limit is how many bytes of blocks may wait for confirmation.
func (s *sendState) limit() int {
	limit := s.window
	for _, t := range s.targets {
		if t.live && t.window > 0 {
			limit = min(limit, t.window)
		}
	}
	return limit
}

// room tells whether a block of length bytes may be sent on the channel now. Channels in the background share a part of the
// window, so that they neither take the rest of it nor wait for it. Each channel may have one block under way.
func (s *sendState) room(ch *channel, length int) bool {
	limit, more := s.limit(), footprint(length)
	if s.used+more > limit || ch.count-ch.first >= wire.MaxOutstanding {
		return false
	}
	channels, behind := s.background()
	switch {
	case channels == 0 || ch.used == 0:
		return true
	case ch.Background:
		return ch.used+more <= limit/backgroundWindow/channels
	default:
		return s.used-behind+more <= limit-limit/backgroundWindow
	}
}

// background is the number of channels in the background, and the bytes of their blocks that wait for confirmation.
func (s *sendState) background() (channels, bytes int) {
	for _, ch := range s.open {
		if ch.Background {
			channels++
			bytes += ch.used
		}
	}
	return channels, bytes
}

// enqueue takes a block over. The caller has made sure of room and of live members.
func (s *sendState) enqueue(ch *channel, payload []byte) uint64 {
	b := &block{
		number: ch.count, payload: payload, cut: wire.NewCut(len(payload), s.symbol()),
		placed: make([]uint64, (len(ch.members)+63)/64), pending: ch.live(),
	}
	if b.cut.Bytes() > len(payload) {
		b.tail = make([]byte, b.cut.Size)
		copy(b.tail, payload[(b.cut.Symbols-1)*b.cut.Size:])
	}
	ch.count++
	ch.blocks = append(ch.blocks, b)
	s.used += footprint(len(payload))
	ch.used += footprint(len(payload))
	s.stats.Payload += uint64(len(payload))
	s.stats.Blocks++
	for _, st := range ch.streams() {
		s.push(&s.fresh, s.transfer(b, st, true))
	}
	return uint64(b.number)
}

// transfer begins a block on a stream. Without all, it waits for the members' reports to say what lacks.
func (s *sendState) transfer(b *block, st *stream, all bool) *transfer {
	t := &transfer{stream: st, block: b, stripes: make([]outgoing, b.cut.Stripes)}
	b.transfers = append(b.transfers, t)
	for i := range t.stripes {
		if all {
			t.stripes[i].want = b.cut.K(i)
		}
	}
	return t
}

func (s *sendState) push(q *queue[*transfer], t *transfer) {
	if t.queued {
		return
	}
	t.queued = true
	t.stream.queued++
	t.stream.markGap = s.timing.mark
	q.push(t)
}

// live is the number of members that have not been ejected.
func (ch *channel) live() (n int) {
	for _, m := range ch.members {
		if m.phase != gone {
			n++
		}
	}
	return n
}

// streams are the channel's streams: the group first.
func (ch *channel) streams() (all []*stream) {
	if ch.group != nil {
		all = append(all, ch.group)
	}
	for _, m := range ch.members {
		if m.phase == served && m.stream.unicast {
			all = append(all, m.stream)
		}
	}
	return all
}

// outstanding tells whether a live member lacks a block.
func (ch *channel) outstanding() bool { return len(ch.blocks) > 0 }

// confirm notes that a member has placed a block.
func (s *sendState) confirm(m *member, b *block) {
	if b.done || b.isPlaced(m) {
		return
	}
	b.placed[m.index/64] |= 1 << (m.index % 64)
	s.lessPending(m.channel, b)
}

func (s *sendState) lessPending(ch *channel, b *block) {
	b.pending--
	if b.pending == 0 {
		s.release(ch, b)
		s.emit(event{kind: confirmed, channel: ch.ID, block: uint64(b.number)})
	}
}

// release forgets what a block holds; transfers still queued are skipped.
func (s *sendState) release(ch *channel, b *block) {
	if b.done {
		return
	}
	s.used -= footprint(len(b.payload))
	ch.used -= footprint(len(b.payload))
	b.done, b.payload, b.tail = true, nil, nil
}

// advance drops blocks that nobody waits for from the front.
func (ch *channel) advance() {
	n := 0
	for n < len(ch.blocks) && ch.blocks[n].done {
		ch.blocks[n] = nil
		n++
	}
	ch.blocks = ch.blocks[n:]
	ch.first += uint32(n)
	if !ch.outstanding() {
		for _, m := range ch.members {
			m.waiting = never // nothing is to be heard
		}
	}
}

// closeChannel forgets a channel and tells its members to leave.
func (s *sendState) closeChannel(ch *channel) {
	for _, m := range ch.members {
		if m.phase != gone {
			s.control(m.target, wire.Close{Channel: ch.wire}.Append(nil))
		}
	}
	for _, b := range ch.blocks {
		s.release(ch, b)
	}
	delete(s.channels, ch.ID)
	delete(s.wires, ch.wire)
	s.open = slices.DeleteFunc(s.open, func(c *channel) bool { return c == ch })
}

// eject takes a target out of everything. Blocks that waited only for it are confirmed. It is told to leave its groups, if it listens.
func (s *sendState) eject(now instant, name string) bool {
	t := s.targets[name]
	if t == nil || !t.live {
		return false
	}
	t.live = false
	t.stats.Ejected = true
	for _, ch := range slices.Clone(s.open) {
		for _, m := range ch.members {
			if m.target == t {
				s.drop(m)
			}
		}
	}
	s.changeKey(now)
	return true
}

// drop ends a member, and tells it to leave the channel.
func (s *sendState) drop(m *member) {
	if m.phase == gone {
		return
	}
	s.control(m.target, wire.Close{Channel: m.channel.wire}.Append(nil))
	s.detach(m)
	m.phase = gone
	for _, b := range m.channel.blocks {
		if !b.done && !b.isPlaced(m) {
			s.lessPending(m.channel, b)
		}
	}
	m.channel.advance()
	s.opened(m.channel)
}

// leave takes a member out of a channel whose group it would hold up, and tells what it lacks.
func (s *sendState) leave(m *member, why error) {
	ch := m.channel
	e := event{kind: left, target: m.name, channel: ch.ID, block: uint64(ch.count), err: why}
	for _, b := range ch.blocks {
		if !b.done && !b.isPlaced(m) {
			e.lacks = append(e.lacks, uint64(b.number))
		}
	}
	s.stats.Fallbacks++
	m.stats.Fallbacks++
	s.emit(e)
	s.drop(m)
}

// detach takes a member off its stream.
func (s *sendState) detach(m *member) {
	st := m.stream
	if st == nil {
		return
	}
	m.stream = nil
	st.members = slices.DeleteFunc(st.members, func(o *member) bool { return o == m })
	if len(st.members) == 0 && m.channel.group == st {
		m.channel.group = nil
	}
}

// lost ejects a target that the protocol cannot serve, and tells.
func (s *sendState) lost(now instant, t *target, err error) {
	if s.eject(now, t.name) {
		s.emit(event{kind: unreachable, target: t.name, err: err})
	}
}

// snapshot is the statistics so far.
func (s *sendState) snapshot() Stats {
	st := s.stats
	st.Unconfirmed = s.used
	st.Targets = make(map[string]TargetStats, len(s.targets))
	for name, t := range s.targets {
		st.Targets[name] = t.stats
		st.Joins += t.stats.Joins
		st.Leaves += t.stats.Leaves
	}
	return st
}

func sortedNames(m map[string]*target) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}

// headers is what a datagram to addr costs on the wire beyond its payload.
func headers(addr netip.AddrPort) int { return udp.Headers(addr.Addr()) }
