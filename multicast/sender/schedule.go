package sender

import (
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/multicast/coding"
	"github.com/scatter-vm/scatter/multicast/fifo"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// schedule is what is to be sent, in that order: marks and probes, repair, blocks that go ahead, new blocks.
type schedule struct {
	signals fifo.Queue[signal]
	repairs fifo.Queue[*transfer]
	ahead   fifo.Queue[*transfer]
	fresh   fifo.Queue[*transfer]

	socket   Socket
	rate     float64       // of the link, bytes per second
	burst    int           // bytes that a burst should have
	firstGap time.Duration // between marks, doubled up to maxGap times
	sealer   sealer
	encoder  coding.Encoder
	zeros    []byte // the body of a probe
	sent     sent
}

// signal is a mark or probe to send.
type signal struct {
	stream  *stream // of a mark
	channel *Outbound
	kind    wire.Kind
	to      netip.AddrPort
	block   uint32
	joint   bool // a probe of several datagrams in one burst
}

// ready tells whether next may have something.
func (s *schedule) ready() bool { return s.signals.Len()+s.waiting() > 0 }

// waiting is how many transfers wait for their turn.
func (s *schedule) waiting() int { return s.repairs.Len() + s.ahead.Len() + s.fresh.Len() }

// begin queues a new block on a stream.
func (s *schedule) begin(t *transfer) {
	if t.stream.channel.Ahead {
		s.push(&s.ahead, t)
		return
	}
	s.push(&s.fresh, t)
}

// repair queues what was ordered of a block.
func (s *schedule) repair(t *transfer) { s.push(&s.repairs, t) }

func (s *schedule) push(q *fifo.Queue[*transfer], t *transfer) {
	if t.queued {
		return
	}
	t.queued = true
	t.stream.queued++
	t.stream.markGap = s.firstGap
	q.Push(t)
}

// resume gives back to the queue what was held for want of credit.
func (s *schedule) resume(c *credit) {
	for _, t := range c.held {
		s.repairs.Push(t)
	}
	c.held = c.held[:0]
}

// mark asks a stream's members for reports.
func (s *schedule) mark(st *stream) {
	s.signals.Push(signal{stream: st, channel: st.channel, kind: wire.Mark, to: st.to})
}

// remind marks when a stream is quiet and blocks are not confirmed: the last datagrams may have been lost, or
// the reports about them are due. A stream whose blocks wait for those of others is quiet, too: what its members hear of it
// shall depend on the network alone.
func (s *schedule) remind(now instant, st *stream) {
	gap := st.markGap
	if st.queued > 0 {
		gap = maxGap * s.firstGap // most of the time it is its turn before
	}
	if now-st.sentAt < gap {
		return
	}
	st.sentAt = now
	st.markGap = min(2*st.markGap, maxGap*s.firstGap)
	s.mark(st)
}

// Kernels and network cards are known that cut bursts up into datagrams with wrong headers or checksums, which nobody gets (Linux 7.0 to 7.1.4,
// torvalds/linux b10b446). So probes come in turns as several datagrams in one burst, and as one. Who answers the second kind so often, and never
// the first, gets datagrams one by one from then on.
const (
	jointProbe  = 3
	jointCookie = 1 << 15 // is other in the cookie of a joint probe
)

// probe sends the nth probe of a path.
func (s *schedule) probe(o *Outbound, to netip.AddrPort, cookie uint16, n int) {
	joint := s.socket.Joint && n%2 == 0
	if joint {
		cookie ^= jointCookie
	}
	s.signals.Push(signal{channel: o, kind: wire.Probe, to: to, block: uint32(cookie), joint: joint})
}

// next fills b with what is to be sent now. false: nothing.
func (s *schedule) next(now instant, b *Burst) (bool, error) {
	b.reset(s.socket.Headers)
	for s.signals.Len() > 0 {
		if ok, err := s.sendSignal(now, s.signals.Pop(), b); ok || err != nil {
			return ok, err
		}
	}
	for _, q := range [...]*fifo.Queue[*transfer]{&s.repairs, &s.ahead, &s.fresh} {
		for q.Len() > 0 && s.fits(q.Front(), b) {
			if err := s.sendTransfer(now, q, b); err != nil {
				return false, err
			}
		}
	}
	return b.Count > 0, nil
}

// fits tells whether symbols of a transfer may join the burst.
func (s *schedule) fits(t *transfer, b *Burst) bool {
	size := wire.Overhead + t.block.Cut().Size
	return b.Count == 0 || b.To == t.stream.to && b.Size == size && b.Count < s.socket.most(s.burst, size)
}

// sendSignal seals a mark or probe, unless it has become pointless.
func (s *schedule) sendSignal(now instant, g signal, b *Burst) (bool, error) {
	if g.channel.closed {
		return false, nil
	}
	h := wire.Header{Kind: g.kind, Channel: g.channel.wire, Block: g.block}
	var body []byte
	b.To, b.Urgent = g.to, true
	if g.kind == wire.Probe {
		body = s.nothing()
	} else {
		h.Block = g.channel.backlog.count
	}
	sequence, err := s.sealer.seal(b, h, body)
	for n := 1; g.joint && n < jointProbe && err == nil; n++ {
		_, err = s.sealer.seal(b, h, body)
	}
	if err == nil && g.stream != nil {
		g.stream.sent(now, b, sequence, sequence)
	}
	s.sent.probe += uint64(b.OnWire())
	return err == nil, err
}

// nothing is zeros of the full size.
func (s *schedule) nothing() []byte {
	if s.zeros == nil {
		s.zeros = make([]byte, s.socket.symbol())
	}
	return s.zeros
}

// sendTransfer fills the burst from the transfer at the front of q, which leaves the queue when it has no more to send,
// or when its stream has no credit.
func (s *schedule) sendTransfer(now instant, q *fifo.Queue[*transfer], b *Burst) error {
	t := q.Front()
	st := t.stream
	if len(st.members) > 0 && t.wants() {
		if st.unicast && st.credit.gone() {
			st.credit.held = append(st.credit.held, q.Pop())
			return nil
		}
		if err := s.fill(now, t, b); err != nil {
			return err
		}
	}
	if s.waiting() == 1 {
		t.guard()
	}
	if len(st.members) == 0 || !t.wants() {
		q.Pop()
		t.queued = false
		st.queued--
		s.drained(st)
	}
	return nil
}

// fill seals as many of the transfer's symbols as the burst holds.
func (s *schedule) fill(now instant, t *transfer, b *Burst) error {
	b.To, b.Urgent = t.stream.to, false
	b.Apart = b.Apart || t.stream.apart
	most, before := s.socket.most(s.burst, wire.Overhead+t.block.Cut().Size), b.OnWire()
	first := s.sealer.sequence + 1
	for i := range t.stripes {
		for t.stripes[i].Wants() && b.Count < most {
			if err := s.sendSymbol(t, i, b); err != nil {
				return err
			}
		}
	}
	t.stream.sent(now, b, first, s.sealer.sequence)
	t.stream.credit.spend(b.OnWire() - before)
	return nil
}

// sendSymbol seals the next symbol of a stripe.
func (s *schedule) sendSymbol(t *transfer, i int, b *Burst) error {
	cut, stripe := t.block.Cut(), &t.stripes[i]
	id := stripe.Take()
	h := wire.Header{
		Kind: wire.Symbol, Channel: t.stream.channel.wire, Block: t.block.number,
		Length: cut.Length, Stripe: uint8(i), Index: uint8(id),
	}
	sequence, err := s.sealer.seal(b, h, s.encoder.Symbol(&t.block.Block, i, id))
	if err != nil {
		return err
	}
	s.sent.symbol(t.stream, stripe.Repair(), b.Size+s.socket.Headers)
	stripe.Note(sequence)
	return nil
}

// drained asks for reports at once when a stream has nothing more to send.
func (s *schedule) drained(st *stream) {
	if st.queued == 0 && len(st.members) > 0 && st.channel.Outstanding() {
		s.mark(st)
	}
}
