package sender

import (
	"bytes"
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/receiver"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// world is a source, its targets and the network between them under virtual time. Everything that happens is an entry
// of the agenda; the same seed gives the same run.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	now     instant
	agenda  agenda
	order   int
	sender  *State
	rate    float64 // bytes per second of the source's link
	auto    bool    // the sender finds the rate
	given   float64 // what it is told if not
	port    port    // of the switch, from the source
	urgent  int     // bytes of others that go before each burst, in every other urgentFor
	busy    bool
	burst   Burst
	hosts   map[string]*host
	names   []string
	lost    map[string]error
	placed  map[wire.ChannelID]map[uint64]bool // confirmed
	blocks  map[wire.ChannelID][][]byte
	onWire  int
	reports int // bytes of what targets said, with the headers of frame, TLS, TCP, IP and Ethernet
	fell    int
	apart   []string                           // targets that get datagrams one by one
	left    map[string]int                     // how often hosts have left a channel
	excused map[string]map[wire.ChannelID]bool // channels whose blocks they get by another one
	rests   wire.ChannelID                     // of the last channel for what one lacked
	pending []wire.ChannelID                   // channels with blocks still to be sent
	leaving func() uint64                      // bytes that have left by the source's port; nil: not known
	feed    map[wire.ChannelID][][]byte
	trace   func(string)
	// attacker stands between the hosts and the network; nil: nobody does
	attacker func(datagram []byte, hand func([]byte))
}

// host is a target and its link.
type host struct {
	name      string
	addr      netip.AddrPort
	state     *receiver.State
	joined    map[netip.AddrPort]bool
	joins     []bool // all that it has ever sent, and whether for any source
	decoder   fec.Decoder
	delivered map[wire.ChannelID]map[uint64][]byte
	link      link
	window    int     // bytes of blocks that it may hold
	port      port    // of the switch, towards the host
	idle      instant // when it has placed what it has
	dead      bool
	lie       func(message []byte) [][]byte // what it says instead; nil: the truth
	hears     func(message []byte) bool     // which control messages it heeds; nil: all
	hoards    bool                          // it places nothing
	together  int                           // datagrams that share the fate of the last one
	fate      bool                          // to be lost
	came      instant                       // the last one
	bad       bool                          // the link at present
	until     instant                       // when it changes
	look      instant                       // when it is looked at for a report that is due; never = not
}

// port is a bottleneck with a queue.
type port struct {
	rate    float64 // bytes per second; 0 = no limit
	queue   int     // bytes
	free    instant // when it has sent what it has
	dropped int
	passed  int
	bytes   int // passed, or in the queue
}

// sent is the number of bytes that have left.
func (p *port) sent(now instant) uint64 {
	return uint64(p.bytes) - uint64(max(0, p.free-now).Seconds()*p.rate)
}

// pass takes a datagram; ok is false when the queue is full.
func (p *port) pass(now instant, size int) (delay time.Duration, ok bool) {
	if p.rate == 0 {
		return 0, true
	}
	p.free = max(p.free, now)
	if (p.free-now).Seconds()*p.rate+float64(size) > float64(p.queue) {
		p.dropped++
		return 0, false
	}
	p.passed++
	p.bytes += size
	p.free += time.Duration(float64(size) / p.rate * 1e9)
	return p.free - now, true
}

// link is what happens to datagrams on the way to a host.
type link struct {
	loss, dup, late float64       // probabilities
	merged          int           // datagrams that are lost or kept together; 0 = each by itself
	bad             time.Duration // how long states last in which half of the datagrams are lost, on average; 0 = loss is always the same
	delay           time.Duration // and as much again for what is late
	noGroup         bool          // groups do not come through
	mangled         bool          // datagrams that the system cuts out of bursts do not come through
	noUnicast       bool
	linger          time.Duration // how long a group still comes when it has been left
	lostJoins       int           // so many joins from now on do nothing
	down            func(now instant) bool
	deliver         time.Duration // time to place a block
	control         time.Duration // one way
}

