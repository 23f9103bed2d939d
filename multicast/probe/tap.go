package probe

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/multicast/udp"
)

// tap sees the probes and the queries of IGMP or MLD that an interface takes in, whoever they are for. It needs CAP_NET_RAW.
type tap struct {
	file *os.File // a packet socket

	mu      sync.Mutex // guards what follows
	queries int
	querier netip.Addr
}

func openTap(o udp.Options) (*tap, error) {
	t := &tap{}
	in := o.In
	if in == nil {
		in = func(open func() error) error { return open() }
	}
	if err := in(func() error { return t.open(o.Interface, o.Local.Is4()) }); err != nil {
		return nil, err
	}
	return t, nil
}

// open makes the socket. It is bound last, so that nothing gets past the filter.
func (t *tap) open(name string, v4 bool) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("packet socket", err)
	}
	if err := configure(fd, ifi.Index, v4); err != nil {
		unix.Close(fd)
		return err
	}
	t.file = os.NewFile(uintptr(fd), "packets of "+name)
	return nil
}

// tapBuffer holds some rounds of jumbo frames.
const tapBuffer = 2 << 20

func configure(fd, ifindex int, v4 bool) error {
	filter, protocol := filter4, uint16(unix.ETH_P_IP)
	if !v4 {
		filter, protocol = filter6, unix.ETH_P_IPV6
	}
	program, err := bpf.Assemble(filter)
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(program))
	for i, p := range program {
		raw[i] = unix.SockFilter{Code: p.Op, Jt: p.Jt, Jf: p.Jf, K: p.K}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, tapBuffer) // as much as the system gives will do
	}
	all := unix.PacketMreq{Ifindex: int32(ifindex), Type: unix.PACKET_MR_ALLMULTI}
	return errors.Join(
		os.NewSyscallError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(raw)), Filter: unsafe.SliceData(raw)})),
		os.NewSyscallError("take in all multicast", unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &all)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(protocol), Ifindex: ifindex})))
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// Types of queries, and where things are in packets. Those of MLD have the one option that asks routers to look at them.
const (
	igmpQuery = 0x11
	mldQuery  = 130
	head6     = 40
	options6  = 8
)

// filter4 and filter6 pass probes and queries.
var (
	filter4 = []bpf.Instruction{
		bpf.LoadMemShift{Off: 0}, // X = length of the IP header
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_IGMP, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
		bpf.LoadIndirect{Off: 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: magicNumber, SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: igmpQuery, SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
	}
	filter6 = []bpf.Instruction{
		bpf.LoadAbsolute{Off: 6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_HOPOPTS, SkipTrue: 5},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
		bpf.LoadAbsolute{Off: head6 + 8, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: magicNumber, SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
		bpf.LoadAbsolute{Off: head6 + options6, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: mldQuery, SkipTrue: 1},
		bpf.RetConstant{Val: maxPacket},
		bpf.RetConstant{Val: 0},
	}
	magicNumber = binary.BigEndian.Uint32([]byte(magic))
)

// read hands the payloads of probes to see until the tap is closed.
func (t *tap) read(see func(payload []byte)) {
	b := make([]byte, maxPacket)
	for {
		n, err := t.file.Read(b)
		if errors.Is(err, unix.ENETDOWN) {
			continue // told once
		}
		if err != nil {
			return
		}
		t.packet(b[:n], see)
	}
}

// packet takes a packet apart, which anybody may have made.
func (t *tap) packet(b []byte, see func(payload []byte)) {
	switch {
	case len(b) >= 20 && b[0]>>4 == 4:
		t.packet4(b, see)
	case len(b) >= head6 && b[0]>>4 == 6:
		t.packet6(b, see)
	}
}

func (t *tap) packet4(b []byte, see func(payload []byte)) {
	head := int(b[0]&0xf) * 4
	b = b[:min(len(b), int(binary.BigEndian.Uint16(b[2:])))] // Ethernet pads
	if head < 20 || len(b) < head+8 {
		return
	}
	switch {
	case b[9] == unix.IPPROTO_UDP:
		see(b[head+8:])
	case b[9] == unix.IPPROTO_IGMP && b[head] == igmpQuery:
		t.query(netip.AddrFrom4([4]byte(b[12:16])))
	}
}

func (t *tap) packet6(b []byte, see func(payload []byte)) {
	b = b[:min(len(b), head6+int(binary.BigEndian.Uint16(b[4:])))]
	if len(b) < head6+options6+1 {
		return
	}
	switch {
	case b[6] == unix.IPPROTO_UDP:
		see(b[head6+8:])
	case b[6] == unix.IPPROTO_HOPOPTS && b[head6] == unix.IPPROTO_ICMPV6 && b[head6+options6] == mldQuery:
		t.query(netip.AddrFrom16([16]byte(b[8:24])))
	}
}

func (t *tap) query(from netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.queries++
	t.querier = from
}

func (t *tap) heard() (int, netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.queries, t.querier
}

func (t *tap) close() { t.file.Close() }
