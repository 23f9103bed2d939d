package memory

import (
	"bytes"
	"errors"
	"os"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watched has a range of our own memory be waited for.
func watched(t *testing.T, mem []byte) {
	t.Helper()
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		t.Fatal("userfaultfd:", errno)
	}
	t.Cleanup(func() { unix.Close(int(fd)) })
	api := [3]uint64{0xaa}
	reg := [4]uint64{uint64(uintptr(unsafe.Pointer(&mem[0]))), uint64(len(mem)), 1} // missing pages
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, 0xc018aa3f, uintptr(unsafe.Pointer(&api))); errno != 0 {
		t.Fatal("UFFDIO_API:", errno)
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, 0xc020aa00, uintptr(unsafe.Pointer(&reg))); errno != 0 {
		t.Fatal("UFFDIO_REGISTER:", errno)
	}
}

// TestUserfaultPlacesWhatIsWaitedFor: a thread that waits for a page goes on when another process' hand has put it there, pages that were there stay
// as they were, and those that are there can be told from those that are not.
func TestUserfaultPlacesWhatIsWaitedFor(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // a collection would wait for whoever waits for a page
	mem, b := anonymous(t, "ram", 16)
	mem[3*4096] = 7
	if mem[4*4096] != 0 || mem[5*4096] != 0 { // they are the kernel's page of zeros now
		t.Fatal("memory that nobody has written is not zero")
	}
	watched(t, mem)
	m := own(t, b)
	present := pagesOf(t, m)
	if !slices.Equal(present, []uint32{3, 4, 5}) {
		t.Fatalf("there are %v", present)
	}
	u, err := m.Userfault()
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	var got atomic.Uint32
	go func() { got.Store(uint32(mem[9*4096]) + 1) }()
	time.Sleep(20 * time.Millisecond)
	if got.Load() != 0 {
		t.Fatal("nobody waits for page 9")
	}
	page := bytes.Repeat([]byte{41}, 4096)
	if err := errors.Join(u.Place(0, 9, page), u.Place(0, 3, page), u.Place(0, 0, nil)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); got.Load() != 42 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if got.Load() != 42 || mem[3*4096] != 7 || mem[0] != 0 {
		t.Errorf("page 9 has %d, page 3 %d", got.Load(), mem[3*4096])
	}
	if present = pagesOf(t, m); !slices.Equal(present, []uint32{0, 3, 4, 5, 9}) {
		t.Errorf("there are %v", present)
	}
	if u.Place(0, 16, page) == nil || u.Place(0, 1, page[:5]) == nil {
		t.Error("a page outside of the block is placed, or a part of one")
	}
}

// pagesOf are the pages of block 0 that are there.
func pagesOf(t *testing.T, m *Memory) (all []uint32) {
	t.Helper()
	if err := m.Present(0, func(first, n uint32) error {
		for i := range n {
			all = append(all, first+i)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// TestNoUserfault: a process without one is told from one that is out of reach.
func TestNoUserfault(t *testing.T) {
	_, b := anonymous(t, "ram", 1)
	if _, err := own(t, b).Userfault(); !errors.Is(err, ErrNoUserfault) {
		t.Errorf("%v, of process %d", err, os.Getpid())
	}
}
