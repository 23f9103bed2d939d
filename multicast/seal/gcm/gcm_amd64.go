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
	factors   = maxBlocks + 2 // and one each for the additional data and the lengths
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
	powers [factors + 2]power // highest first; the two behind the first power are multiplied with zeros
}

// power is one of the hash key, divided by x, since a product of numbers with reversed bits is one bit too low. The low word comes first.
type power [2]uint64

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
func crypt(k *schedule, first *power, m *message, dst, src *byte, n int, encrypt bool)

// times multiplies a by b and by x.
//
//go:noescape
func times(a, b *power)

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
	first := powerOf(hash)
	p := first
	for i := range factors {
		v.key.powers[factors-1-i] = p
		times(&p, &first)
	}
	return v
}

// powerOf is the first power. The hash key has the coefficient of x^0 in its highest bit (NIST SP 800-38D, section 6.3).
func powerOf(key [blockSize]byte) power {
	high, low := binary.BigEndian.Uint64(key[:8]), binary.BigEndian.Uint64(key[8:])
	odd := -(high >> 63)
	return power{low<<1 ^ 1&odd, (high<<1 | low>>63) ^ 0xc2<<56&odd}
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
	crypt(&v.key, &v.key.powers[factors-1-blocks], &m, &dst[0], &text[0], len(text), encrypt)
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
