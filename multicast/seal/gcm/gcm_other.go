//go:build !amd64

package gcm

import "crypto/cipher"

func accelerate(aead cipher.AEAD, _ [32]byte, _ cipher.Block) cipher.AEAD { return aead }
