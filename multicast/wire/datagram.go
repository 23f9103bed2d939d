// Package wire is the bytes of the multicast protocol: the header of a datagram, the cut of a block into symbols, and
// the messages that source and target exchange on the control path.
//
// A datagram is a header in the clear, authenticated as associated data, and a body sealed with AES-256-GCM:
//
//	0         1           5         7         9             12        13
//	+---------+-----------+---------+---------+-------------+---------+----------------+
//	| v k e   | sequence  | channel | block   | length-1, s | index   | body, 12 B tag |
//	+---------+-----------+---------+---------+-------------+---------+----------------+
//	v 2 bits version, k 2 bits kind, e 4 bits key epoch; sequence and block: their lowest 32 and 16 bits; length of the
//	block less one 20 bits, s 4 bits stripe; index 8 bits symbol
//
// All numbers are big-endian. The header is in the clear so that a receiver knows where a symbol belongs before it
// opens it, and can decrypt it straight into its place; nothing is done with the header before the tag has proved it.
package wire

import (
	"encoding/binary"
	"errors"
)

const (
	// Version of the protocol, in each datagram and in the first control message.
	Version = 3
	// HeaderSize and TagSize are the bytes before and behind the sealed body.
	HeaderSize = 13
	TagSize    = 12
	// Overhead is what a datagram costs beyond its symbol.
	Overhead = HeaderSize + TagSize
	// MaxSequence is the last sequence number: a nonce has room for 48 bits of it.
	MaxSequence = 1<<48 - 1
	// MaxBlock is the largest block, in bytes.
	MaxBlock = 1 << 20
	// Epochs is the number of key epochs that a datagram can tell apart.
	Epochs = 16
)

// ChannelID is the engine's number of a channel. Datagrams and messages have a shorter one, which is used again.
type ChannelID uint32

// ErrFormat says that bytes are not a datagram or message of this protocol.
var ErrFormat = errors.New("malformed")

// Kind is what a datagram is for.
type Kind uint8

const (
	Symbol Kind = iota // a symbol of a block
	Mark               // tells how many blocks the channel has so far (in Block) and asks for a report
	Probe              // asks whether the path works; Block is the round, below 2^16. The body is zeros, to test the full size
	kinds
)

// String names the kind.
func (k Kind) String() string {
	if k >= kinds {
		return "unknown"
	}
	return [...]string{"symbol", "mark", "probe"}[k]
}

// Header is the clear part of a datagram.
type Header struct {
	Kind     Kind
	Epoch    uint8  // of the key, modulo Epochs
	Sequence uint64 // never the same twice under one key; a datagram has its lowest 32 bits
	Channel  uint16
	Block    uint32 // a datagram has its lowest 16 bits
	Length   int    // of the block, 1..MaxBlock; symbols only
	Stripe   uint8  // 0..15
	Index    uint8  // symbol in the stripe
}

// Append writes the header behind b.
func (h Header) Append(b []byte) []byte {
	b = append(b, Version<<6|uint8(h.Kind)<<4|h.Epoch%Epochs)
	b = binary.BigEndian.AppendUint32(b, uint32(h.Sequence))
	b = binary.BigEndian.AppendUint16(b, h.Channel)
	b = binary.BigEndian.AppendUint16(b, uint16(h.Block))
	length := uint32(max(h.Length, 1)-1)<<4 | uint32(h.Stripe&15)
	return append(b, byte(length>>16), byte(length>>8), byte(length), h.Index)
}

// ParseHeader reads a datagram's header, which Complete then makes whole. The datagram must have room for header and tag.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < Overhead || b[0]>>6 != Version || Kind(b[0]>>4&3) >= kinds {
		return Header{}, ErrFormat
	}
	length := uint32(b[9])<<16 | uint32(b[10])<<8 | uint32(b[11])
	return Header{
		Kind:     Kind(b[0] >> 4 & 3),
		Epoch:    b[0] & 15,
		Sequence: uint64(binary.BigEndian.Uint32(b[1:])),
		Channel:  binary.BigEndian.Uint16(b[5:]),
		Block:    uint32(binary.BigEndian.Uint16(b[7:])),
		Length:   int(length>>4) + 1,
		Stripe:   uint8(length & 15),
		Index:    b[12],
	}, nil
}

// Complete finds the high bits of sequence and block that a datagram leaves out: the numbers are those nearest to a
// sequence and a block that are known. Both are part of the nonce: a datagram that is completed wrongly does not open.
func (h *Header) Complete(sequence uint64, block uint32) {
	h.Sequence = nearest(h.Sequence, sequence, 1<<32)
	if h.Kind != Probe { // which has the number of a round
		h.Block = uint32(nearest(uint64(h.Block), uint64(block), 1<<16))
	}
}

// nearest is the number nearest to known that leaves the rest low when divided by span.
func nearest(low, known, span uint64) uint64 {
	n := known - known%span + low
	switch {
	case n+span/2 < known:
		return n + span
	case n > known+span/2 && n >= span:
		return n - span
	}
	return n
}
