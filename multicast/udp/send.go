package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sender sends bursts of equal datagrams. Send is for one goroutine; Close may be called from any.
//
// The socket blocks: the runtime's poller would be woken by each burst that leaves, only to find that nobody waits.
type Sender struct {
	socket
	local    netip.Addr
	mtu      int
	segment  bool // UDP_SEGMENT works
	control  []byte
	fallback atomic.Bool

	to      netip.AddrPort
	name    [unix.SizeofSockaddrInet6]byte // of to, as the kernel wants it
	headers []unix.Mmsghdr
	vectors []unix.Iovec
}

// NewSender opens the socket from which everything is sent.
func NewSender(o Options) (*Sender, error) {
	s := &Sender{}
	if err := o.in(func() error { return s.open(o) }); err != nil {
		return nil, fmt.Errorf("multicast sender: %w", err)
	}
	return s, nil
}

func (s *Sender) open(o Options) error {
	ifi, err := o.resolve()
	if err != nil {
		return err
	}
	conn, err := listen(netip.AddrPortFrom(o.Local, 0), false)
	if err != nil {
		return err
	}
	defer conn.Close()
	s.local, s.mtu = o.Local, ifi.MTU
	if err := s.configure(conn, o, ifi); err != nil {
		return err
	}
	s.allocate()
	s.fd, err = detach(conn)
	return err
}

func (s *Sender) configure(conn *net.UDPConn, o Options, ifi *net.Interface) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := s.outgoing(raw, ifi); err != nil {
		return err
	}
	if err := errors.Join(s.hops(raw, o.TTL), s.class(raw, o.DSCP)); err != nil {
		return err
	}
	if err := buffer(raw, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, sendBuffer); err != nil {
		return err
	}
	if _, err := getInt(raw, unix.SOL_UDP, unix.UDP_SEGMENT); err == nil && !o.Plain {
		s.segment = true
		s.control = segmentControl()
	}
	return nil
}

// outgoing has datagrams to groups leave by the interface.
func (s *Sender) outgoing(raw syscall.RawConn, ifi *net.Interface) error {
	if !s.local.Is4() {
		return setInt(raw, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, ifi.Index)
	}
	var set error
	err := raw.Control(func(fd uintptr) {
		set = unix.SetsockoptIPMreqn(int(fd), unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(ifi.Index)})
	})
	return errors.Join(err, os.NewSyscallError("setsockopt", set))
}

// hops sets the reach of multicast, and "don't fragment" whatever the kernel believes of the path: a path too narrow
// for full datagrams shall fail the probes, not cut datagrams up.
func (s *Sender) hops(raw syscall.RawConn, ttl int) error {
	if ttl == 0 {
		ttl = defaultTTL
	}
	if s.local.Is4() {
		return errors.Join(
			setInt(raw, unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl),
			setInt(raw, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE))
	}
	return errors.Join(
		setInt(raw, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ttl),
		setInt(raw, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE))
}

// class marks datagrams for switches that treat classes differently. The two bits below it are those of ECN.
func (s *Sender) class(raw syscall.RawConn, dscp int) error {
	switch {
	case dscp == 0:
		return nil
	case s.local.Is4():
		return setInt(raw, unix.IPPROTO_IP, unix.IP_TOS, dscp<<2)
	}
	return setInt(raw, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, dscp<<2)
}

func (s *Sender) allocate() {
	s.headers = make([]unix.Mmsghdr, MaxSegments)
	s.vectors = make([]unix.Iovec, MaxSegments)
	length := uint32(unix.SizeofSockaddrInet4)
	if !s.local.Is4() {
		length = unix.SizeofSockaddrInet6
	}
	for i := range s.headers {
		h := &s.headers[i].Hdr
		h.Name, h.Namelen = &s.name[0], length
		h.Iov = &s.vectors[i]
		h.SetIovlen(1)
	}
}

// MTU is the interface's, in bytes.
func (s *Sender) MTU() int { return s.mtu }

// Local is the address that datagrams come from.
func (s *Sender) Local() netip.Addr { return s.local }

// Segments tells whether the kernel cuts bursts into datagrams, at the cost of one system call for each burst.
func (s *Sender) Segments() bool { return s.segment && !s.fallback.Load() }

// Send sends b as datagrams of size bytes, the last of which may be shorter. At most MaxBurst bytes and MaxSegments
// datagrams. joint: the system may cut them out of the burst, where it can. An error means that some of them have not left; after Close it is net.ErrClosed.
func (s *Sender) Send(to netip.AddrPort, b []byte, size int, joint bool) error {
	if to.Addr().Is4() != s.local.Is4() {
		return fmt.Errorf("%v cannot be reached from %v", to, s.local)
	}
	s.inUse.RLock()
	defer s.inUse.RUnlock()
	s.address(to)
	if joint && s.Segments() && len(b) > size {
		binary.NativeEndian.PutUint16(s.control[unix.CmsgLen(0):], uint16(size))
		err := s.messages(b, len(b), s.control)
		if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EINVAL) {
			return err
		}
		// The interface cannot checksum segments: EIO, and EINVAL of older kernels. Or the address is at fault, which this shows.
		if err := s.messages(b, size, nil); err != nil {
			return err
		}
		s.fallback.Store(true)
		return nil
	}
	return s.messages(b, size, nil)
}

// address names the destination to the kernel.
func (s *Sender) address(to netip.AddrPort) {
	if to == s.to {
		return
	}
	s.to = to
	a := socketAddressOf(to.Addr())
	binary.BigEndian.PutUint16(a.bytes[2:], to.Port())
	copy(s.name[:], a.bytes[:])
}

// messages sends b in messages of size bytes with one system call, or few.
func (s *Sender) messages(b []byte, size int, control []byte) error {
	n := 0
	for ; len(b) > 0; n++ {
		cut := min(size, len(b))
		s.vectors[n].Base = &b[0]
		s.vectors[n].SetLen(cut)
		s.headers[n].Hdr.Control = unsafe.SliceData(control)
		s.headers[n].Hdr.SetControllen(len(control))
		b = b[cut:]
	}
	for done := 0; done < n; {
		if s.closing.Load() {
			return net.ErrClosed
		}
		sent, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&s.headers[done])), uintptr(n-done), 0, 0, 0)
		switch errno {
		case 0:
			done += int(sent)
		case unix.EINTR:
		default:
			return os.NewSyscallError("sendmmsg", errno)
		}
	}
	return nil
}

// Close closes the socket; a Send under way returns net.ErrClosed.
func (s *Sender) Close() error { return s.close() }

// segmentControl is the control message that carries the segment size; its value is written before each use.
func segmentControl() []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	return b
}
