// Package probe finds out what a network does with datagrams on their way to a target: which paths reach it, with
// packets of which size, and what reaches it that should not.
//
// The source asks the target, over a secret path of the caller's, to listen with a fresh Key. Then it sends Rounds: one
// datagram for each Path and packet size, and a burst of full ones. A Listener at the target counts those that its sockets hear and, where it may,
// those that pass its interface, so that what the network drops can be told from what the target itself drops.
//
//	offset  size
//	0       4     "scpb"
//	4       1     path
//	5       1     round, 0 to 63
//	6       2     length of the IP packet, big-endian
//	8       16    HMAC-SHA256 of the eight bytes above, cut short
//	24      ...   zeros
//
// Each round of a path and size counts once, so neither forged nor repeated datagrams count.
package probe

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/udp"
)

// Path is a way on which datagrams travel to a target.
type Path uint8

// The paths. Nobody joins the group of Stranger: a switch that knows who listens keeps it from the target.
const (
	Stranger       Path = iota // a group that the target does not join
	SourceSpecific             // a group that it joins for the source only (IGMPv3)
	AnySource                  // a group that it joins for any source
	Unicast                    // its own address
	Bursts                     // its own address, by full packets that the source's system cuts out of bursts
	Paths
)

// Key authenticates the datagrams of one listener.
type Key [32]byte

// MaxRounds is how many rounds a listener tells apart.
const MaxRounds = 64

const (
	magic    = "scpb"
	header   = 8
	tag      = 16
	smallest = header + tag
)

// datagram is what one of them says.
type datagram struct {
	path   Path
	round  int
	packet int // bytes of the IP packet
}

// headers is the bytes of an IP packet before the payload.
func headers(local netip.Addr) int { return udp.Headers(local) - 14 }

// seal makes the datagram; before is the bytes of the packet before it.
func (k *Key) seal(d datagram, before int) []byte {
	b := make([]byte, d.packet-before)
	copy(b, magic)
	b[4], b[5] = byte(d.path), byte(d.round)
	binary.BigEndian.PutUint16(b[6:], uint16(d.packet))
	copy(b[header:], k.sum(b[:header]))
	return b
}

// open reads a datagram that is ours.
func (k *Key) open(b []byte, before int) (d datagram, ok bool) {
	if len(b) < smallest || string(b[:4]) != magic {
		return d, false
	}
	d = datagram{Path(b[4]), int(b[5]), int(binary.BigEndian.Uint16(b[6:]))}
	if d.path >= Paths || d.round >= MaxRounds || d.packet != len(b)+before {
		return d, false
	}
	return d, hmac.Equal(b[header:smallest], k.sum(b[:header]))
}

func (k *Key) sum(b []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write(b)
	return h.Sum(nil)[:tag]
}

// common are the MTUs that are met in networks: what a tunnel, a modem or a switch without jumbo frames leaves.
var common = []int{576, 1280, 1400, 1420, 1450, 1480, 1492, 1500, 2000, 4000, 8000, 8950, 9000}

// maxPacket is more than any switch takes.
const maxPacket = 9216

// Packets are the sizes of IP packets, ascending, to be tried where the interface has the given MTU; the last is the largest.
func Packets(mtu int) []int {
	mtu = min(mtu, maxPacket)
	n, _ := slices.BinarySearch(common, mtu)
	return append(slices.Clone(common[:n]), mtu)
}
