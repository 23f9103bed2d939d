// Package udp is the socket layer of the multicast: one sender socket for groups and unicast, and receiver sockets
// that join groups, both with the kernel's segmentation offloads where it has them. One system call then moves up to
// 64 KiB of datagrams, which on virtual and on real links is worth a factor of ten to twenty-five.
//
// The offloads are probed when a socket is opened. A sender whose interface turns out not to checksum segments falls
// back to sendmmsg for good; a receiver without UDP_GRO gets its datagrams one by one in batches of recvmmsg.
package udp

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// MaxBurst is the most bytes that one Send takes, and the most that the kernel joins into one message.
	MaxBurst = 65000
	// MaxSegments is the most datagrams in a burst.
	MaxSegments = 64

	defaultTTL    = 16
	receiveBuffer = 16 << 20
	sendBuffer    = 1 << 20
)

// Options say where sockets are opened.
type Options struct {
	Interface string     // name; groups are sent and joined on it
	Local     netip.Addr // address of the interface to bind to; zero: its first one
	TTL       int        // of multicast datagrams; 0 = 16
	DSCP      int        // of datagrams sent, 0 to 63 (RFC 2474)
	Ports     [2]uint16  // of which a receiver's unicast socket takes one, first and last; zero: any
	Plain     bool       // without offloads
	// In runs its argument, which opens sockets, where they belong: in another network namespace, say. nil: here.
	In func(open func() error) error
}

func (o Options) in(open func() error) error {
	if o.In == nil {
		return open()
	}
	return o.In(open)
}

// resolve finds the interface and the local address.
func (o *Options) resolve() (*net.Interface, error) {
	ifi, err := net.InterfaceByName(o.Interface)
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", o.Interface, err)
	}
	if o.Local.IsValid() {
		return ifi, nil
	}
	addrs, err := ifi.Addrs()
	if err != nil {
		return nil, fmt.Errorf("interface %q: %w", o.Interface, err)
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			o.Local = prefix.Addr()
			return ifi, nil
		}
	}
	return nil, fmt.Errorf("interface %q: no address", o.Interface)
}

// Headers is the bytes that Ethernet, IP and UDP put before a datagram's payload.
func Headers(addr netip.Addr) int {
	if addr.Is4() {
		return 14 + 20 + 8
	}
	return 14 + 40 + 8
}

// listen opens a socket bound to addr and sets what every socket here has.
func listen(addr netip.AddrPort, reuse bool) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		if !reuse {
			return nil
		}
		return setInt(c, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}}
	conn, err := lc.ListenPacket(context.Background(), network(addr.Addr()), addr.String())
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}

func network(addr netip.Addr) string {
	if addr.Is4() {
		return "udp4"
	}
	return "udp6"
}

func setInt(c syscall.RawConn, level, option, value int) error {
	var set error
	if err := c.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, value) }); err != nil {
		return err
	}
	return os.NewSyscallError("setsockopt", set)
}

func getInt(c syscall.RawConn, level, option int) (value int, err error) {
	var get error
	if err := c.Control(func(fd uintptr) { value, get = unix.GetsockoptInt(int(fd), level, option) }); err != nil {
		return 0, err
	}
	return value, os.NewSyscallError("getsockopt", get)
}

// buffer asks for a socket buffer beyond the system's limit, and for as much as the limit when that is not allowed.
func buffer(c syscall.RawConn, force, plain, size int) error {
	if setInt(c, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	return setInt(c, unix.SOL_SOCKET, plain, size)
}
