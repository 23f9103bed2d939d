//go:build lab

package families

import (
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
)

// More than half of all memory is one page: it has tens of thousands of owners, and crosses the link once.
func TestLabRepeatedPage(t *testing.T) {
	f := boot(t, alike(2, lab.GuestConfig{Memory: 256, Workload: lab.Workload{
		Common: 16, Own: 8, Repeated: 154, Hot: 1, Dirty: 50, Verify: 12000,
	}})...)
	f.evacuate(t)
}

// A tenth of all memory is pages that differ from one page in 8 bytes each: nothing may take them for equal.
func TestLabSimilarPages(t *testing.T) {
	f := boot(t, alike(2, lab.GuestConfig{Memory: 160, Workload: lab.Workload{
		Common: 16, Own: 8, Similar: 16, Hot: 1, Dirty: 50, Verify: 4000,
	}})...)
	f.evacuate(t)
}
