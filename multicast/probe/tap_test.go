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

// packet6 is the same of IPv6.
func packet6(protocol byte, payload []byte) []byte {
	b := make([]byte, head6, head6+len(payload))
	b[0], b[6] = 6<<4, protocol
	copy(b[8:24], netip.MustParseAddr("fe80::254").AsSlice())
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	return append(b, payload...)
}

func query6(kind byte) []byte {
	return packet6(0, append([]byte{58, 0, 5, 2, 0, 0, 1, 0, kind}, make([]byte, 23)...))
}

// TestFilters: the kernel hands us probes and queries, and nothing else.
func TestFilters(t *testing.T) {
	probe := key.seal(datagram{Unicast, 1, 100}, before)
	behind := append(make([]byte, 8), probe...)
	for _, c := range []struct {
		name   string
		filter []bpf.Instruction
		packet []byte
		want   bool
	}{
		{"probe", filter4, udpPacket(0, probe), true},
		{"probe behind IP options", filter4, udpPacket(8, probe), true},
		{"query", filter4, packet(2, 4, []byte{igmpQuery, 0, 0, 0, 0, 0, 0, 0}), true},
		{"report", filter4, packet(2, 4, []byte{0x22, 0, 0, 0, 0, 0, 0, 0}), false},
		{"other datagram", filter4, udpPacket(0, []byte("anything else")), false},
		{"empty datagram", filter4, udpPacket(0, nil), false},
		{"TCP", filter4, packet(6, 0, behind), false},
		{"nothing", filter4, nil, false},
		{"probe of IPv6", filter6, packet6(17, behind), true},
		{"query of IPv6", filter6, query6(mldQuery), true},
		{"report of IPv6", filter6, query6(143), false},
		{"other datagram of IPv6", filter6, packet6(17, []byte("8 bytes anything else")), false},
		{"empty datagram of IPv6", filter6, packet6(17, make([]byte, 8)), false},
		{"TCP of IPv6", filter6, packet6(6, behind), false},
		{"nothing of IPv6", filter6, nil, false},
	} {
		vm, err := bpf.NewVM(c.filter)
		if err != nil {
			t.Fatal(err)
		}
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
	of6 := packet6(17, append(make([]byte, 8), probe...))
	packets := [][]byte{udpPacket(0, probe), udpPacket(8, probe), append(udpPacket(0, probe), 0, 0), of6, append(of6, 0)} // Ethernet pads
	for _, b := range packets {
		p.packet(b, see)
	}
	if seen != len(packets) {
		t.Errorf("%d probes of %d", seen, len(packets))
	}
	for i, c := range []struct {
		packet []byte
		from   string
	}{{packet(2, 4, []byte{igmpQuery, 0, 0, 0, 0, 0, 0, 0}), "10.0.0.254"}, {query6(mldQuery), "fe80::254"}} {
		p.packet(c.packet, see)
		if n, from := p.heard(); n != i+1 || from != netip.MustParseAddr(c.from) {
			t.Errorf("%d queries, the last of %v", n, from)
		}
	}
	p.packet(query6(143), see)
	p.packet(packet(2, 4, []byte{0x22, 0, 0, 0, 0, 0, 0, 0}), see)
	if n, _ := p.heard(); n != 2 {
		t.Error("a report is no query")
	}
}

func FuzzTap(f *testing.F) {
	f.Add(udpPacket(0, key.seal(datagram{Stranger, 1, 100}, before)))
	f.Add(packet(2, 4, []byte{igmpQuery}))
	f.Add([]byte{0x4f, 0, 0, 1})
	f.Add(query6(mldQuery))
	f.Add([]byte{0x60, 0, 0, 0, 0xff, 0xff, 17})
	f.Fuzz(func(_ *testing.T, b []byte) { new(tap).packet(b, func(payload []byte) { key.open(payload, before) }) })
}
