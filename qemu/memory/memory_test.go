package memory

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/ram"
)

// The kernel lets a process reach its own memory like that of another; so most of Memory is tested without QEMU.

// region maps pages of this process and describes them as a RAM block.
func region(t testing.TB, id string, pages, flags, fd int) ([]byte, ram.Block) {
	t.Helper()
	b, err := unix.Mmap(fd, 0, pages*ram.PageSize, unix.PROT_READ|unix.PROT_WRITE, flags)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	if err := unix.Madvise(b, unix.MADV_NOHUGEPAGE); err != nil && !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	n := uint64(len(b))
	return b, ram.Block{ID: id, PageSize: ram.PageSize, Length: n, MaxLength: n, Host: uint64(uintptr(unsafe.Pointer(&b[0])))}
}

func anonymous(t testing.TB, id string, pages int) ([]byte, ram.Block) {
	return region(t, id, pages, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS, -1)
}

func own(t testing.TB, blocks ...ram.Block) *Memory {
	t.Helper()
	m, err := Open(os.Getpid(), blocks)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func fill(b []byte, seed uint64) {
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(b)
}

func TestMemoryGatherAndScatter(t *testing.T) {
	a, blockA := anonymous(t, "a", 3000)
	b, blockB := anonymous(t, "b", 500)
	m := own(t, blockA, blockB)
	fill(a, 1)
	fill(b, 2)
	page := func(r PageRef) []byte { return [][]byte{a, b}[r.Block][int(r.Page)*ram.PageSize:][:ram.PageSize] }

	rnd := rand.New(rand.NewPCG(1, 2))
	var refs []PageRef
	for _, i := range rnd.Perm(3000)[:2500] { // more than one call takes
		refs = append(refs, PageRef{0, uint32(i)})
	}
	for i := range 400 { // neighbours
		refs = append(refs, PageRef{1, uint32(50 + i)})
	}
	got := make([]byte, len(refs)*ram.PageSize)
	if err := m.Gather(refs, got); err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		if !bytes.Equal(got[i*ram.PageSize:][:ram.PageSize], page(r)) {
			t.Fatalf("gathered page %d is not %+v", i, r)
		}
	}

	fill(got, 3)
	if err := m.Scatter(refs, got); err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		if !bytes.Equal(got[i*ram.PageSize:][:ram.PageSize], page(r)) {
			t.Fatalf("page %+v is not the scattered %d", r, i)
		}
	}

	to := make([]uint32, len(refs))
	for i, p := range rnd.Perm(len(refs)) {
		to[i] = uint32(p)
	}
	clear(got)
	if err := m.GatherTo(refs, to, got); err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		if !bytes.Equal(got[int(to[i])*ram.PageSize:][:ram.PageSize], page(r)) {
			t.Fatalf("page %+v is not in place %d", r, to[i])
		}
	}

	from := make([]uint32, len(refs))
	for i := range from {
		from[i] = uint32(rnd.IntN(7))
	}
	fill(got, 4)
	if err := m.ScatterFrom(refs, from, got[:7*ram.PageSize]); err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		if !bytes.Equal(got[int(from[i])*ram.PageSize:][:ram.PageSize], page(r)) {
			t.Fatalf("page %+v is not source page %d", r, from[i])
		}
	}
}

func TestMemoryReadAndWritePages(t *testing.T) {
	a, block := anonymous(t, "a", 64)
	m := own(t, block)
	src, dst := make([]byte, 20*ram.PageSize), make([]byte, 20*ram.PageSize)
	fill(src, 1)
	if err := m.WritePages(0, 44, 20, src); err != nil || !bytes.Equal(a[44*ram.PageSize:], src) {
		t.Errorf("write: %v", err)
	}
	if err := m.ReadPages(0, 44, 20, dst); err != nil || !bytes.Equal(dst, src) {
		t.Errorf("read: %v", err)
	}
	if err := m.ReadPages(0, 0, 0, nil); err != nil {
		t.Errorf("nothing: %v", err)
	}
}