type entry struct {
	at    instant
	order int
	do    func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(v any)   { *a = append(*a, v.(entry)) }
func (a *agenda) Pop() any {
	old := *a
	e := old[len(old)-1]
	old[len(old)-1].do = nil
	*a = old[:len(old)-1]
	return e
}

func (w *world) after(d time.Duration, do func()) {
	w.order++
	heap.Push(&w.agenda, entry{w.now + d, w.order, do})
}

const (
	simPacket  = wire.MinSymbol + wire.Overhead
	simHeaders = 14 + 20 + 8
)

// simKeys makes salts that can be made again.
func simKeys() Keys {
	n := byte(0)
	return Keys{Secret: [32]byte{1}, Evacuation: [8]byte{2}, Salt: func() [wire.SaltSize]byte {
		n++
		return [wire.SaltSize]byte{n}
	}}
}

// simConfig is of a source whose system cuts bursts up into datagrams of so many bytes.
func simConfig(window, packet int) Config {
	return Config{
		Timing: DefaultTiming(), Keys: simKeys(), Window: window,
		Socket: Socket{Packet: packet, Headers: simHeaders, Burst: udp.MaxBurst, Segments: udp.MaxSegments, Joint: true},
	}
}

func newWorld(t *testing.T, seed uint64, window int) *world {
	return newWorldOf(t, seed, window, simPacket)
}

// newWorldOf is a world whose datagrams have so many bytes.
func newWorldOf(t *testing.T, seed uint64, window, packet int) *world {
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 7)), rate: 20e6, hosts: map[string]*host{}, lost: map[string]error{},
		placed: map[wire.ChannelID]map[uint64]bool{}, blocks: map[wire.ChannelID][][]byte{}, feed: map[wire.ChannelID][][]byte{},
		left: map[string]int{}, excused: map[string]map[wire.ChannelID]bool{}, rests: 1 << 20,
	}
	var err error
	w.sender, err = New(simConfig(window, packet))
	if err != nil {
		t.Fatal(err)
	}
	w.ticking()
	return w
}

func (w *world) ticking() {
	port := uint64(0)
	if w.leaving != nil {
		port = w.leaving()
	}
	w.sender.SetRate(w.rate, 8*w.sender.schedule.socket.Packet)
	w.sender.Count(uint64(w.onWire), port)
	w.sender.Allow(w.given)
	w.sender.Tick(w.now)
	if w.auto || w.given > 0 {
		w.rate = w.sender.Rate()
	}
	w.act()
	w.after(5*time.Millisecond, w.ticking)
}

func (w *world) addHost(name string, l link, window int) *host {
	h := &host{
		name: name, link: l, window: window, joined: map[netip.AddrPort]bool{}, delivered: map[wire.ChannelID]map[uint64][]byte{},
		addr:  netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(len(w.hosts) / 200), byte(len(w.hosts)%200 + 1)}), 9),
		state: receiver.New(receiver.DefaultTiming(), [32]byte{1}, [8]byte{2}, window), look: never,
	}
	w.hosts[name] = h
	w.names = append(w.names, name)
	if err := w.sender.AddTarget(name, h.addr); err != nil {
		w.t.Fatal(err)
	}
	w.act()
	return h
}

// reporting lets a host report when it is due.
func (w *world) reporting(h *host) {
	due := h.state.Due()
	if due == never || h.look != never && h.look <= max(due, w.now) {
		return
	}
	at := max(due, w.now)
	h.look = at
	w.after(at-w.now, func() {
		if h.look != at || h.dead {
			return // another look came before
		}
		h.look = never
		if due := h.state.Due(); due != never && w.now >= due {
			w.toSender(h, h.state.ReportNow(w.now, 0))
		}
		w.reporting(h)
	})
}

func (w *world) toSender(h *host, message []byte) {
	said := [][]byte{message}
	if h.lie != nil {
		said = h.lie(message)
	}
	for _, message := range said {
		w.reports += len(message) + 5 + 22 + 66
		w.after(h.link.control, func() {
			if err := w.sender.Receive(w.now, h.name, message); err != nil && h.lie == nil {
				w.t.Fatalf("%v: %v", w.now, err)
			}
			w.act()
		})
	}
}

