// Package gcm is AES-256-GCM with nonces of 12 bytes and short tags, for datagrams.
//
// Where the processor has AES for vectors (VAES and VPCLMULQDQ on 512 bits: Intel since Ice Lake, AMD since Zen 4) a datagram takes less than half
// the time that crypto/cipher needs, which uses neither (golang.org/issue/42726). Everywhere else, in FIPS 140-3 mode, and for messages
// that are not datagrams, it is crypto/cipher. The bytes are the same.
package gcm

import (
	"crypto/aes"
	"crypto/cipher"
)

// New returns AES-256-GCM by a key, with tags of tagSize bytes, 12 to 16. Buffers must overlap exactly or not at all.
func New(key [32]byte, tagSize int) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithTagSize(block, tagSize)
	if err != nil {
		return nil, err
	}
	return accelerate(aead, key, block), nil
}
