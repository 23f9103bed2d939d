package multicast

import (
	"math"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/fec"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// burst is sealed datagrams of one size for one address. Its memory is used again.
type burst struct {
	to       netip.AddrPort
	bytes    []byte // datagrams of size bytes, one after another
	size     int
	count    int
	apart    bool // the system must not cut them out of the burst
	priority Priority
}

// onWire is what the burst takes of the link.
func (b *burst) onWire() int { return len(b.bytes) + b.count*headers(b.to) }

// next fills b with what is to be sent now: marks and probes, then repair, then new blocks. false: nothing.
func (s *sendState) next(now instant, b *burst) (bool, error) {
	b.bytes, b.count, b.apart = b.bytes[:0], 0, false
	for s.signals.len() > 0 {
		if ok, err := s.sendSignal(now, s.signals.pop(), b); ok || err != nil {
			return ok, err
		}
	}
	for _, q := range []*queue[*transfer]{&s.repairs, &s.fresh} {
		for q.len() > 0 && s.fits(q.front(), b) {
			if err := s.sendTransfer(now, q, b); err != nil {
				return false, err
			}
		}
	}
	return b.count > 0, nil
}

// fits tells whether symbols of a transfer may join the burst.
func (s *sendState) fits(t *transfer, b *burst) bool {
	size := wire.Overhead + t.block.cut.Size
	return b.count == 0 || b.to == t.stream.to && b.size == size && b.count < s.most(size)
}

// most is how many datagrams of size bytes a burst holds.
func (s *sendState) most(size int) int {
	return min(max(1, min(s.burst, udp.MaxBurst)/size), udp.MaxSegments)
}

// ready tells whether next may have something.
func (s *sendState) ready() bool { return s.signals.len()+s.repairs.len()+s.fresh.len() > 0 }

// sendSignal seals a mark or probe, unless it has become pointless.
func (s *sendState) sendSignal(now instant, g signal, b *burst) (bool, error) {
	if s.wires[g.channel.wire] != g.channel {
		return false, nil
	}
	h := wire.Header{Kind: g.kind, Channel: g.channel.wire, Block: g.block}
	var body []byte
	b.to, b.priority = g.to, Urgent
	if g.kind == wire.Probe {
		body = s.zeros(s.symbol())
	} else {
		h.Block = g.channel.count
	}
	sequence, err := s.seal(b, h, body)
	for n := 1; g.joint && n < jointProbe && err == nil; n++ {
		_, err = s.seal(b, h, body)
	}
	if err == nil && g.stream != nil {
		g.stream.last, g.stream.sentAt = sequence, now
		g.stream.trail.add(now, sequence, sequence)
	}
	s.stats.Probe += uint64(b.onWire())
	return err == nil, err
}

func (s *sendState) zeros(n int) []byte {
	s.parity = grow(s.parity, n)
	clear(s.parity)
	return s.parity
}

// seal puts a datagram behind the others of the burst.
func (s *sendState) seal(b *burst, h wire.Header, body []byte) (sequence uint64, err error) {
	s.sequence++
	h.Sequence = s.sequence
	b.size = wire.Overhead + len(body)
	b.count++
	b.bytes, err = s.keys.current.Seal(b.bytes, h, body)
	s.stats.Datagrams++
	return s.sequence, err
}

// sendTransfer fills the burst from the transfer at the front of q, which leaves the queue when it has no more to send,
// or when its stream has no credit.
func (s *sendState) sendTransfer(now instant, q *queue[*transfer], b *burst) error {
	t := q.front()
	if len(t.stream.members) > 0 && t.wants() {
		if t.stream.unicast && t.stream.credit <= 0 {
			t.stream.held = append(t.stream.held, q.pop())
			return nil
		}
		if err := s.fill(now, t, b); err != nil {
			return err
		}
	}
	if s.repairs.len()+s.fresh.len() == 1 {
		s.guard(t)
	}
	if len(t.stream.members) == 0 || !t.wants() {
		q.pop()
		t.queued = false
		t.stream.queued--
		s.drained(t.stream)
	}
	return nil
}

// fill seals as many of the transfer's symbols as the burst holds.
func (s *sendState) fill(now instant, t *transfer, b *burst) error {
	b.to, b.priority = t.stream.to, Bulk
	b.apart = b.apart || t.stream.apart
	most, before := s.most(wire.Overhead+t.block.cut.Size), b.onWire()
	first := s.sequence + 1
	for i := range t.stripes {
		for t.stripes[i].want > 0 && b.count < most {
			if err := s.sendSymbol(t, i, b); err != nil {
				return err
			}
		}
	}
	t.stream.sent(now, first, s.sequence, b.onWire()-before)
	return nil
}

// sent notes a burst.
func (st *stream) sent(now instant, first, last uint64, bytes int) {
	st.last, st.sentAt = last, now
	st.trail.add(now, first, last)
	st.credit -= float64(bytes)
	st.bytes += uint64(bytes)
}

// guard adds parity for the loss that is to be expected when a block is the last for now: the link would be idle until
// the reports come, and most likely this spares another round. In a flow of blocks it would be waste.
func (s *sendState) guard(t *transfer) {
	if t.guarded || t.wants() || t.block.done {
		return
	}
	t.guarded = true
	loss := 0.0
	for _, m := range t.stream.members {
		loss = max(loss, m.view.recentLoss())
	}
	for i := range t.stripes {
		if k := t.block.cut.K(i); t.stripes[i].sent == k {
			mean := min(loss, maxGuard) * float64(k)
			t.stripes[i].want = int(mean + 2*math.Sqrt(mean))
		}
	}
}

// maxGuard bounds the loss that parity is sent for before anyone asks for it.
const maxGuard = 0.2

// sendSymbol seals the next symbol of a stripe. When all have been sent, it begins again at the first.
func (s *sendState) sendSymbol(t *transfer, stripe int, b *burst) error {
	o, k := &t.stripes[stripe], t.block.cut.K(stripe)
	id := o.next
	o.next = (o.next + 1) % fec.MaxSymbols
	h := wire.Header{
		Kind: wire.Symbol, Channel: t.stream.channel.wire, Block: t.block.number,
		Length: t.block.cut.Length, Stripe: uint8(stripe), Index: uint8(id),
	}
	sequence, err := s.seal(b, h, s.body(t.block, stripe, id))
	if err != nil {
		return err
	}
	s.account(t.stream, o.sent >= k, b.size+headers(b.to))
	o.note(sequence)
	return nil
}

func (s *sendState) account(st *stream, repair bool, bytes int) {
	switch {
	case repair:
		s.stats.Repair += uint64(bytes)
	case st.unicast:
		s.stats.Unicast += uint64(bytes)
	default:
		s.stats.Multicast += uint64(bytes)
	}
}

// body is symbol id of a stripe: a part of the payload, or parity made now.
func (s *sendState) body(b *block, stripe, id int) []byte {
	first, k := b.cut.First(stripe), b.cut.K(stripe)
	if id < k {
		return b.symbol(first + id)
	}
	var tail []byte
	if stripe == b.cut.Stripes-1 {
		tail = b.tail
	}
	s.parity = grow(s.parity, b.cut.Size)
	fec.Parity(s.parity, b.payload[first*b.cut.Size:], tail, k, uint8(id))
	return s.parity
}

// drained asks for reports at once when a stream has nothing more to send.
func (s *sendState) drained(st *stream) {
	if st.queued == 0 && len(st.members) > 0 && st.channel.outstanding() {
		s.mark(st)
	}
}

func (s *sendState) mark(st *stream) {
	s.signals.push(signal{stream: st, channel: st.channel, kind: wire.Mark, to: st.to})
}

// tick does what is due by time. Call it every few milliseconds while channels are open.
func (s *sendState) tick(now instant) {
	s.considerRates(now)
	s.awaitKeys(now)
	s.crowded = slices.ContainsFunc(s.open, func(ch *channel) bool { return !ch.Background && ch.outstanding() })
	for _, ch := range append([]*channel(nil), s.open...) {
		s.barrier(now, ch)
		if !ch.outstanding() {
			continue
		}
		for _, st := range ch.streams() {
			s.refill(now, st)
			s.remind(now, st)
			for _, m := range append([]*member(nil), st.members...) {
				s.watch(now, m)
			}
		}
	}
}

// remind sends a mark when a stream is quiet and blocks are not confirmed: the last datagrams may have been lost, or
// the reports about them are due. A stream whose blocks wait for those of others is quiet, too: what its members hear of it
// shall depend on the network alone.
func (s *sendState) remind(now instant, st *stream) {
	gap := st.markGap
	if st.queued > 0 {
		gap = maxGap * s.timing.mark // most of the time it is its turn before
	}
	if now-st.sentAt < gap {
		return
	}
	st.sentAt = now
	st.markGap = min(2*st.markGap, maxGap*s.timing.mark)
	s.mark(st)
}

// watch finds out when a member has stopped hearing its stream, or reporting.
func (s *sendState) watch(now instant, m *member) {
	if m.waiting == never {
		if m.stream.last > m.heard {
			m.waiting = now
		}
		return
	}
	if now-max(m.waiting, m.reported) > s.timing.dead {
		s.lost(now, m.target, ErrSilent)
		return
	}
	if m.reported-m.waiting > s.timing.silence {
		s.silent(now, m)
	}
}

// maxRejoins is how often a member that has fallen silent joins its group anew: one report may get lost.
const maxRejoins = 2

// silent deals with a member that reports, and reports that it hears nothing: another join at first, the way that has worked
// before, then one for any source, then unicast.
func (s *sendState) silent(now instant, m *member) {
	m.waiting = now
	m.rejoins++
	switch {
	case m.stream.unicast || m.rejoins > maxRejoins:
		s.ask(now, m, errSilent)
	default:
		m.anySource = m.anySource || m.rejoins == maxRejoins
		s.announce(m)
	}
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
