package source

import (
	"net/netip"
	"testing"

	"github.com/scatter-vm/scatter/scatter/inspect"
)

// TestOwnGroups: two evacuations use other groups, all of them of the range that is said.
func TestOwnGroups(t *testing.T) {
	within := netip.MustParsePrefix("239.77.0.0/16")
	seen := make(map[netip.Addr]bool)
	for i := range 200 {
		for _, most := range []int{0, 1, 64, 65, 4096} {
			a := ownGroups([8]byte{0, 0, 0, 0, 0, 0, 7, byte(i)}, most)
			if last := inspect.GroupAt(a, max(most, 64)-1); !within.Contains(a) || !within.Contains(last) {
				t.Errorf("groups from %s to %s", a, last)
			}
			if most == 64 {
				seen[a] = true
			}
		}
	}
	if len(seen) < 100 {
		t.Errorf("%d evacuations have %d beginnings", 200, len(seen))
	}
}
