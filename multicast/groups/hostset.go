package groups

import (
	"encoding/binary"
	"math/bits"
)

// hostset is a set of hosts, one bit each.
type hostset []uint64

func newHostset(hosts int) hostset { return make(hostset, (hosts+63)/64) }

func (s hostset) has(h int) bool { return s[h/64]&(1<<(h%64)) != 0 }

func (s hostset) add(h int) { s[h/64] |= 1 << (h % 64) }

func (s hostset) remove(h int) { s[h/64] &^= 1 << (h % 64) }

func (s hostset) size() int {
	n := 0
	for _, w := range s {
		n += bits.OnesCount64(w)
	}
	return n
}

// list is the hosts in ascending order.
func (s hostset) list() []int {
	hosts := make([]int, 0, s.size())
	for i, w := range s {
		for ; w != 0; w &= w - 1 {
			hosts = append(hosts, 64*i+bits.TrailingZeros64(w))
		}
	}
	return hosts
}

// key distinguishes sets.
func (s hostset) key() string {
	var b []byte
	for _, w := range s {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return string(b)
}

// distance counts the hosts that are in one of two sets only.
func distance(a, b hostset) int {
	n := 0
	for i, w := range a {
		n += bits.OnesCount64(w ^ b[i])
	}
	return n
}

// differences counts the hosts that are in a only, and those in b only.
func differences(a, b hostset) (inA, inB int) {
	for i, w := range a {
		inA += bits.OnesCount64(w &^ b[i])
		inB += bits.OnesCount64(b[i] &^ w)
	}
	return inA, inB
}

// common counts the hosts that are in both sets.
func common(a, b hostset) int {
	n := 0
	for i, w := range a {
		n += bits.OnesCount64(w & b[i])
	}
	return n
}

// minus is the hosts of a that are not in b.
func minus(a, b hostset) hostset {
	c := make(hostset, len(a))
	for i, w := range a {
		c[i] = w &^ b[i]
	}
	return c
}
