package sender

import (
	"net/netip"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// Burst is sealed datagrams of one size for one address. Its memory is used again.
type Burst struct {
	To     netip.AddrPort
	Bytes  []byte // datagrams of Size bytes, one after another
	Size   int
	Count  int
	Apart  bool // the system must not cut them out of the burst
	Urgent bool // marks and probes

	headers int    // of each datagram
	parts   []part // by stream
}

// part is the datagrams of a burst that belong to a stream.
type part struct {
	stream      *stream
	first, last uint64 // sequences
}

func (b *Burst) reset(headers int) {
	b.Bytes, b.Count, b.Apart, b.headers, b.parts = b.Bytes[:0], 0, false, headers, b.parts[:0]
}

// OnWire is what the burst takes of the link.
func (b *Burst) OnWire() int { return len(b.Bytes) + b.Count*b.headers }

// Socket is what the state has to know of the socket that its bursts are sent from.
type Socket struct {
	Packet   int  // largest UDP payload
	Headers  int  // bytes on the wire before each payload
	Burst    int  // most bytes of a burst
	Segments int  // most datagrams of a burst
	Joint    bool // the system cuts bursts up into datagrams
}

// symbol is the largest symbol in bytes.
func (s *Socket) symbol() int { return s.Packet - wire.Overhead }

// most is how many datagrams of size bytes a burst holds that is to have so many bytes.
func (s *Socket) most(burst, size int) int {
	return min(max(1, min(burst, s.Burst)/size), s.Segments)
}

// sealer numbers datagrams and seals them under the present key.
type sealer struct {
	keys      *keys
	sequence  uint64 // last used
	datagrams uint64
}

// seal puts a datagram behind the others of the burst.
func (s *sealer) seal(b *Burst, h wire.Header, body []byte) (sequence uint64, err error) {
	s.sequence++
	h.Sequence = s.sequence
	b.Size = wire.Overhead + len(body)
	b.Count++
	b.Bytes, err = s.keys.current.Seal(b.Bytes, h, body)
	s.datagrams++
	return s.sequence, err
}

// sent is the bytes of all datagrams, by what they were for.
type sent struct{ multicast, unicast, repair, probe uint64 }

// symbol counts one, which is repair or not, on a stream.
func (s *sent) symbol(st *stream, repair bool, bytes int) {
	switch {
	case repair:
		s.repair += uint64(bytes)
	case st.unicast:
		s.unicast += uint64(bytes)
	default:
		s.multicast += uint64(bytes)
	}
}
