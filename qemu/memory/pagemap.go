package memory

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/ram"
)

// Populated yields the runs of pages of a block that may hold something else than zeros, in order. All other pages read
// as zero. Private anonymous memory is told by its page table; files that are mapped shared, such as a memfd, by their
// holes, which takes CAP_CHECKPOINT_RESTORE; of anything else every page is reported. The error of yield ends the walk
// and is returned.
//
// It is worth the call: reading a page that was never touched is slower than this, and allocates it if it is shared.
func (m *Memory) Populated(block int, yield func(first, n uint32) error) error {
	return report(m, block, m.walk, yield)
}

// walkFunc reports parts of [start, end), which lies in mapping v, in order.
type walkFunc func(v mapping, start, end uint64, add func(start, end uint64) error) error

// report yields what a walk over the mappings of a block reports, in runs of pages.
func report(m *Memory, block int, walk walkFunc, yield func(first, n uint32) error) error {
	if _, err := m.address(block, 0, 0); err != nil {
		return err
	}
	b := &m.blocks[block]
	runs := &runs{base: b.Host, yield: yield}
	for _, v := range b.maps {
		start, end := max(v.start, b.Host), min(v.end, b.Host+b.Length)
		if err := walk(v, start, end, runs.add); err != nil {
			return err
		}
	}
	if err := runs.flush(); err != nil {
		return err
	}
	return m.Alive()
}

// walk reports the parts of [start, end) that may be other than zero; the range lies in mapping v.
func (m *Memory) walk(v mapping, start, end uint64, add func(start, end uint64) error) error {
	switch {
	case !v.file && !v.shared && !m.noScan.Load():
		err := m.scan(start, end, add)
		if !errors.Is(err, errNoScan) {
			return err
		}
		m.noScan.Store(true)
		return m.scanEntries(start, end, add)
	case !v.file && !v.shared:
		return m.scanEntries(start, end, add)
	case v.shared:
		return m.seek(v, start, end, add)
	}
	return add(start, end)
}

// runs turns address ranges into page numbers and joins neighbours.
type runs struct {
	base       uint64 // address of page 0
	start, end uint64 // range not yet yielded
	yield      func(first, n uint32) error
}

func (r *runs) add(start, end uint64) error {
	if start == r.end {
		r.end = end
		return nil
	}
	err := r.flush()
	r.start, r.end = start, end
	return err
}

func (r *runs) flush() error {
	if r.start == r.end {
		return nil
	}
	first, last := (r.start-r.base)/ram.PageSize, (r.end-r.base)/ram.PageSize
	r.start = r.end
	return r.yield(uint32(first), uint32(last-first))
}

// The ioctl PAGEMAP_SCAN, since Linux 6.7.
const (
	pagemapScan    = 0xc0606610 // _IOWR('f', 16, struct pm_scan_arg)
	pageIsPresent  = 1 << 3
	pageIsSwapped  = 1 << 4
	pageIsPFNZero  = 1 << 5
	scanBuffer     = 512     // regions per call
	entriesPerRead = 8 << 10 // page map entries per read of the older interface
)

// errNoScan says that the kernel is too old for PAGEMAP_SCAN.
var errNoScan = errors.New("no PAGEMAP_SCAN")

type pmScanArg struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages         uint64
	categoryInverted, categoryMask, categoryAnyOfMask, returnedMask uint64
}

type pageRegion struct{ start, end, categories uint64 }

