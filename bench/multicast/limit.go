package main

import (
	"math"

	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/multicast/wire"
)

const (
	blockBytes = 256 << 10
	mtu        = 1500
	ipHeaders  = 28 // IPv4 and UDP
)

// limit is the least that scatter's datagrams take of the source's link for each byte of payload: headers and seal, and the parity that
// the worst of the targets needs when loss is independent. No sender of stripes can do better, and one that does as well knows at
// once what was lost.
func limit(c cell) float64 {
	cut := wire.NewCut(blockBytes, mtu-ipHeaders-wire.Overhead)
	frame := float64(cut.Size + wire.Overhead + udp.Headers(anyIPv4))
	total := 0.0
	for i := range cut.Stripes {
		total += expected(cut.K(i), c.Targets, c.Loss/100) * frame
	}
	return total / blockBytes
}

// expected is how many symbols must be sent on average until each of n targets has got k, when each gets one with probability 1-p.
func expected(k, n int, p float64) float64 {
	if p == 0 {
		return float64(k)
	}
	sum, sent := float64(k), k
	for enough := 0.0; sent < 100*k; sent++ {
		enough = math.Pow(1-fewer(sent, k, p), float64(n))
		if 1-enough < 1e-9 {
			break
		}
		sum += 1 - enough
	}
	return sum
}

// fewer is the probability that of so many sent symbols fewer than k arrive.
func fewer(sent, k int, p float64) (sum float64) {
	for lost := sent - k + 1; lost <= sent; lost++ {
		term := math.Exp(logChoose(sent, lost) + float64(lost)*math.Log(p) + float64(sent-lost)*math.Log(1-p))
		sum += term
		if term < 1e-18 && float64(lost) > float64(sent)*p {
			break
		}
	}
	return min(1, sum)
}

func logChoose(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}
