// Package wire is the bytes of the multicast protocol: the header of a datagram, the cut of a block into symbols, and
// the messages that source and target exchange on the control path.
//
// A datagram is a header in the clear, authenticated as associated data, and a body sealed with AES-256-GCM:
//
//	0         1         2                       8         10            14            17        18
//	+---------+---------+-----------------------+---------+-------------+-------------+---------+----------------+
//	| v k e   | tag     | sequence              | channel | block       | length-1, s | index   | body, 16 B tag |
//	+---------+---------+-----------------------+---------+-------------+-------------+---------+----------------+
//	v 2 bits version, k 2 bits kind, e 4 bits key epoch; tag first byte of the evacuation id; sequence 48 bits;
//	channel 16 bits; block 32 bits; length of the block less one 20 bits, s 4 bits stripe; index 8 bits symbol
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
	Version = 1
	// HeaderSize and TagSize are the bytes before and behind the sealed body.
	HeaderSize = 18
	TagSize    = 16
	// Overhead is what a datagram costs beyond its symbol.
	Overhead = HeaderSize + TagSize
	// MaxSequence is the last sequence number of a key epoch.
	MaxSequence = 1<<48 - 1
	// MaxBlock is the largest block, in bytes.
	MaxBlock = 1 << 20
	// Epochs is the number of key epochs that a datagram can tell apart.
	Epochs = 16
)

// ErrFormat says that bytes are not a datagram or message of this protocol.
var ErrFormat = errors.New("malformed")

// Kind is what a datagram is for.
type Kind uint8

const (
	Symbol Kind = iota // a symbol of a block
	Mark               // tells how many blocks the channel has so far (in Block) and asks for a report
	Probe              // asks whether the path works; Block is the round. The body is zeros, to test the full size
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
	Tag      uint8  // first byte of the evacuation id: cheap refusal of what is not ours
	Sequence uint64 // 48 bits, never the same twice under one key
	Channel  uint16
	Block    uint32
	Length   int   // of the block, 1..MaxBlock; symbols only
	Stripe   uint8 // 0..15
	Index    uint8 // symbol in the stripe
}

// Append writes the header behind b.
func (h Header) Append(b []byte) []byte {
	b = append(b, Version<<6|uint8(h.Kind)<<4|h.Epoch%Epochs, h.Tag)
	b = binary.BigEndian.AppendUint16(b, uint16(h.Sequence>>32))
	b = binary.BigEndian.AppendUint32(b, uint32(h.Sequence))
	b = binary.BigEndian.AppendUint16(b, h.Channel)
	b = binary.BigEndian.AppendUint32(b, h.Block)
	length := uint32(max(h.Length, 1)-1)<<4 | uint32(h.Stripe&15)
	return append(b, byte(length>>16), byte(length>>8), byte(length), h.Index)
}

// ParseHeader reads a datagram's header. The datagram must have room for header and tag.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < Overhead || b[0]>>6 != Version || Kind(b[0]>>4&3) >= kinds {
		return Header{}, ErrFormat
	}
	length := uint32(b[14])<<16 | uint32(b[15])<<8 | uint32(b[16])
	return Header{
		Kind:     Kind(b[0] >> 4 & 3),
		Epoch:    b[0] & 15,
		Tag:      b[1],
		Sequence: uint64(binary.BigEndian.Uint16(b[2:]))<<32 | uint64(binary.BigEndian.Uint32(b[4:])),
		Channel:  binary.BigEndian.Uint16(b[8:]),
		Block:    binary.BigEndian.Uint32(b[10:]),
		Length:   int(length>>4) + 1,
		Stripe:   uint8(length & 15),
		Index:    b[17],
	}, nil
}
