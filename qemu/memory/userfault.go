package memory

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/ram"
)

// The ioctls of userfaultfd(2).
const (
	uffdCopy     = 0xc028aa03 // _IOWR(0xAA, 3, struct uffdio_copy)
	uffdZeropage = 0xc020aa04 // _IOWR(0xAA, 4, struct uffdio_zeropage)
)

type uffdioCopy struct{ dst, src, length, mode, copied uint64 }

type uffdioZeropage struct{ start, length, mode, zeroed uint64 }

// ErrNoUserfault says that no thread of the process waits for pages, nor will.
var ErrNoUserfault = errors.New("has no userfaultfd")

// Userfault is the way to pages that are absent, for whose contents threads of the process wait: in post-copy, QEMU's own. Through the same
// descriptor, pages can be put in place past a QEMU that cannot be reached any more, for it waits for one of them itself.
type Userfault struct {
	m  *Memory
	fd int
}

// Userfault takes the process' userfaultfd. It is ErrNoUserfault where it has none.
func (m *Memory) Userfault() (*Userfault, error) {
	dir := fmt.Sprintf("/proc/%d/fd", m.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("memory of process %d: %w", m.pid, err)
	}
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err != nil || to != "anon_inode:[userfaultfd]" {
			continue
		}
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		fd, err := unix.PidfdGetfd(m.pidfd, n, 0)
		if isRefusal(err) {
			return nil, &AccessError{PID: m.pid, Op: "take its userfaultfd", Err: err}
		}
		if err != nil {
			return nil, fmt.Errorf("memory of process %d: its userfaultfd: %w", m.pid, err)
		}
		return &Userfault{m, fd}, nil
	}
	return nil, fmt.Errorf("memory of process %d: %w", m.pid, errors.Join(ErrNoUserfault, m.Alive()))
}

// Close gives the descriptor back; the process keeps its own.
func (u *Userfault) Close() error { return unix.Close(u.fd) }

// Place puts a page of a block in its place, and wakes who waits for it; data is a page, or nil for one that is all zero. A page that is there
// stays as it is.
func (u *Userfault) Place(block int, page uint32, data []byte) error {
	addr, err := u.m.address(block, page, 1)
	if err != nil {
		return err
	}
	if data == nil {
		z := uffdioZeropage{start: addr, length: ram.PageSize}
		err := u.do(uffdZeropage, unsafe.Pointer(&z), addr)
		if !errors.Is(err, unix.EINVAL) { // which is memory of a kind that has no page of zeros
			return err
		}
		data = zeros[:ram.PageSize]
	}
	if len(data) != ram.PageSize {
		return fmt.Errorf("page of %d bytes: want %d", len(data), ram.PageSize)
	}
	c := uffdioCopy{dst: addr, src: uint64(uintptr(unsafe.Pointer(&data[0]))), length: ram.PageSize}
	return u.do(uffdCopy, unsafe.Pointer(&c), addr)
}

// do does one of the ioctls.
func (u *Userfault) do(request uintptr, arg unsafe.Pointer, addr uint64) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(u.fd), request, uintptr(arg))
		switch errno {
		case 0, unix.EEXIST:
			return nil
		case unix.EAGAIN, unix.EINTR: // its memory map is being changed
			continue
		case unix.ESRCH:
			return fmt.Errorf("memory of process %d: %w", u.m.pid, ErrProcessGone)
		}
		return fmt.Errorf("memory of process %d: page at %#x: %w", u.m.pid, addr, errno)
	}
}

// Present yields the runs of pages of a block that are in memory or swapped out, those that are all zero among them: nobody has to wait for them.
// Where that cannot be told, as for private mappings of files, nothing is yielded.
func (m *Memory) Present(block int, yield func(first, n uint32) error) error {
	return report(m, block, func(v mapping, start, end uint64, add func(start, end uint64) error) error {
		if v.shared {
			return m.seek(v, start, end, add)
		}
		return m.scanEntries(start, end, add)
	}, yield)
}
