package memory

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/ram"
)

// maxIOV is how many pieces the kernel takes in one call.
const maxIOV = 1024

// PageRef is one page: an index into the blocks of a Memory, and the page's number in that block.
type PageRef struct {
	Block uint16
	Page  uint32
}

// Memory is the RAM of a running QEMU, read and written through the kernel. Its methods may be called from many
// goroutines at once. While the guest runs, a page that is read may be torn.
//
// The process is held by a file descriptor and looked at before and after each transfer, so that another process that
// got the same pid is neither taken for QEMU nor written to.
type Memory struct {
	pid     int
	pidfd   int
	blocks  []memoryBlock
	pagemap *os.File
	noScan  atomic.Bool // the kernel has no PAGEMAP_SCAN
}

// memoryBlock is a RAM block with the part of the process' memory map that it occupies.
type memoryBlock struct {
	ram.Block
	maps []mapping
}

// Open opens the memory of a QEMU process. All blocks must lie in its memory map, which blocks of another
// process would not. Blocks without a host address cannot be accessed. The error is an *AccessError if the kernel
// does not allow it.
func Open(pid int, blocks []ram.Block) (*Memory, error) {
	if len(blocks) > ram.MaxBlocks {
		return nil, fmt.Errorf("memory of process %d: %d ram blocks: more than %d", pid, len(blocks), ram.MaxBlocks)
	}
	pidfd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("memory of process %d: pidfd: %w", pid, err)
	}
	m := &Memory{pid: pid, pidfd: pidfd}
	if err := m.open(blocks); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Memory) open(blocks []ram.Block) error {
	all, err := mappings(m.pid)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		maps, ok := covering(all, b)
		if !ok {
			return fmt.Errorf("memory of process %d: ram block %s at %#x is not in its memory map", m.pid, b.ID, b.Host)
		}
		m.blocks = append(m.blocks, memoryBlock{b, maps})
	}
	m.pagemap, err = os.Open(fmt.Sprintf("/proc/%d/pagemap", m.pid))
	if isRefusal(err) {
		return &AccessError{PID: m.pid, Op: "open its page map", Err: err}
	}
	if err != nil {
		return fmt.Errorf("memory of process %d: %w", m.pid, err)
	}
	return m.tryAccess()
}

// tryAccess asks for the byte at address 0, which nobody has: EFAULT means that access is allowed.
func (m *Memory) tryAccess() error {
	var b byte
	_, err := unix.ProcessVMReadv(m.pid, []unix.Iovec{{Base: &b, Len: 1}}, []unix.RemoteIovec{{Base: 0, Len: 1}}, 0)
	if err == nil || errors.Is(err, unix.EFAULT) {
		return nil
	}
	return m.transferError(0, err)
}

// covering returns the mappings that a block occupies; ok means that they cover it without a gap.
func covering(all []mapping, b ram.Block) (maps []mapping, ok bool) {
	at, end := b.Host, b.Host+b.Length
	if b.Host == 0 {
		return nil, true
	}
	for _, m := range all {
		if at < end && m.start <= at && at < m.end && m.readable {
			maps = append(maps, m)
			at = m.end
		}
	}
	return maps, at >= end
}

// Host is the address of a block in the process; 0 = unknown.
func (m *Memory) Host(block int) uint64 { return m.blocks[block].Host }

// Close gives the descriptors back. It must not be called during a transfer.
func (m *Memory) Close() error {
	var err error
	if m.pagemap != nil {
		err = m.pagemap.Close()
	}
	return errors.Join(err, unix.Close(m.pidfd))
}

