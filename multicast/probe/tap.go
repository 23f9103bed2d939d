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

// tap sees the probes and the IGMP queries that an interface takes in, whoever they are for. It needs CAP_NET_RAW.
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
	if err := in(func() error { return t.open(o.Interface) }); err != nil {
		return nil, err
	}
	return t, nil
}

// open makes the socket. It is bound last, so that nothing gets past the filter.
func (t *tap) open(name string) error {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return os.NewSyscallError("packet socket", err)
	}
	if err := configure(fd, ifi.Index); err != nil {
		unix.Close(fd)
		return err
	}
	t.file = os.NewFile(uintptr(fd), "packets of "+name)
	return nil
}

// tapBuffer holds some rounds of jumbo frames.
const tapBuffer = 2 << 20

func configure(fd, ifindex int) error {
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
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_IP), Ifindex: ifindex})))
}

func networkOrder(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

const igmpQuery = 0x11

// filter passes probes and IGMP queries.
var filter = []bpf.Instruction{
	bpf.LoadMemShift{Off: 0}, // X = length of the IP header
	bpf.LoadAbsolute{Off: 9, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_IGMP, SkipTrue: 5},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.IPPROTO_UDP, SkipTrue: 3},
	bpf.LoadIndirect{Off: 8, Size: 4},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: binary.BigEndian.Uint32([]byte(magic)), SkipTrue: 1},
	bpf.RetConstant{Val: maxPacket},
	bpf.RetConstant{Val: 0},
	bpf.LoadIndirect{Off: 0, Size: 1},
	bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: igmpQuery, SkipTrue: 1},
	bpf.RetConstant{Val: maxPacket},
	bpf.RetConstant{Val: 0},
}

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
	if len(b) < 20 || b[0]>>4 != 4 {
		return
	}
	head := int(b[0]&0xf) * 4
	if length := int(binary.BigEndian.Uint16(b[2:])); length <= len(b) {
		b = b[:length]
	}
	if head < 20 || len(b) < head+8 {
		return
	}
	switch b[9] {
	case unix.IPPROTO_UDP:
		see(b[head+8:])
	case unix.IPPROTO_IGMP:
		t.query(netip.AddrFrom4([4]byte(b[12:16])))
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
