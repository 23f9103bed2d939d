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

// ErrFull says that a socket has joined as many groups as the system lets it.
var ErrFull = errors.New("socket is a member of as many groups as the system allows")

const (
	messages    = 8       // received with one system call
	messageSize = 1 << 16 // the largest that the kernel joins
	controlSize = 64
)

// Receiver is a socket that datagrams arrive at. Wait and Each are for one goroutine, the rest for any.
type Receiver struct {
	conn     *net.UDPConn
	raw      syscall.RawConn
	ifi      *net.Interface
	member   membership
	overflow atomic.Uint32
	merges   bool

	headers []unix.Mmsghdr
	vectors []unix.Iovec
	buffers []byte
	control []byte
	read    func(fd uintptr) bool
	n       int
	errno   syscall.Errno
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
	bind := netip.AddrPortFrom(o.Local, 0)
	if port != 0 {
		bind = netip.AddrPortFrom(netip.IPv6Unspecified(), port)
		if o.Local.Is4() {
			bind = netip.AddrPortFrom(netip.IPv4Unspecified(), port)
		}
	}
	if r.conn, err = listen(bind, port != 0); err != nil {
		return err
	}
	r.member = memberships(r.conn, o.Local.Is4())
	if err := r.configure(o); err != nil {
		r.conn.Close()
		return err
	}
	return nil
}

func (r *Receiver) configure(o Options) (err error) {
	if r.raw, err = r.conn.SyscallConn(); err != nil {
		return err
	}
	level, all := unix.IPPROTO_IP, unix.IP_MULTICAST_ALL
	if !o.Local.Is4() {
		level, all = unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL
	}
	if err := setInt(r.raw, level, all, 0); err != nil {
		return err
	}
	if err := buffer(r.raw, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, receiveBuffer); err != nil {
		return err
	}
	if !o.Plain {
		r.merges = setInt(r.raw, unix.SOL_UDP, unix.UDP_GRO, 1) == nil // without it datagrams come one by one
	}
	return setInt(r.raw, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1)
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
	r.read = r.recvmmsg
}

// recvmmsg is called by the runtime when the socket may be readable; false: wait.
func (r *Receiver) recvmmsg(fd uintptr) bool {
	for i := range r.headers {
		r.headers[i].Hdr.SetControllen(controlSize)
	}
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.headers[0])), messages,
		unix.MSG_DONTWAIT, 0, 0)
	r.n, r.errno = int(n), errno
	return errno != unix.EAGAIN && errno != unix.EINTR
}

// Wait waits for datagrams and reads as many as one system call gives. After Close the error is net.ErrClosed.
func (r *Receiver) Wait() error {
	r.n = 0
	if err := r.raw.Read(r.read); err != nil {
		return err
	}
	if r.errno != 0 {
		return os.NewSyscallError("recvmmsg", r.errno)
	}
	return nil
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
func (r *Receiver) Buffer() int {
	n, err := getInt(r.raw, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return 0
	}
	return n / 2 // the kernel counts its own bookkeeping
}

// Addr is where the socket is bound.
func (r *Receiver) Addr() netip.AddrPort {
	return r.conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// Join joins a group: for datagrams of source only, or of any source when that is zero. ErrFull: use another socket.
func (r *Receiver) Join(group, source netip.Addr) error {
	var err error
	if source.IsValid() {
		err = r.member.JoinSourceSpecificGroup(r.ifi, udpAddr(group), udpAddr(source))
	} else {
		err = r.member.JoinGroup(r.ifi, udpAddr(group))
	}
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) {
		return ErrFull
	}
	return err
}

// Leave takes back what Join did with the same arguments.
func (r *Receiver) Leave(group, source netip.Addr) error {
	if source.IsValid() {
		return r.member.LeaveSourceSpecificGroup(r.ifi, udpAddr(group), udpAddr(source))
	}
	return r.member.LeaveGroup(r.ifi, udpAddr(group))
}

func udpAddr(a netip.Addr) net.Addr { return net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, 0)) }

// Close closes the socket, which leaves its groups; a Wait under way returns net.ErrClosed.
func (r *Receiver) Close() error { return r.conn.Close() }
