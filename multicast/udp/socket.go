package udp

import (
	"net"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// socket is a descriptor that one goroutine blocks on, and that any may close.
type socket struct {
	fd      int
	closing atomic.Bool
	inUse   sync.RWMutex // held by whoever needs fd to be open, and looks at closing first
}

// detach gives a descriptor of the connection's socket, of which the runtime's poller knows nothing once the connection is closed.
func detach(conn *net.UDPConn) (fd int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dup error
	if err := raw.Control(func(old uintptr) { fd, dup = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dup != nil {
		return -1, os.NewSyscallError("fcntl", dup)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

// close ends what blocks on the socket, and closes it.
func (s *socket) close() error {
	if s.closing.Swap(true) {
		return net.ErrClosed
	}
	_ = unix.Shutdown(s.fd, unix.SHUT_RDWR) // wakes who waits, and says that the socket is not connected
	s.inUse.Lock()
	defer s.inUse.Unlock()
	return os.NewSyscallError("close", unix.Close(s.fd))
}
