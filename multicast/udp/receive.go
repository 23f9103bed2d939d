package udp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrFull says that a socket has joined as many groups as the system lets it.
var ErrFull = errors.New("socket is a member of as many groups as the system allows")

const (
	messages    = 8       // received with one system call
	messageSize = 1 << 16 // the largest that the kernel joins
	controlSize = 64
	// gather is how long datagrams may come together once the socket has been emptied. Where they come fast, one wake-up then serves several
	// bursts; where they come slowly, it is nothing beside what a burst takes of the link.
	gather = 300 * time.Microsecond
)

// Receiver is a socket that datagrams arrive at. Wait and Each are for one goroutine, the rest for any.
//
// The socket blocks, and Wait with it takes a thread: by the runtime's poller each burst would pay for a round of epoll, a read in vain
// and two changes of goroutine, which is more than it costs to read it.
type Receiver struct {
	socket
	addr     netip.AddrPort
	ifi      *net.Interface
	overflow atomic.Uint32
	merges   bool
	granted  int // bytes, with the kernel's bookkeeping; 0 = not known

	headers []unix.Mmsghdr
	vectors []unix.Iovec
	buffers []byte
	control []byte
	n       int
}

// NewReceiver opens a socket for unicast: port 0 of the local address.
func NewReceiver(o Options) (*Receiver, error) { return newReceiver(o, 0) }

// NewGroupReceiver opens a socket for groups on the given port. It hears only groups that it has itself joined.
func NewGroupReceiver(o Options, port uint16) (*Receiver, error) { return newReceiver(o, port) }

func newReceiver(o Options, port uint16) (*Receiver, error) {
	r := &Receiver{}
	if err := o.in(func() error { return r.open(o, port) }); err != nil {
		return nil, fmt.Errorf("multicast receiver: %w", err)
	}
	r.allocate()
	return r, nil
}

func (r *Receiver) open(o Options, port uint16) (err error) {
	if r.ifi, err = o.resolve(); err != nil {
		return err
	}
	conn, err := o.bind(port)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.configure(conn, o); err != nil {
		return err
	}
	r.addr = conn.LocalAddr().(*net.UDPAddr).AddrPort()
	r.fd, err = detach(conn)
	return err
}

// bind opens the socket for groups at a port, or with port 0 the one for unicast.
func (o Options) bind(port uint16) (conn *net.UDPConn, err error) {
	switch {
	case port != 0 && o.Local.Is4():
		return listen(netip.AddrPortFrom(netip.IPv4Unspecified(), port), true)
	case port != 0:
		return listen(netip.AddrPortFrom(netip.IPv6Unspecified(), port), true)
	}
	for p := uint32(o.Ports[0]); p <= uint32(o.Ports[1]); p++ {
		if conn, err = listen(netip.AddrPortFrom(o.Local, uint16(p)), false); !errors.Is(err, unix.EADDRINUSE) {
			return conn, err
		}
	}
	if err != nil {
		err = fmt.Errorf("all UDP ports from %d to %d are in use: %w", o.Ports[0], o.Ports[1], err)
	}
	return conn, err
}