func TestMemoryBounds(t *testing.T) {
	_, block := anonymous(t, "a", 8)
	m := own(t, block, ram.Block{ID: "unknown", Length: ram.PageSize, MaxLength: ram.PageSize})
	buf := make([]byte, 2*ram.PageSize)
	for name, err := range map[string]error{
		"block":        m.ReadPages(2, 0, 2, buf),
		"negative":     m.ReadPages(-1, 0, 2, buf),
		"end":          m.ReadPages(0, 7, 2, buf),
		"far":          m.ReadPages(0, 1<<32-1, 2, buf),
		"short buffer": m.ReadPages(0, 0, 3, buf),
		"long buffer":  m.WritePages(0, 0, 1, buf),
		"negative n":   m.ReadPages(0, 0, -1, buf),
		"gather":       m.Gather([]PageRef{{0, 0}}, buf),
		"scatter":      m.Scatter([]PageRef{{0, 0}, {0, 8}}, buf),
		"from":         m.ScatterFrom([]PageRef{{0, 0}}, []uint32{2}, buf),
		"to":           m.GatherTo([]PageRef{{0, 0}}, []uint32{2}, buf),
		"from count":   m.ScatterFrom([]PageRef{{0, 0}}, nil, buf),
		"populated":    m.Populated(5, nil),
	} {
		if err == nil {
			t.Errorf("%s accepted", name)
		}
	}
	if err := m.ReadPages(1, 0, 1, buf[:ram.PageSize]); !errors.Is(err, ErrNoAddress) {
		t.Errorf("block without address: %v", err)
	}
}

