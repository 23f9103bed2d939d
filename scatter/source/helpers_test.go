package source

import (
	"runtime"
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// heap is the memory in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// found is a real VM, discovered.
func found(t *testing.T, args ...string) *VM {
	t.Helper()
	v, err := DiscoverVM(t.Context(), 0, kit.RealVM(t, "vm", args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}