func (r *Receiver) configure(conn *net.UDPConn, o Options) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, all := unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
	if !o.Local.Is4() {
		level, all = unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL
	}
	if err := setInt(raw, level, all, 0); err != nil {
		return err
	}
	if err := buffer(raw, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer); err != nil {
		return err
	}
	r.granted, _ = getInt(raw, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if !o.Plain {
		r.merges = setInt(raw, unix.SOL_UDP, unix.UDP_GRO, 1) == nil // without it datagrams come one by one
	}
	return setInt(raw, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
}

func (r *Receiver) allocate() {
	r.buffers = make([]byte, messages*messageSize)
	r.control = make([]byte, messages*controlSize)
	r.headers = make([]unix.Mmsghdr, messages)
	r.vectors = make([]unix.Iovec, messages)
	for i := range r.headers {
		r.vectors[i].Base = &r.buffers[i*messageSize]
		r.vectors[i].SetLen(messageSize)
		r.headers[i].Hdr.Iov = &r.vectors[i]
		r.headers[i].Hdr.SetIovlen(1)
		r.headers[i].Hdr.Control = &r.control[i*controlSize]
	}
}

// Wait waits for datagrams and reads as many as one system call gives, or none. After Close the error is net.ErrClosed.
func (r *Receiver) Wait() error {
	if r.n > 0 && r.n < messages {
		_ = unix.Nanosleep(&unix.Timespec{Nsec: gather.Nanoseconds()}, nil) // ends early at a signal, which does no harm
	}
	r.n = 0
	r.inUse.RLock()
	defer r.inUse.RUnlock()
	if r.closing.Load() {
		return net.ErrClosed
	}
	n, errno := r.recvmmsg()
	switch {
	case r.closing.Load():
		return net.ErrClosed
	case errno == unix.EINTR:
		return nil
	case errno != 0:
		return os.NewSyscallError("recvmmsg", errno)
	}
	r.n = n
	return nil
}

// recvmmsg waits for one message and takes what else is there.
func (r *Receiver) recvmmsg() (n int, errno unix.Errno) {
	for i := range r.headers {
		r.headers[i].Hdr.SetControllen(controlSize)
	}
	got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&r.headers[0])), messages,
		unix.MSG_WAITFORONE, 0, 0)
	return int(got), errno
}

// Each hands the datagrams that Wait read to take, which borrows them for the call.
func (r *Receiver) Each(take func(datagram []byte)) {
	for i := range r.n {
		r.split(i, take)
	}
}

// split takes a message that the kernel has joined from many datagrams apart.
func (r *Receiver) split(i int, take func([]byte)) {
	b := r.buffers[i*messageSize : i*messageSize+int(r.headers[i].Len)]
	size := r.controls(r.control[i*controlSize : i*controlSize+int(r.headers[i].Hdr.Controllen)])
	if size == 0 {
		size = max(len(b), 1)
	}
	for len(b) > size {
		take(b[:size])
		b = b[size:]
	}
	take(b)
}

// controls reads the size of the joined datagrams, 0 if there is only one, and the count of dropped ones.
func (r *Receiver) controls(b []byte) (size int) {
	const header = unix.SizeofCmsghdr
	for len(b) >= header+4 {
		length := int(binary.NativeEndian.Uint64(b))
		level, kind := binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
		if length < header+4 || length > len(b) {
			return size
		}
		value := binary.NativeEndian.Uint32(b[header:])
		switch {
		case level == unix.SOL_UDP && kind == unix.UDP_GRO:
			size = int(value)
		case level == unix.SOL_SOCKET && kind == unix.SO_RXQ_OVFL:
			r.overflow.Store(value)
		}
		b = b[min(len(b), unix.CmsgSpace(length-header)):]
	}
	return size
}

// Overflow is how many datagrams the kernel has dropped because the socket's buffer was full.
func (r *Receiver) Overflow() uint32 { return r.overflow.Load() }

// Merges tells whether the system hands over datagrams merged (UDP_GRO).
func (r *Receiver) Merges() bool { return r.merges }

// Buffer is the bytes that the system grants the socket for datagrams that wait; 0 = not known.
func (r *Receiver) Buffer() int { return r.granted / 2 } // the kernel counts its own bookkeeping

// Addr is where the socket is bound.
func (r *Receiver) Addr() netip.AddrPort { return r.addr }

// Join joins a group: for datagrams of source only, or of any source when that is zero. ErrFull: use another socket.
func (r *Receiver) Join(group, source netip.Addr) error {
	err := r.membership(group, source, unix.MCAST_JOIN_GROUP, unix.MCAST_JOIN_SOURCE_GROUP)
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return ErrFull
	}
	return err
}

// Leave takes back what Join did with the same arguments.
func (r *Receiver) Leave(group, source netip.Addr) error {
	return r.membership(group, source, unix.MCAST_LEAVE_GROUP, unix.MCAST_LEAVE_SOURCE_GROUP)
}

// Close closes the socket, which leaves its groups; a Wait under way returns net.ErrClosed.
func (r *Receiver) Close() error { return r.close() }
