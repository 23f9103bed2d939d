package source

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

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