// act does what the sender wants, and keeps its link busy.
func (w *world) act() {
	for _, e := range w.sender.TakeEvents() {
		w.event(e)
	}
	w.feedAll()
	if !w.busy {
		w.pump()
	}
}

func (w *world) event(e Event) {
	if w.trace != nil {
		w.trace(fmt.Sprintf("%v: event %d target %s channel %d block %d %v", w.now, e.Kind, e.Target, e.Channel, e.Block, e.Err))
	}
	switch e.Kind {
	case Control:
		h := w.hosts[e.Target]
		w.after(h.link.control, func() { w.toHost(h, e.Message) })
	case Confirmed:
		if w.placed[e.Channel][e.Block] {
			w.t.Fatalf("channel %d: block %d confirmed twice", e.Channel, e.Block)
		}
		w.placed[e.Channel][e.Block] = true
		for _, m := range w.sender.channels.byID[e.Channel].members {
			if m.phase != gone && w.hosts[m.name].delivered[e.Channel][e.Block] == nil {
				w.t.Fatalf("channel %d: block %d is confirmed, but %s has not got it", e.Channel, e.Block, m.name)
			}
		}
	case Unreachable:
		w.lost[e.Target] = e.Err
	case FellBack:
		w.fell++
	case Apart:
		w.apart = append(w.apart, e.Target)
	case Left:
		w.catchUp(e)
	}
}

// catchUp sends what a target lacks that has left a channel by another one, as an engine would.
func (w *world) catchUp(e Event) {
	w.left[e.Target]++
	if w.excused[e.Target] == nil {
		w.excused[e.Target] = map[wire.ChannelID]bool{}
	}
	w.excused[e.Target][e.Channel] = true
	var rest [][]byte
	for _, n := range e.Lacks {
		rest = append(rest, w.blocks[e.Channel][n])
	}
	rest = append(rest, w.blocks[e.Channel][e.Block:]...)
	w.rests++
	w.open(Channel{ID: w.rests, Members: []string{e.Target}, Background: true}, rest)
}

func (w *world) toHost(h *host, message []byte) {
	if h.dead || h.hears != nil && !h.hears(message) {
		return
	}
	if err := h.state.Control(w.now, message); err != nil {
		w.t.Fatalf("%s: %v", h.name, err)
	}
	w.hostEvents(h)
}

func (w *world) hostEvents(h *host) {
	for _, e := range h.state.TakeEvents() {
		switch e.Kind {
		case receiver.Reply:
			w.toSender(h, e.Message)
		case receiver.Join:
			h.joins = append(h.joins, e.AnySource)
			h.joined[e.Channel.Group()] = h.link.lostJoins == 0
			h.link.lostJoins = max(0, h.link.lostJoins-1)
		case receiver.Leave:
			gone := func() { delete(h.joined, e.Channel.Group()) }
			if h.link.linger > 0 {
				w.after(h.link.linger, gone)
			} else {
				gone()
			}
		case receiver.Deliver:
			h.idle = max(h.idle, w.now) + h.link.deliver
			w.after(h.idle-w.now, func() { w.place(h, e) })
		}
	}
	w.reporting(h)
}

// place checks a block and notes it as delivered.
func (w *world) place(h *host, e receiver.Event) {
	if h.dead || h.hoards {
		return
	}
	payload, err := e.Block.Restore(&h.decoder)
	if err != nil {
		w.t.Fatalf("%s: block %d: %v", h.name, e.Number, err)
	}
	id := e.Channel.ID()
	if h.delivered[id] == nil {
		h.delivered[id] = map[uint64][]byte{}
	}
	if h.delivered[id][uint64(e.Number)] != nil {
		w.t.Fatalf("%s: channel %d: block %d delivered twice", h.name, id, e.Number)
	}
	if want := w.blocks[id][e.Number]; !bytes.Equal(payload, want) {
		w.t.Fatalf("%s: channel %d: block %d of %d bytes: not what was sent", h.name, id, e.Number, len(want))
	}
	h.delivered[id][uint64(e.Number)] = w.blocks[id][e.Number]
	h.state.Placed(e.Channel, e.Block)
	w.reporting(h)
	if got := h.state.Stats().Held; got > h.window {
		w.t.Fatalf("%s: holds %d bytes", h.name, got)
	}
}

