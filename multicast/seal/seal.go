// Package seal protects datagrams: AES-256-GCM under the key of an epoch, a nonce that never repeats, and a window
// that lets each sequence number through once.
//
// The key of an epoch comes from the evacuation's key and a random salt which the source hands out on the control path.
// So two senders never share a key, even when they are given the same evacuation key one after the other, and a target
// that has been ejected can be locked out by an epoch whose salt it is not told.
//
// The nonce holds what a datagram leaves out of its numbers, so that a datagram whose numbers are completed wrongly does
// not open; the sequence alone makes it unique:
//
//	0 0 | block (high 2 bytes) | 0 | epoch (1 byte) | sequence (6 bytes)
//
// Tags have 12 bytes, the least that GCM is approved with for any use: a forgery passes with
// a chance of 2^-89, and four bytes are 0.3 % of a frame.
package seal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/scatter-vm/scatter/multicast/seal/gcm"
	"github.com/scatter-vm/scatter/multicast/wire"
)

var (
	// ErrExhausted says that an epoch has no sequence numbers left.
	ErrExhausted = errors.New("sequence numbers of the key epoch are used up")
	// ErrForged says that a datagram's tag does not prove its bytes.
	ErrForged = errors.New("datagram is not authentic")
	// ErrReplayed says that a sequence number has been seen, or is too old to tell.
	ErrReplayed = errors.New("datagram was seen before")
)

const info = "scatter multicast datagrams v1"

// Epoch is one key. Its methods are for one goroutine at a time.
type Epoch struct {
	number uint8
	aead   cipher.AEAD
	nonce  [12]byte // scratch: an array on the stack would escape through the interface
	replay Window
}

// NewEpoch makes the key of an epoch.
func NewEpoch(number uint8, key [32]byte, evacuation [8]byte, salt [wire.SaltSize]byte) (*Epoch, error) {
	secret, err := hkdf.Key(sha256.New, key[:], salt[:], info+string(evacuation[:]), 32)
	if err != nil {
		return nil, err
	}
	aead, err := gcm.New([32]byte(secret), wire.TagSize)
	return &Epoch{number: number, aead: aead}, err
}

// Number is the epoch's number.
func (e *Epoch) Number() uint8 { return e.number }

func (e *Epoch) at(h wire.Header) []byte {
	binary.BigEndian.PutUint32(e.nonce[:], h.Block>>16)
	binary.BigEndian.PutUint64(e.nonce[4:], h.Sequence)
	e.nonce[5] = e.number // above the 48 bits of the sequence
	return e.nonce[:]
}

// Seal appends a datagram to dst: header, sealed body, tag. The caller never uses a sequence twice.
func (e *Epoch) Seal(dst []byte, h wire.Header, body []byte) ([]byte, error) {
	if h.Sequence > wire.MaxSequence {
		return dst, ErrExhausted
	}
	h.Epoch = e.number
	start := len(dst)
	dst = h.Append(dst)
	return e.aead.Seal(dst, e.at(h), body, dst[start:]), nil
}

// Open decrypts a datagram's body behind dst[:0], by its complete header, and lets its sequence through once. dst must have room for the body,
// or it is allocated anew; it may be overwritten also when the datagram is refused.
func (e *Epoch) Open(dst []byte, h wire.Header, datagram []byte) ([]byte, error) {
	if !e.replay.Fresh(h.Sequence) {
		return nil, ErrReplayed
	}
	body, err := e.aead.Open(dst[:0], e.at(h), datagram[wire.HeaderSize:], datagram[:wire.HeaderSize])
	if err != nil {
		return nil, ErrForged
	}
	e.replay.Add(h.Sequence)
	return body, nil
}