// scan asks for pages that are present or swapped out and not the kernel's page of zeros.
func (m *Memory) scan(start, end uint64, add func(start, end uint64) error) error {
	regions := make([]pageRegion, scanBuffer)
	for start < end {
		arg := pmScanArg{
			start: start, end: end, vec: uint64(uintptr(unsafe.Pointer(&regions[0]))), vecLen: scanBuffer,
			categoryInverted: pageIsPFNZero, categoryMask: pageIsPFNZero, categoryAnyOfMask: pageIsPresent | pageIsSwapped,
			returnedMask: pageIsPresent | pageIsSwapped,
		}
		arg.size = uint64(unsafe.Sizeof(arg))
		n, _, errno := unix.Syscall(unix.SYS_IOCTL, m.pagemap.Fd(), pagemapScan, uintptr(unsafe.Pointer(&arg)))
		switch {
		case errno == unix.ENOTTY || errno == unix.EINVAL:
			return errNoScan
		case errno == unix.ESRCH:
			return fmt.Errorf("memory of process %d: %w", m.pid, ErrProcessGone)
		case errno == unix.EINTR:
			continue
		case errno != 0 || int(n) > len(regions) || arg.walkEnd <= start:
			return fmt.Errorf("page map of process %d: at %#x: %w", m.pid, start, errors.Join(errno, io.ErrNoProgress))
		}
		for _, r := range regions[:n] {
			if err := add(r.start, r.end); err != nil {
				return err
			}
		}
		start = arg.walkEnd
	}
	return nil
}

// scanEntries is scan for older kernels: one 64-bit entry per page, bit 63 = present, bit 62 = swapped out.
func (m *Memory) scanEntries(start, end uint64, add func(start, end uint64) error) error {
	buf := make([]byte, entriesPerRead*8)
	for start < end {
		want := min(uint64(len(buf)), (end-start)/ram.PageSize*8)
		n, err := m.pagemap.ReadAt(buf[:want], int64(start/ram.PageSize*8))
		if n < 8 {
			return fmt.Errorf("page map of process %d: at %#x: %w", m.pid, start, errors.Join(err, m.Alive()))
		}
		for e := buf[:n&^7]; len(e) > 0; e, start = e[8:], start+ram.PageSize {
			if binary.NativeEndian.Uint64(e)>>62 == 0 {
				continue
			}
			if err := add(start, start+ram.PageSize); err != nil {
				return err
			}
		}
	}
	return nil
}

// seek reports what is no hole of the mapped file. If the file cannot be opened or has no holes to tell, that is all.
func (m *Memory) seek(v mapping, start, end uint64, add func(start, end uint64) error) error {
	f, err := os.Open(fmt.Sprintf("/proc/%d/map_files/%x-%x", m.pid, v.start, v.end))
	if err != nil {
		return add(start, end)
	}
	defer f.Close()
	at := func(addr uint64, whence int) (uint64, error) {
		off, err := unix.Seek(int(f.Fd()), int64(addr-v.start+v.offset), whence)
		return uint64(off) - v.offset + v.start, err
	}
	for start < end {
		data, err := at(start, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return add(start, end)
		}
		hole, err := at(data, unix.SEEK_HOLE)
		if err != nil || hole <= data {
			return add(start, end)
		}
		if data = data &^ (ram.PageSize - 1); data >= end {
			return nil
		}
		start = min((hole+ram.PageSize-1)&^(ram.PageSize-1), end)
		if err := add(data, start); err != nil {
			return err
		}
	}
	return nil
}

var (
	zeros      [256 << 10]byte
	errNotZero = errors.New("not zero")
	zeroChunk  = uint32(len(zeros) / ram.PageSize)
)

// IsZero tells whether a whole block reads as zero. It reads what is populated, up to the first page that is not zero.
func (m *Memory) IsZero(block int) (bool, error) {
	buf := make([]byte, len(zeros))
	err := m.Populated(block, func(first, n uint32) error {
		for end := first + n; first < end; first += min(zeroChunk, end-first) {
			part := buf[:int(min(zeroChunk, end-first))*ram.PageSize]
			if err := m.ReadPages(block, first, len(part)/ram.PageSize, part); err != nil {
				return err
			}
			if !bytes.Equal(part, zeros[:len(part)]) {
				return errNotZero
			}
		}
		return nil
	})
	if errors.Is(err, errNotZero) {
		return false, nil
	}
	return err == nil, err
}
