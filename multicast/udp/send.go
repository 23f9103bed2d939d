package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// Sender sends bursts of equal datagrams. Send is for one goroutine; Close may be called from any.
type Sender struct {
	conn    *net.UDPConn
	local   netip.Addr
	mtu     int
	segment bool // UDP_SEGMENT works
	control []byte
	batch   interface {
		WriteBatch([]ipv4.Message, int) (int, error)
	}
	messages []ipv4.Message
	to       netip.AddrPort
	address  net.UDPAddr // of to: what WriteBatch wants
	fallback atomic.Bool
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
	if s.conn, err = listen(netip.AddrPortFrom(o.Local, 0), false); err != nil {
		return err
	}
	s.local, s.mtu = o.Local, ifi.MTU
	if err := s.configure(o, ifi); err != nil {
		s.conn.Close()
		return err
	}
	return nil
}

func (s *Sender) configure(o Options, ifi *net.Interface) error {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return err
	}
	if err := s.batching(ifi); err != nil {
		return err
	}
	if err := s.hops(raw, o.TTL); err != nil {
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

// batching prepares for batches of datagrams, and has those to groups leave by the interface.
func (s *Sender) batching(ifi *net.Interface) error {
	s.messages = make([]ipv4.Message, MaxSegments)
	for i := range s.messages {
		s.messages[i].Buffers = make([][]byte, 1)
		s.messages[i].Addr = &s.address
	}
	if s.local.Is4() {
		c := ipv4.NewPacketConn(s.conn)
		s.batch = c
		return c.SetMulticastInterface(ifi)
	}
	c := ipv6.NewPacketConn(s.conn)
	s.batch = c
	return c.SetMulticastInterface(ifi)
}

// MTU is the interface's, in bytes.
func (s *Sender) MTU() int { return s.mtu }

// Local is the address that datagrams come from.
func (s *Sender) Local() netip.Addr { return s.local }

// Segments tells whether the kernel cuts bursts into datagrams, at the cost of one system call for each burst.
func (s *Sender) Segments() bool { return s.segment && !s.fallback.Load() }

// Send sends b as datagrams of size bytes, the last of which may be shorter. At most MaxBurst bytes and MaxSegments
// datagrams. An error means that some of them have not left.
func (s *Sender) Send(to netip.AddrPort, b []byte, size int) error {
	if s.Segments() && len(b) > size {
		binary.NativeEndian.PutUint16(s.control[unix.CmsgLen(0):], uint16(size))
		_, _, err := s.conn.WriteMsgUDPAddrPort(b, s.control, to)
		if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EINVAL) {
			return err
		}
		s.fallback.Store(true) // the interface cannot checksum segments: EIO. Older kernels say EINVAL.
	}
	return s.each(to, b, size)
}

// each sends datagram by datagram, many with one system call.
func (s *Sender) each(to netip.AddrPort, b []byte, size int) error {
	if len(b) <= size {
		_, err := s.conn.WriteToUDPAddrPort(b, to)
		return err
	}
	if to != s.to {
		s.to, s.address = to, *net.UDPAddrFromAddrPort(to)
	}
	n := 0
	for ; len(b) > 0; n++ {
		cut := min(size, len(b))
		s.messages[n].Buffers[0], b = b[:cut], b[cut:]
	}
	for done := 0; done < n; {
		sent, err := s.batch.WriteBatch(s.messages[done:n], 0)
		if err != nil {
			return err
		}
		done += sent
	}
	return nil
}

// Close closes the socket; a Send under way returns net.ErrClosed.
func (s *Sender) Close() error { return s.conn.Close() }

// segmentControl is the control message that carries the segment size; its value is written before each use.
func segmentControl() []byte {
	b := make([]byte, unix.CmsgSpace(2))
	binary.NativeEndian.PutUint64(b, uint64(unix.CmsgLen(2)))
	binary.NativeEndian.PutUint32(b[8:], unix.SOL_UDP)
	binary.NativeEndian.PutUint32(b[12:], unix.UDP_SEGMENT)
	return b
}
