package model

import (
	"math"
	"math/bits"
)

// Unlimited is room for whatever comes; sums of a few do not overflow.
const Unlimited = math.MaxInt64 / 4

// Hosts are what units are placed on.
type Hosts struct {
	Room   []Room   // that each offers
	BPS    []int64  // bits per second of each host's link
	Racks  int      // that hosts have
	Uplink []uint16 // the rack of each host, and of limbo; equal to Racks if it has none
}

// Room is what a host offers, or units want.
type Room struct{ Memory, VCPUs, VMs int64 }

// Time is how many nanoseconds a host's link takes for bytes.
func (hs *Hosts) Time(h int, bytes int64) int64 { return SendTime(bytes, hs.BPS[h]) }

// SendTime is the nanoseconds, rounded up, that bytes take on a link of bps bits per second.
func SendTime(bytes, bps int64) int64 {
	hi, lo := bits.Mul64(uint64(bytes), 8e9)
	if hi >= uint64(bps) {
		return math.MaxInt64
	}
	q, rest := bits.Div64(hi, lo, uint64(bps))
	if rest > 0 {
		q++
	}
	return int64(min(q, math.MaxInt64))
}

// Within reports whether another room is enough for this much.
func (r Room) Within(s Room) bool {
	return r.Memory <= s.Memory && r.VCPUs <= s.VCPUs && r.VMs <= s.VMs
}

// Plus is both rooms together, each resource at most Unlimited.
func (r Room) Plus(s Room) Room {
	return Room{min(r.Memory+s.Memory, Unlimited), min(r.VCPUs+s.VCPUs, Unlimited), min(r.VMs+s.VMs, Unlimited)}
}

// Unevenness is least in sum when all hosts are filled to the same degree.
func (r Room) Unevenness(used int64) float64 {
	return float64(used) / float64(max(r.Memory, 1)) * float64(used)
}