// Alive is nil while the process lives, and ErrProcessGone afterwards.
func (m *Memory) Alive() error {
	fds := []unix.PollFd{{Fd: int32(m.pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("memory of process %d: %w", m.pid, err)
		case n > 0:
			return fmt.Errorf("memory of process %d: %w", m.pid, ErrProcessGone)
		}
		return nil
	}
}

// ReadPages reads n pages of a block from page first on into dst, which holds n pages.
func (m *Memory) ReadPages(block int, first uint32, n int, dst []byte) error {
	return m.contiguous(unix.ProcessVMReadv, block, first, n, dst)
}

// WritePages writes n pages of a block from page first on out of src, which holds n pages.
func (m *Memory) WritePages(block int, first uint32, n int, src []byte) error {
	return m.contiguous(unix.ProcessVMWritev, block, first, n, src)
}

func (m *Memory) contiguous(do transferFunc, block int, first uint32, n int, buf []byte) error {
	if n < 0 || len(buf) != n*ram.PageSize {
		return fmt.Errorf("memory of process %d: %d pages and %d bytes", m.pid, n, len(buf))
	}
	if n == 0 {
		return nil
	}
	host, err := m.address(block, first, n)
	if err != nil {
		return err
	}
	t := transfers.Get().(*transfer)
	defer t.release()
	t.add(&buf[0], host, len(buf))
	return m.flush(t, do)
}

// Gather reads page refs[i] into dst[i*PageSize:].
func (m *Memory) Gather(refs []PageRef, dst []byte) error {
	if len(dst) != len(refs)*ram.PageSize {
		return fmt.Errorf("memory of process %d: %d pages and %d bytes", m.pid, len(refs), len(dst))
	}
	return m.scattered(unix.ProcessVMReadv, refs, nil, dst)
}

// GatherTo reads page refs[i] into page to[i] of dst, that is into dst[to[i]*PageSize:].
func (m *Memory) GatherTo(refs []PageRef, to []uint32, dst []byte) error {
	if err := m.checkPlaces(refs, to, dst); err != nil {
		return err
	}
	return m.scattered(unix.ProcessVMReadv, refs, to, dst)
}

// Scatter writes src[i*PageSize:] to page refs[i].
func (m *Memory) Scatter(refs []PageRef, src []byte) error {
	if len(src) != len(refs)*ram.PageSize {
		return fmt.Errorf("memory of process %d: %d pages and %d bytes", m.pid, len(refs), len(src))
	}
	return m.scattered(unix.ProcessVMWritev, refs, nil, src)
}

// ScatterFrom writes page from[i] of src, that is src[from[i]*PageSize:], to page refs[i]: one content for many owners.
func (m *Memory) ScatterFrom(refs []PageRef, from []uint32, src []byte) error {
	if err := m.checkPlaces(refs, from, src); err != nil {
		return err
	}
	return m.scattered(unix.ProcessVMWritev, refs, from, src)
}

// checkPlaces checks that every page has its place in buf.
func (m *Memory) checkPlaces(refs []PageRef, places []uint32, buf []byte) error {
	if len(places) != len(refs) {
		return fmt.Errorf("memory of process %d: %d pages with %d places", m.pid, len(refs), len(places))
	}
	for _, p := range places {
		if int(p) >= len(buf)/ram.PageSize {
			return fmt.Errorf("memory of process %d: place %d of %d", m.pid, p, len(buf)/ram.PageSize)
		}
	}
	return nil
}

// scattered moves pages in as few kernel calls as their order allows. Page places[i] of buf belongs to refs[i], page i with
// places == nil.
func (m *Memory) scattered(do transferFunc, refs []PageRef, places []uint32, buf []byte) error {
	t := transfers.Get().(*transfer)
	defer t.release()
	for i, ref := range refs {
		host, err := m.address(int(ref.Block), ref.Page, 1)
		if err != nil {
			return err
		}
		at := i
		if places != nil {
			at = int(places[i])
		}
		if !t.room() {
			if err := m.flush(t, do); err != nil {
				return err
			}
		}
		t.add(&buf[at*ram.PageSize], host, ram.PageSize)
	}
	return m.flush(t, do)
}

// address is where page first of a block lies in the process; n pages from there must be in the block.
func (m *Memory) address(block int, first uint32, n int) (uint64, error) {
	if block < 0 || block >= len(m.blocks) {
		return 0, fmt.Errorf("memory of process %d: ram block %d of %d", m.pid, block, len(m.blocks))
	}
	b := &m.blocks[block]
	if b.Host == 0 {
		return 0, fmt.Errorf("memory of process %d: ram block %s: %w", m.pid, b.ID, ErrNoAddress)
	}
	if uint64(first)+uint64(n) > uint64(b.Pages()) {
		return 0, fmt.Errorf("memory of process %d: ram block %s: page %d + %d of %d", m.pid, b.ID, first, n, b.Pages())
	}
	return b.Host + uint64(first)*ram.PageSize, nil
}

type transferFunc func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, flags uint) (int, error)