const urgentFor = 300 * time.Millisecond

// pump sends one burst and comes back when the link has taken it.
func (w *world) pump() {
	ok, err := w.sender.Next(w.now, &w.burst)
	if err != nil {
		w.t.Fatal(err)
	}
	w.busy = ok
	if !ok {
		return
	}
	if w.urgent == 0 || w.now/urgentFor%2 == 0 {
		w.depart()
		return
	}
	w.onWire += w.urgent
	wait := time.Duration(float64(w.urgent) / w.rate * 1e9)
	for at := range w.urgent / segmentSize {
		w.after(wait*time.Duration(at*segmentSize)/time.Duration(w.urgent), func() { w.port.pass(w.now, segmentSize) })
	}
	w.after(wait, w.depart)
}

// depart sends the burst.
func (w *world) depart() {
	w.sender.Depart(w.now, &w.burst)
	w.onWire += w.burst.OnWire()
	b := bytes.Clone(w.burst.Bytes)
	for len(b) > 0 {
		n := min(w.burst.Size, len(b))
		w.spread(w.burst.To, b[:n])
		b = b[n:]
	}
	w.after(time.Duration(float64(w.burst.OnWire())/w.rate*1e9), func() {
		w.busy = false
		w.act()
	})
}

// spread takes a datagram to the hosts it is for.
func (w *world) spread(to netip.AddrPort, datagram []byte) {
	size := len(datagram) + simHeaders
	queued, ok := w.port.pass(w.now, size)
	if !ok {
		return
	}
	for _, name := range w.names {
		h := w.hosts[name]
		unicast := to == h.addr
		if h.dead || !unicast && !h.joined[to] || h.link.down != nil && h.link.down(w.now) {
			continue
		}
		if h.link.mangled && w.burst.Count > 1 && !w.burst.Apart {
			continue
		}
		if unicast && h.link.noUnicast || !unicast && h.link.noGroup || w.loses(h) {
			continue
		}
		for n := 0; n == 0 || n < 3 && w.rng.Float64() < h.link.dup; n++ {
			wait, ok := h.port.pass(w.now+queued, size)
			if !ok {
				continue
			}
			delay := h.link.delay + queued + wait
			if w.rng.Float64() < h.link.late {
				delay += time.Duration(w.rng.Int64N(int64(h.link.delay) + 1))
			}
			w.after(delay, func() {
				if !h.dead {
					w.hand(h, datagram, unicast)
					w.hostEvents(h)
				}
			})
		}
	}
}

// loses decides the fate of a datagram, or of several that come together.
func (w *world) loses(h *host) bool {
	if h.link.bad > 0 {
		return w.badState(h) && w.rng.IntN(2) == 0
	}
	if h.together == 0 || w.now-h.came > time.Millisecond { // what comes later is not merged with it
		h.together, h.fate = max(1, h.link.merged), w.rng.Float64() < h.link.loss
	}
	h.together--
	h.came = w.now
	return h.fate
}

// badState is the model of Gilbert and Elliott: a link is bad for some time, and good for so long that link.loss is lost in all.
func (w *world) badState(h *host) bool {
	for w.now >= h.until {
		h.bad = !h.bad
		mean := float64(h.link.bad)
		if !h.bad {
			mean *= 0.5/h.link.loss - 1
		}
		h.until += time.Duration(w.rng.ExpFloat64() * mean)
	}
	return h.bad
}

// hand gives a datagram to a host, unless somebody on the way does that.
func (w *world) hand(h *host, datagram []byte, unicast bool) {
	if w.attacker == nil {
		h.state.Receive(w.now, datagram, unicast)
		return
	}
	w.attacker(bytes.Clone(datagram), func(d []byte) { h.state.Receive(w.now, d, unicast) })
}