// A page that cannot be reached is named, wherever in the vector it is.
func TestMemoryFaultNamesPage(t *testing.T) {
	a, block := anonymous(t, "pc.ram", 64)
	m := own(t, block)
	if err := unix.Mprotect(a[40*ram.PageSize:41*ram.PageSize], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	err := m.ReadPages(0, 0, 64, make([]byte, 64*ram.PageSize))
	if !errors.Is(err, unix.EFAULT) || !strings.Contains(err.Error(), "pc.ram page 40") {
		t.Errorf("error %v", err)
	}
	refs := []PageRef{{0, 3}, {0, 2}, {0, 40}, {0, 1}}
	err = m.Gather(refs, make([]byte, 4*ram.PageSize))
	if !errors.Is(err, unix.EFAULT) || !strings.Contains(err.Error(), "pc.ram page 40") {
		t.Errorf("error %v", err)
	}
}

// The kernel may move less than it was asked to.
func TestMemoryPartialTransfers(t *testing.T) {
	a, block := anonymous(t, "a", 64)
	m := own(t, block)
	fill(a, 1)
	calls := 0
	short := func(pid int, local []unix.Iovec, remote []unix.RemoteIovec, _ uint) (int, error) {
		calls++
		n := 1000 + calls*77
		one := unix.Iovec{Base: local[0].Base, Len: min(local[0].Len, uint64(n), uint64(remote[0].Len))}
		return unix.ProcessVMReadv(pid, []unix.Iovec{one}, []unix.RemoteIovec{{Base: remote[0].Base, Len: int(one.Len)}}, 0)
	}
	refs := []PageRef{{0, 5}, {0, 6}, {0, 63}, {0, 0}, {0, 1}, {0, 9}}
	dst := make([]byte, len(refs)*ram.PageSize)
	if err := m.scattered(short, refs, nil, dst); err != nil {
		t.Fatal(err)
	}
	for i, r := range refs {
		if !bytes.Equal(dst[i*ram.PageSize:][:ram.PageSize], a[int(r.Page)*ram.PageSize:][:ram.PageSize]) {
			t.Errorf("page %d", i)
		}
	}
	nothing := func(int, []unix.Iovec, []unix.RemoteIovec, uint) (int, error) { return 0, nil }
	if err := m.scattered(nothing, refs, nil, dst); err == nil {
		t.Error("no progress: no error")
	}
}

func TestTransferMergesNeighbours(t *testing.T) {
	buf := make([]byte, 8*ram.PageSize)
	var tr transfer
	for _, s := range [][2]int{{0, 10}, {1, 11}, {2, 20}, {4, 21}, {5, 30}} { // local page, remote page
		tr.add(&buf[s[0]*ram.PageSize], uint64(s[1])*ram.PageSize, ram.PageSize)
	}
	var local, remote []int
	for _, v := range tr.local {
		local = append(local, int(v.Len)/ram.PageSize)
	}
	for _, v := range tr.remote {
		remote = append(remote, v.Len/ram.PageSize)
	}
	if !slices.Equal(local, []int{3, 2}) || !slices.Equal(remote, []int{2, 2, 1}) {
		t.Errorf("local %v, remote %v", local, remote)
	}
}

func TestOpenMemoryChecksTheMap(t *testing.T) {
	a, block := anonymous(t, "a", 8)
	elsewhere := block
	elsewhere.Length, elsewhere.MaxLength = 1<<40, 1<<40
	if _, err := Open(os.Getpid(), []ram.Block{elsewhere}); err == nil {
		t.Error("block beyond its mapping accepted")
	}
	if err := unix.Mprotect(a[ram.PageSize:2*ram.PageSize], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(os.Getpid(), []ram.Block{block}); err == nil {
		t.Error("unreadable block accepted")
	}
	if _, err := Open(1<<30, nil); err == nil {
		t.Error("no process accepted")
	}
}

// A process that ended is noticed before and after its pid is used again.
func TestMemoryProcessGone(t *testing.T) {
	cmd := exec.Command("/bin/sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	maps, err := mappings(cmd.Process.Pid)
	for err == nil && len(maps) == 0 {
		maps, err = mappings(cmd.Process.Pid)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := Open(cmd.Process.Pid, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	a, block := anonymous(t, "a", 8)
	m.blocks = own(t, block).blocks
	m.pid = os.Getpid() // as if our pid were the dead one's, used again
	if err := m.Alive(); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for name, err := range map[string]error{
		"alive": m.Alive(), "read": m.ReadPages(0, 0, 1, make([]byte, ram.PageSize)), "write": m.WritePages(0, 0, 1, bytes.Repeat([]byte{1}, ram.PageSize)),
		"populated": m.Populated(0, func(uint32, uint32) error { return nil }),
	} {
		if !errors.Is(err, ErrProcessGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if a[0] != 0 {
		t.Error("another process was written to")
	}
}

func populated(t testing.TB, m *Memory, block int) [][2]uint32 {
	t.Helper()
	var runs [][2]uint32
	if err := m.Populated(block, func(first, n uint32) error { runs = append(runs, [2]uint32{first, n}); return nil }); err != nil {
		t.Fatal(err)
	}
	return runs
}

func isZero(t testing.TB, m *Memory, block int) bool {
	t.Helper()
	z, err := m.IsZero(block)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func TestPopulatedAnonymous(t *testing.T) {
	a, block := anonymous(t, "a", 20000)
	m := own(t, block)
	if runs := populated(t, m, 0); runs != nil || !isZero(t, m, 0) {
		t.Errorf("fresh memory: %v", runs)
	}
	if err := m.ReadPages(0, 5, 2, make([]byte, 2*ram.PageSize)); err != nil { // reading maps the page of zeros
		t.Fatal(err)
	}
	for _, p := range []int{0, 7, 8, 9, 15000, 19999} {
		a[p*ram.PageSize+1] = 0
	}
	want := [][2]uint32{{0, 1}, {7, 3}, {15000, 1}, {19999, 1}}
	runs := populated(t, m, 0)
	if len(runs) > 1 && runs[1] == [2]uint32{5, 5} { // some kernels give memory of its own to whoever only reads
		runs[1] = want[1]
	}
	if !slices.Equal(runs, want) || m.noScan.Load() {
		t.Errorf("touched memory: %v, want %v (no PAGEMAP_SCAN: %v)", runs, want, m.noScan.Load())
	}
	if !isZero(t, m, 0) {
		t.Error("touched memory is not zero")
	}
	a[19999*ram.PageSize+4095] = 1
	if isZero(t, m, 0) {
		t.Error("changed memory is zero")
	}
}

// Without PAGEMAP_SCAN the page of zeros cannot be told from others; nothing else may differ.
func TestPopulatedFallback(t *testing.T) {
	a, block := anonymous(t, "a", 20000)
	m := own(t, block)
	m.noScan.Store(true)
	for _, p := range []int{0, 8191, 8192, 19999} {
		a[p*ram.PageSize] = 1
	}
	want := [][2]uint32{{0, 1}, {8191, 2}, {19999, 1}}
	if runs := populated(t, m, 0); !slices.Equal(runs, want) {
		t.Errorf("runs %v, want %v", runs, want)
	}
}

// More runs than one call of the kernel returns.
func TestPopulatedManyRuns(t *testing.T) {
	a, block := anonymous(t, "a", 8*scanBuffer)
	m := own(t, block)
	for p := 0; p < 8*scanBuffer; p += 2 {
		a[p*ram.PageSize] = 1
	}
	if runs := populated(t, m, 0); len(runs) != 4*scanBuffer || runs[len(runs)-1] != [2]uint32{8*scanBuffer - 2, 1} {
		t.Errorf("%d runs", len(runs))
	}
	stop := errors.New("enough")
	calls := 0
	err := m.Populated(0, func(uint32, uint32) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("error %v after %d calls", err, calls)
	}
}

func TestPopulatedSharedFile(t *testing.T) {
	fd, err := unix.MemfdCreate("guest", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Ftruncate(fd, 3000*ram.PageSize); err != nil {
		t.Fatal(err)
	}
	_, block := region(t, "shared", 3000, unix.MAP_SHARED, fd)
	m := own(t, block)
	if runs := populated(t, m, 0); runs != nil {
		t.Errorf("fresh file: %v", runs)
	}
	for _, p := range []int64{3, 4, 2999} { // written by somebody who has the file: not in our page table
		if _, err := unix.Pwrite(fd, []byte{1}, p*ram.PageSize+7); err != nil {
			t.Fatal(err)
		}
	}
	runs := populated(t, m, 0)
	if want := [][2]uint32{{3, 2}, {2999, 1}}; !slices.Equal(runs, want) {
		t.Errorf("runs %v, want %v", runs, want)
	}
	if isZero(t, m, 0) {
		t.Error("written file is zero")
	}
}

// What a private mapping of a file shows is in the file, not in the page table.
func TestPopulatedPrivateFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "ram")
	content := bytes.Repeat([]byte{0}, 16*ram.PageSize)
	content[9*ram.PageSize] = 1
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, block := region(t, "private", 16, unix.MAP_PRIVATE, int(f.Fd()))
	m := own(t, block)
	if runs := populated(t, m, 0); !slices.Equal(runs, [][2]uint32{{0, 16}}) || isZero(t, m, 0) {
		t.Errorf("runs %v", runs)
	}
}

// A block may consist of several mappings.
func TestPopulatedAcrossMappings(t *testing.T) {
	a, block := anonymous(t, "a", 64)
	if err := unix.Madvise(a[16*ram.PageSize:32*ram.PageSize], unix.MADV_DONTFORK); err != nil {
		t.Fatal(err)
	}
	m := own(t, block)
	if n := len(m.blocks[0].maps); n < 3 {
		t.Fatalf("%d mappings", n)
	}
	for p := 10; p < 40; p++ {
		a[p*ram.PageSize] = 1
	}
	if runs := populated(t, m, 0); !slices.Equal(runs, [][2]uint32{{10, 30}}) {
		t.Errorf("runs %v", runs)
	}
}

// Without the right to trace, the error says what is missing. Root gives the right up in a thread of its own; others
// look at the first process, which is root's.
func TestMemoryAccessRefused(t *testing.T) {
	pid := 1
	if os.Getuid() == 0 {
		cmd := exec.Command("/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		pid = cmd.Process.Pid
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := dropPtrace(); err != nil {
			errs <- err
			return
		}
		_, err := Open(pid, nil)
		errs <- err
	}()
	err := <-errs
	e, ok := errors.AsType[*AccessError](err)
	if !ok || e.PID != pid || !strings.Contains(err.Error(), "CAP_SYS_PTRACE") {
		t.Errorf("error %v", err)
	}
}

// dropPtrace takes CAP_SYS_PTRACE from the calling thread.
func dropPtrace() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&head, &caps[0]); err != nil {
		return fmt.Errorf("capget: %w", err)
	}
	caps[0].Effective &^= 1 << unix.CAP_SYS_PTRACE
	caps[0].Permitted &^= 1 << unix.CAP_SYS_PTRACE
	return unix.Capset(&head, &caps[0])
}

func BenchmarkReadPages(b *testing.B) {
	a, block := anonymous(b, "a", 16384)
	m := own(b, block)
	fill(a, 1)
	dst := make([]byte, 256<<10)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	n, at := len(dst)/ram.PageSize, uint32(0)
	for b.Loop() {
		if err := m.ReadPages(0, at, n, dst); err != nil {
			b.Fatal(err)
		}
		at = (at + uint32(n)) % 16384
	}
}

func BenchmarkGather(b *testing.B) {
	a, block := anonymous(b, "a", 16384)
	m := own(b, block)
	fill(a, 1)
	refs := make([]PageRef, 1024)
	for i, p := range rand.New(rand.NewPCG(1, 1)).Perm(16384)[:1024] {
		refs[i] = PageRef{0, uint32(p)}
	}
	dst := make([]byte, len(refs)*ram.PageSize)
	b.SetBytes(int64(len(dst)))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Gather(refs, dst); err != nil {
			b.Fatal(err)
		}
	}
}