// transfer collects the pieces of one kernel call. Neighbours are merged on either side.
type transfer struct {
	local  []unix.Iovec
	remote []unix.RemoteIovec
}

var transfers = sync.Pool{New: func() any {
	return &transfer{local: make([]unix.Iovec, 0, maxIOV), remote: make([]unix.RemoteIovec, 0, maxIOV)}
}}

func (t *transfer) release() {
	clear(t.local[:cap(t.local)]) // let go of the caller's buffer
	t.local, t.remote = t.local[:0], t.remote[:0]
	transfers.Put(t)
}

func (t *transfer) room() bool { return len(t.local) < maxIOV && len(t.remote) < maxIOV }

func (t *transfer) add(local *byte, remote uint64, n int) {
	if k := len(t.local) - 1; k >= 0 && ends(&t.local[k]) == uintptr(unsafe.Pointer(local)) {
		t.local[k].Len += uint64(n)
	} else {
		t.local = append(t.local, unix.Iovec{Base: local, Len: uint64(n)})
	}
	if k := len(t.remote) - 1; k >= 0 && t.remote[k].Base+uintptr(t.remote[k].Len) == uintptr(remote) {
		t.remote[k].Len += n
	} else {
		t.remote = append(t.remote, unix.RemoteIovec{Base: uintptr(remote), Len: n})
	}
}

func ends(v *unix.Iovec) uintptr { return uintptr(unsafe.Pointer(v.Base)) + uintptr(v.Len) }

// flush moves what was collected; the kernel may do it in parts.
func (m *Memory) flush(t *transfer, do transferFunc) error {
	local, remote := t.local, t.remote
	if len(remote) == 0 {
		return nil
	}
	if err := m.Alive(); err != nil {
		return err
	}
	for len(remote) > 0 {
		n, err := do(m.pid, local, remote, 0)
		if err != nil || n == 0 {
			return m.transferError(uint64(remote[0].Base), err)
		}
		local, remote = skipLocal(local, n), skipRemote(remote, n)
	}
	t.local, t.remote = t.local[:0], t.remote[:0]
	return m.Alive()
}

func skipLocal(iov []unix.Iovec, n int) []unix.Iovec {
	for n > 0 && uint64(n) >= iov[0].Len {
		n -= int(iov[0].Len)
		iov = iov[1:]
	}
	if n > 0 {
		iov[0].Base = (*byte)(unsafe.Add(unsafe.Pointer(iov[0].Base), n))
		iov[0].Len -= uint64(n)
	}
	return iov
}

func skipRemote(iov []unix.RemoteIovec, n int) []unix.RemoteIovec {
	for n > 0 && n >= iov[0].Len {
		n -= iov[0].Len
		iov = iov[1:]
	}
	if n > 0 {
		iov[0].Base += uintptr(n)
		iov[0].Len -= n
	}
	return iov
}

func (m *Memory) transferError(addr uint64, err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return &AccessError{PID: m.pid, Op: "reach its memory", Err: err}
	case errors.Is(err, unix.ESRCH):
		return fmt.Errorf("memory of process %d: %w", m.pid, ErrProcessGone)
	case err == nil:
		err = errors.New("nothing moved")
	}
	for _, b := range m.blocks {
		if b.Host != 0 && addr >= b.Host && addr < b.Host+b.Length {
			return fmt.Errorf("memory of process %d: ram block %s page %d: %w", m.pid, b.ID, (addr-b.Host)/ram.PageSize, err)
		}
	}
	return fmt.Errorf("memory of process %d: address %#x: %w", m.pid, addr, err)
}