// open opens a channel and gives it blocks to send when it is open.
func (w *world) open(c Channel, blocks [][]byte) *Outbound {
	ch, err := w.sender.Open(w.now, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.blocks[c.ID], w.feed[c.ID] = blocks, blocks
	w.placed[c.ID] = map[uint64]bool{}
	w.pending = append(w.pending, c.ID)
	w.act()
	return ch
}

// feedAll sends blocks as far as there is room, channel by channel in turn.
func (w *world) feedAll() {
	for again := true; again; {
		again = false
		for _, id := range w.pending {
			ch, left := w.sender.channels.byID[id], w.feed[id]
			if ch == nil || ch.opening || len(left) == 0 || ch.Live() == 0 || !w.sender.Room(ch, len(left[0])) {
				continue
			}
			w.sender.Send(ch, left[0])
			w.feed[id] = left[1:]
			again = true
		}
	}
}

// run lets things happen until done, or the limit of virtual time.
func (w *world) run(limit time.Duration, done func() bool) {
	if !w.auto && w.given == 0 {
		w.given = w.rate
	}
	for !done() {
		e := heap.Pop(&w.agenda).(entry)
		w.now = e.at
		if w.now > limit {
			w.t.Fatalf("not done after %v: %s", limit, w.describe())
		}
		e.do()
	}
}

// finished tells whether every block is confirmed, or nobody is left to confirm it.
func (w *world) finished() bool {
	for _, id := range w.pending {
		ch := w.sender.channels.byID[id]
		if ch.Live() > 0 && (len(w.feed[id]) > 0 || ch.opening || ch.Outstanding()) {
			return false
		}
	}
	return true
}

// verify wants every live member of every channel to have every block.
func (w *world) verify() {
	for _, id := range w.pending {
		for _, m := range w.sender.channels.byID[id].members {
			h := w.hosts[m.name]
			if !m.live {
				if w.lost[m.name] == nil && !h.dead {
					w.t.Errorf("%s: ejected without a word", m.name)
				}
				continue
			}
			if w.excused[m.name][id] {
				w.whole(h, id)
				continue
			}
			if got, want := len(h.delivered[id]), len(w.blocks[id]); got != want {
				w.t.Errorf("%s: channel %d: %d of %d blocks", m.name, id, got, want)
			}
		}
	}
	if w.sender.window.used != 0 {
		w.t.Errorf("%d bytes still count as unconfirmed", w.sender.window.used)
	}
}

// whole wants a host that has left a channel to have each of its blocks by this channel or by another one.
func (w *world) whole(h *host, id wire.ChannelID) {
	have := map[*byte]bool{}
	for _, blocks := range h.delivered {
		for _, b := range blocks {
			have[&b[0]] = true
		}
	}
	for n, b := range w.blocks[id] {
		if !have[&b[0]] {
			w.t.Errorf("%s: channel %d: has not got block %d in any way", h.name, id, n)
		}
	}
}

func (w *world) describe() string {
	var b bytes.Buffer
	for _, ch := range w.sender.channels.open {
		fmt.Fprintf(&b, "\nchannel %d opening %v blocks %d..%d, to send %d", ch.ID, ch.opening, ch.backlog.first, ch.backlog.count, len(w.feed[ch.ID]))
		for _, m := range ch.members {
			fmt.Fprintf(&b, "\n  %s phase %d heard %d waiting %v live %v", m.name, m.phase, m.heard, m.waiting, m.live)
		}
	}
	fmt.Fprintf(&b, "\nused %d lost %v", w.sender.window.used, w.lost)
	return b.String()
}

func (w *world) payloads(n, most int) (all [][]byte) {
	for range n {
		b := make([]byte, 1+w.rng.IntN(most))
		for i := 0; i < len(b); i += 64 {
			b[i] = byte(w.rng.Uint32())
		}
		all = append(all, b)
	}
	return all
}

func group(n int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{232, 1, 1, byte(n)}), 5000)
}
