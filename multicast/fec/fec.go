// Package fec is the erasure code of the multicast: a systematic Reed-Solomon code over GF(2^8) that works on one
// contiguous buffer and makes each parity symbol by itself, when it is asked for.
//
// A stripe is k source symbols of equal size, k <= MaxSource. Symbol ids 0..k-1 are the source symbols, ids k..255
// are parity. Any k distinct symbols restore the stripe: parity row r has the Cauchy coefficients 1/(r xor j), every
// square part of which can be inverted.
//
// The code is the one klauspost/reedsolomon makes with a Cauchy matrix, and its vector kernels do the work. Its own
// Reconstruct is not used: it inverts a k x k matrix for each pattern of loss, which at k = 182 costs more than the
// link. Here the part to invert is only as large as the number of lost symbols.
package fec

import (
	"errors"

	"github.com/klauspost/reedsolomon"
)

const (
	// MaxSource is the largest number of source symbols in a stripe. With 192, a block of 256 KiB in frames of
	// 1500 bytes is one stripe (182 symbols): the longer the stripe, the less its worst case exceeds the mean loss.
	MaxSource = 192
	// MaxSymbols is the number of distinct symbols of a stripe, source and parity: the non-zero ids of a byte.
	MaxSymbols = 256
)

// ErrSymbols says that the symbols at hand do not restore the stripe: fewer than k, or two of them the same.
var ErrSymbols = errors.New("symbols do not determine the stripe")

var kernel reedsolomon.LowLevel

// coefficient is the weight of source symbol j in parity symbol r; r >= k > j, so the two never meet.
func coefficient(r, j uint8) byte { return reedsolomon.Inv(r ^ j) }

// Parity writes parity symbol id of the stripe to dst. source holds the k source symbols one after another, each of
// len(dst) bytes; the last one may lie in tail instead, when the stripe's bytes end before the symbol does (tail nil
// otherwise).
func Parity(dst, source, tail []byte, k int, id uint8) {
	size := len(dst)
	clear(dst)
	for j := range k {
		symbol := tail
		if tail == nil || j < k-1 {
			symbol = source[j*size : (j+1)*size]
		}
		kernel.GalMulSliceXor(coefficient(id, uint8(j)), symbol, dst)
	}
}

// Decoder restores stripes; its memory is reused from call to call. The zero value is ready. Not for concurrent use.
type Decoder struct {
	lost    []uint8
	scratch []byte
	matrix  []byte // e x 2e: the system to solve, and the identity which becomes its inverse
}

// Restore puts the k source symbols of a stripe in their places. slots holds k symbols of size bytes; at[i] is the id
// of the symbol that lies in slot i: i itself, or a parity id >= k where source symbol i was lost.
func (d *Decoder) Restore(slots []byte, size int, at []uint8) error {
	k := len(at)
	d.lost = d.lost[:0]
	for i, id := range at {
		if int(id) != i {
			if int(id) < k {
				return ErrSymbols
			}
			d.lost = append(d.lost, uint8(i))
		}
	}
	if len(d.lost) == 0 {
		return nil
	}
	d.syndromes(slots, size, at)
	if !d.invert(at) {
		return ErrSymbols
	}
	d.solve(slots, size)
	return nil
}

// syndromes takes the source symbols at hand out of each parity symbol, in place: what stays is a sum of lost ones.
func (d *Decoder) syndromes(slots []byte, size int, at []uint8) {
	for j := range at {
		if int(at[j]) != j {
			continue
		}
		symbol := slots[j*size : (j+1)*size]
		for _, i := range d.lost {
			kernel.GalMulSliceXor(coefficient(at[i], uint8(j)), symbol, slots[int(i)*size:(int(i)+1)*size])
		}
	}
}

// solve multiplies the syndromes by the inverse and puts the results where the parity was.
func (d *Decoder) solve(slots []byte, size int) {
	e := len(d.lost)
	d.scratch = grow(d.scratch, e*size)
	clear(d.scratch)
	for row := range e {
		out := d.scratch[row*size : (row+1)*size]
		for col, i := range d.lost {
			kernel.GalMulSliceXor(d.matrix[row*2*e+e+col], slots[int(i)*size:(int(i)+1)*size], out)
		}
	}
	for row, i := range d.lost {
		copy(slots[int(i)*size:], d.scratch[row*size:(row+1)*size])
	}
}

// invert leaves the inverse of the lost symbols' coefficients in the right half of the matrix, by Gauss and Jordan.
func (d *Decoder) invert(at []uint8) bool {
	e := len(d.lost)
	d.matrix = grow(d.matrix, e*2*e)
	clear(d.matrix)
	row := func(r int) []byte { return d.matrix[r*2*e : (r+1)*2*e] }
	for r, i := range d.lost {
		for c, j := range d.lost {
			row(r)[c] = coefficient(at[i], j)
		}
		row(r)[e+r] = 1
	}
	for c := range e {
		if !pivot(row, c, e) {
			return false
		}
		kernel.GalMulSlice(reedsolomon.Inv(row(c)[c]), row(c), row(c))
		for r := range e {
			if factor := row(r)[c]; r != c && factor != 0 {
				kernel.GalMulSliceXor(factor, row(c), row(r))
			}
		}
	}
	return true
}

// pivot makes row c one whose column c is not zero.
func pivot(row func(int) []byte, c, e int) bool {
	for r := c; r < e; r++ {
		if row(r)[c] == 0 {
			continue
		}
		if r != c {
			kernel.GalMulSliceXor(1, row(r), row(c))
		}
		return true
	}
	return false
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n)
	}
	return b[:n]
}
