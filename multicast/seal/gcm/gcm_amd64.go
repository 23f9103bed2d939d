package gcm

import (
	"crypto/cipher"
	"crypto/fips140"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/cpu"
)

const (
	blockSize = 16
	// maxBlocks is how many blocks of text a message may have here: enough for jumbo frames. Beyond, there are no powers.
	maxBlocks = 576
	powers    = maxBlocks + 2 // and one each for the additional data and the lengths
)

var errOpen = errors.New("gcm: message authentication failed")

// vector seals messages of up to maxBlocks blocks, with up to one block of additional data, in one pass: GHASH multiplies each block with its
// own power of the hash key and reduces only the sum (Gueron and Kounavis, "Intel Carry-Less Multiplication Instruction and its Usage for
// Computing the GCM Mode"). It hands all others to the embedded AEAD.
type vector struct {
	cipher.AEAD
	key schedule
}

// schedule is what crypt needs of a key; its assembly knows the layout.
type schedule struct {
	rounds [15][blockSize]byte
	// powers are those of the hash key, highest first, as its assembly multiplies: bytes reversed, divided by x. The end is
	// read together with the last ones and multiplied with zeros.
	powers [powers + 2][2]uint64
}

// message is what crypt needs of a message besides its text; its assembly knows the layout.
type message struct {
	counter    [blockSize]byte // nonce and the number of the first block
	additional [blockSize]byte
	bits       [2]uint64 // of text and of additional data
	tag        [blockSize]byte
}

// crypt encrypts or decrypts src to dst, n > 0 bytes, and works out the tag of the message. first is the power for its first block.
//
//go:noescape
func crypt(k *schedule, first *[2]uint64, m *message, dst, src *byte, n int, encrypt bool)

// expand works out the round keys of AES-256 (FIPS 197, section 5.2).
//
//go:noescape
func expand(key *[32]byte, rounds *[15][blockSize]byte)

func supported() bool {
	x := &cpu.X86
	return x.HasAVX512F && x.HasAVX512BW && x.HasAVX512VL && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ && x.HasAES && x.HasPCLMULQDQ && x.HasBMI2
}

func accelerate(aead cipher.AEAD, key [32]byte, block cipher.Block) cipher.AEAD {
	if !supported() || fips140.Enabled() {
		return aead
	}
	v := &vector{AEAD: aead}
	expand(&key, &v.key.rounds)
	var zero, hash [blockSize]byte
	block.Encrypt(hash[:], zero[:])
	h := element{binary.BigEndian.Uint64(hash[:8]), binary.BigEndian.Uint64(hash[8:])}
	power := h
	for i := range powers {
		v.key.powers[powers-1-i] = power.divided()
		power = power.times(h)
	}
	return v
}

// element is one of GHASH's field, in the order of NIST SP 800-38D: the highest bit of the first word is the coefficient of x^0.
type element [2]uint64

// times multiplies bit by bit, in a time that does not depend on the factors (SP 800-38D, algorithm 1).
func (a element) times(b element) (product element) {
	for i := range 128 {
		bit := -(a[i/64] >> (63 - i%64) & 1)
		product[0] ^= b[0] & bit
		product[1] ^= b[1] & bit
		carry := -(b[1] & 1)
		b[1] = b[1]>>1 | b[0]<<63
		b[0] = b[0]>>1 ^ 0xe1<<56&carry
	}
	return product
}

// divided is a/x as a number of 128 bits, low word first: the factor x comes back where a product of reversed bits is one bit too low.
func (a element) divided() [2]uint64 {
	carry := -(a[0] >> 63)
	return [2]uint64{a[1]<<1 ^ 1&carry, (a[0]<<1 | a[1]>>63) ^ 0xc2<<56&carry}
}

// fits tells whether a message is one for the vectors.
func fits(nonce, text, additional []byte) bool {
	return len(nonce) == 12 && len(text) > 0 && len(text) <= maxBlocks*blockSize && len(additional) <= blockSize
}

// crypt encrypts or decrypts text to dst, of the same length, and returns the whole tag.
func (v *vector) crypt(dst, nonce, text, additional []byte, encrypt bool) [blockSize]byte {
	m := message{bits: [2]uint64{uint64(len(text)) * 8, uint64(len(additional)) * 8}}
	copy(m.counter[:], nonce)
	m.counter[blockSize-1] = 1
	copy(m.additional[:], additional)
	blocks := (len(text) + blockSize - 1) / blockSize
	crypt(&v.key, &v.key.powers[powers-1-blocks], &m, &dst[0], &text[0], len(text), encrypt)
	return m.tag
}

// Seal is cipher.AEAD's.
func (v *vector) Seal(dst, nonce, plaintext, additional []byte) []byte {
	if !fits(nonce, plaintext, additional) {
		return v.AEAD.Seal(dst, nonce, plaintext, additional)
	}
	start := len(dst)
	dst = slices.Grow(dst, len(plaintext)+v.Overhead())[:start+len(plaintext)]
	tag := v.crypt(dst[start:], nonce, plaintext, additional, true)
	return append(dst, tag[:v.Overhead()]...)
}

// Open is cipher.AEAD's.
func (v *vector) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	n := max(len(ciphertext)-v.Overhead(), 0)
	text, tag := ciphertext[:n], ciphertext[n:]
	if !fits(nonce, text, additional) {
		return v.AEAD.Open(dst, nonce, ciphertext, additional)
	}
	start := len(dst)
	dst = slices.Grow(dst, n)[:start+n]
	want := v.crypt(dst[start:], nonce, text, additional, false)
	if subtle.ConstantTimeCompare(want[:v.Overhead()], tag) != 1 {
		clear(dst[start:])
		return nil, errOpen
	}
	return dst, nil
}
