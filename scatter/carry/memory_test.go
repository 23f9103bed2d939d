package carry

import (
	"cmp"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
)

// stretch is how many pages of RAM are mapped at once, so that guests may be larger than this host's memory.
const stretch = 512

// foldedRAM makes RAM whose stretch i is the i-th of as many as fold names: equal numbers are the same memory.
func foldedRAM(fold func(i int) int) func(t *testing.T, pages int) ([]byte, *qemu.Memory) {
	return func(t *testing.T, pages int) ([]byte, *qemu.Memory) {
		t.Helper()
		fd, err := unix.MemfdCreate("ram", 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		b, err := unix.Mmap(-1, 0, pages*model.PageSize, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Munmap(b) })
		const size = stretch * model.PageSize
		for i := range pages / stretch {
			end := int64(fold(i)+1) * size
			if st, err := fileSize(fd); err != nil || st < end && unix.Ftruncate(fd, end) != nil {
				t.Fatal("memory file: ", err)
			}
			at := uintptr(unsafe.Pointer(&b[i*size]))
			if _, _, errno := unix.Syscall6(unix.SYS_MMAP, at, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED, uintptr(fd), uintptr(end-size)); errno != 0 {
				t.Fatal("map: ", errno)
			}
		}
		return b, kit.MemoryOf(t, b)
	}
}

func fileSize(fd int) (int64, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Size, err
}

// bulkShape is what guests hold in a test of memory.
type bulkShape struct {
	host   []int
	pages  int // of each VM
	folds  func(i int) int
	fill   func(page []byte, vm, stretch, i int) // of the page i of a stretch
	before func(d *drill)                        // bulk
	wait   int                                   // for so many VMs; 0 = all
}

// TestInvariant6WhateverGuestsHold: the memory that an evacuation takes is bounded by the number of pages, not by what they hold or
// by how many owners a content has. Each case is measured in a process of its own, which is both source and targets.
func TestInvariant6WhateverGuestsHold(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	same := func(page []byte, _, at, _ int) { kit.Stamp(page, uint64(1+at)) }
	one := func(int) int { return 0 }
	detach := func(d *drill) {
		for h := range d.e.Schedule.Hosts {
			for _, c := range d.e.Schedule.Channels {
				d.e.Tracker.Detach(multicast.ChannelID(c.ID), h, nil, 0)
			}
		}
	}
	for name, s := range map[string]bulkShape{
		"one content of 1,000,000 pages": {host: []int{0}, pages: 1 << 20, folds: one, fill: same},
		"one content of three VMs":       {host: []int{0, 0, 0}, pages: 1 << 17, folds: one, fill: same},
		"contents of 1,024 owners":       {host: []int{0, 0}, pages: 1 << 16, folds: func(i int) int { return i }, fill: same},
		"contents of 16,384 owners":      {host: []int{0}, pages: 1 << 18, folds: func(i int) int { return i / 32 }, fill: same},
		"most of it is one content": {host: []int{0, 0, 0}, pages: 1 << 15, folds: func(i int) int { return max(0, i-38) },
			fill: func(page []byte, vm, at, i int) {
				n := 1
				if at > 0 {
					n += vm<<24 | at<<10 | i
				}
				kit.Stamp(page, uint64(n))
			}},
		"pages that differ in a few bytes": {host: []int{0, 0}, pages: 1 << 16, folds: func(i int) int { return i },
			fill: func(page []byte, vm, at, i int) {
				kit.Stamp(page, 7)
				page[8], page[9], page[10], page[11] = byte(i), byte(i>>8), byte(at), byte(1+vm)
			}},
		"no two pages are equal": {host: []int{0, 0}, pages: 1 << 16, folds: func(i int) int { return i },
			fill: func(page []byte, vm, at, i int) { kit.Stamp(page, uint64(1+vm)<<24|uint64(at)<<10|uint64(i)) }},
		"all of it is in a backlog, equal": {host: []int{0}, pages: 1 << 18, folds: one, fill: same, before: detach},
		"all of it is in a backlog, unequal": {host: []int{0, 0}, pages: 1 << 16, folds: func(i int) int { return i }, before: detach,
			fill: func(page []byte, vm, at, i int) { kit.Stamp(page, uint64(1+vm)<<24|uint64(at)<<10|uint64(i)) }},
		"its target is dead": {host: []int{0, 1}, pages: 1 << 16, folds: func(i int) int { return i },
			fill:   func(page []byte, vm, at, i int) { kit.Stamp(page, uint64(1+vm)<<24|uint64(at)<<10|uint64(i)) },
			before: func(d *drill) { d.sites[1].stop() }, wait: 1},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv(inProcess) == "" {
				inItsOwn(t)
				return
			}
			s.measure(t)
		})
	}
}

const inProcess = "SCATTER_TEST_IN_ITS_OWN_PROCESS"

// inItsOwn runs the test in a process of its own.
func inItsOwn(t *testing.T) {
	t.Helper()
	c := exec.CommandContext(t.Context(), os.Args[0], "-test.timeout=100s", "-test.run=^"+anchored(t.Name())+"$", "-test.v")
	c.Env = append(os.Environ(), inProcess+"=1")
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

func anchored(name string) string {
	return strings.ReplaceAll(name, "/", "$/^")
}

// measure moves what is held and compares the memory that it took with what was promised.
func (s bulkShape) measure(t *testing.T) {
	debug.SetGCPercent(25) // as the command does
	fill := func(src [][]byte, vm int) {
		done := make(map[int]bool)
		for i := range s.pages / stretch {
			if at := s.folds(i); !done[at] {
				done[at] = true
				for p := range stretch {
					s.fill(src[vm][(i*stretch+p)*model.PageSize:][:model.PageSize], vm, at, p)
				}
			}
		}
	}
	peak := watchMemory(t)
	d := openDrillOf(t, shape{pages: s.pages, fill: fill, ram: foldedRAM(s.folds)}, s.host, nil)
	t.Logf("%d MiB after the scan", peak()>>20)
	if s.before != nil {
		s.before(d)
	}
	d.run(all(cmp.Or(s.wait, len(s.host)))...)
	const fixed, target = 150 << 20, 40 << 20
	most := int64(fixed + 24*s.pages*len(s.host) + target*len(d.sites))
	took := peak()
	t.Logf("%d MiB of %d MiB; %d bytes sent for %d of RAM", took>>20, most>>20, d.e.Sender.Stats().Payload, s.pages*len(s.host)*model.PageSize)
	if took > most {
		t.Error("that is more than was promised")
	}
}

// watchMemory tells the most memory that this process has had of the system for its own.
func watchMemory(t *testing.T) (peak func() int64) {
	var mu sync.Mutex
	var most int64
	stop, stopped := make(chan struct{}), make(chan struct{})
	sample := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	look := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		metrics.Read(sample)
		most = max(most, int64(sample[0].Value.Uint64()-sample[1].Value.Uint64()))
		return most
	}
	go func() {
		defer close(stopped)
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-tick.C:
				look()
			case <-stop:
				tick.Stop()
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-stopped })
	return look
}
