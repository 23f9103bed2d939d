package kit

import (
	"math/rand/v2"
	"os"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/model"
)

// OwnRAM is a RAM block in this process, with which it is read and written as that of a QEMU is.
func OwnRAM(t *testing.T, pages int) ([]byte, *qemu.Memory) {
	t.Helper()
	b, err := unix.Mmap(-1, 0, pages*model.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b, MemoryOf(t, b)
}

// MemoryOf makes a RAM block of memory of this process.
func MemoryOf(t *testing.T, b []byte) *qemu.Memory {
	t.Helper()
	length := uint64(len(b))
	m, err := qemu.OpenMemory(os.Getpid(), []qemu.RAMBlock{{ID: "pc.ram", PageSize: model.PageSize, Length: length, MaxLength: length,
		Host: uint64(uintptr(unsafe.Pointer(&b[0]))), Migratable: true}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// Stamp fills a page with bytes that depend on n; 0 for zeros.
func Stamp(page []byte, n uint64) {
	if n == 0 {
		clear(page)
		return
	}
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24), byte(n >> 32)}).Read(page[:model.PageSize/2])
}
