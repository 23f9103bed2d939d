package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socketAddress is struct sockaddr_storage, which is aligned like a pointer.
type socketAddress struct {
	_     [0]uintptr
	bytes [128]byte
}

// groupRequest is struct group_source_req, of which struct group_req is the part before source.
type groupRequest struct {
	index  uint32
	group  socketAddress
	source socketAddress
}

// membership joins or leaves a group, by one option for any source and another for one.
func (r *Receiver) membership(group, source netip.Addr, any, one int) error {
	q := groupRequest{index: uint32(r.ifi.Index), group: socketAddressOf(group)}
	option, size := any, unsafe.Offsetof(q.source)
	if source.IsValid() {
		q.source = socketAddressOf(source)
		option, size = one, unsafe.Sizeof(q)
	}
	level := unix.IPPROTO_IP
	if !group.Is4() {
		level = unix.IPPROTO_IPV6
	}
	r.inUse.RLock()
	defer r.inUse.RUnlock()
	if r.closing.Load() {
		return net.ErrClosed
	}
	b := unsafe.Slice((*byte)(unsafe.Pointer(&q)), size)
	return os.NewSyscallError("setsockopt", unix.SetsockoptString(r.fd, level, option, string(b)))
}

func socketAddressOf(a netip.Addr) (s socketAddress) {
	if a.Is4() {
		binary.NativeEndian.PutUint16(s.bytes[:], unix.AF_INET)
		copy(s.bytes[4:], a.AsSlice()) // behind family and port
		return s
	}
	binary.NativeEndian.PutUint16(s.bytes[:], unix.AF_INET6)
	copy(s.bytes[8:], a.AsSlice()) // behind family, port and flow
	return s
}
