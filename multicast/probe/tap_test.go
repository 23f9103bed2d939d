package probe

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/net/bpf"
)

// packet is an IP packet of a protocol with a payload, and with options in its header.
func packet(protocol byte, options int, payload []byte) []byte {
	b := make([]byte, 20+options, 20+options+len(payload))
	b[0] = 4<<4 | byte(len(b)/4)
	b[9] = protocol
	copy(b[12:], []byte{10, 0, 0, 254})
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func udpPacket(options int, payload []byte) []byte {
	return packet(17, options, append(make([]byte, 8), payload...))
}

// TestFilter: the kernel hands us probes and queries, and nothing else.
func TestFilter(t *testing.T) {
	vm, err := bpf.NewVM(filter)
	if err != nil {
		t.Fatal(err)
	}
	probe := key.seal(datagram{Unicast, 1, 100}, before)
	for _, c := range []struct {
		name   string
		packet []byte
		want   bool
	}{
		{"probe", udpPacket(0, probe), true},
		{"probe behind IP options", udpPacket(8, probe), true},
		{"query", packet(2, 4, []byte{igmpQuery, 0, 0, 0, 0, 0, 0, 0}), true},
		{"report", packet(2, 4, []byte{0x22, 0, 0, 0, 0, 0, 0, 0}), false},
		{"other datagram", udpPacket(0, []byte("anything else")), false},
		{"empty datagram", udpPacket(0, nil), false},
		{"TCP", packet(6, 0, append(make([]byte, 8), probe...)), false},
		{"nothing", nil, false},
	} {
		if n, err := vm.Run(c.packet); err != nil || (n > 0) != c.want {
			t.Errorf("%s: %d bytes pass: %v", c.name, n, err)
		}
	}
}

func TestTapTakesPacketsApart(t *testing.T) {
	probe := key.seal(datagram{Stranger, 1, 100}, before)
	var p tap
	seen := 0
	see := func(b []byte) {
		if _, ok := key.open(b, before); ok {
			seen++
		}
	}
	for _, b := range [][]byte{udpPacket(0, probe), udpPacket(8, probe), append(udpPacket(0, probe), 0, 0)} { // Ethernet pads
		p.packet(b, see)
	}
	if seen != 3 {
		t.Errorf("%d probes of 3", seen)
	}
	p.packet(packet(2, 4, []byte{igmpQuery, 0, 0, 0, 0, 0, 0, 0}), see)
	if n, from := p.heard(); n != 1 || from != netip.MustParseAddr("10.0.0.254") {
		t.Errorf("%d queries of %v", n, from)
	}
}

func FuzzTap(f *testing.F) {
	f.Add(udpPacket(0, key.seal(datagram{Stranger, 1, 100}, before)))
	f.Add(packet(2, 4, []byte{igmpQuery}))
	f.Add([]byte{0x4f, 0, 0, 1})
	f.Fuzz(func(_ *testing.T, b []byte) { new(tap).packet(b, func(payload []byte) { key.open(payload, before) }) })
}
