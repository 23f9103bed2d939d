package outlet

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
			a, _, err := New(0).GroupsFor([8]byte{0, 0, 0, 0, 0, 0, 7, byte(i)}, netip.Addr{}, most)
			if err != nil {
				t.Fatal(err)
			}
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

// TestOutletIsShared: evacuations that are under way at one time have addresses of their own.
func TestOutletIsShared(t *testing.T) {
	o := New(1 << 20)
	id := [8]byte{7}
	taken := make(map[netip.Addr]bool)
	var last func()
	for range 5 {
		a, release, err := o.GroupsFor(id, netip.Addr{}, 64)
		if err != nil || taken[a] {
			t.Fatalf("%s, %v, taken %v", a, err, taken)
		}
		taken[a], last = true, release
	}
	last()
	if a, _, err := o.GroupsFor(id, netip.Addr{}, 64); err != nil || !taken[a] {
		t.Errorf("after one has ended: %s, %v", a, err)
	}
	end := netip.MustParseAddr("239.255.255.255")
	if _, _, err := o.GroupsFor(id, end, 1); err != nil {
		t.Error(err)
	}
	if a, _, err := o.GroupsFor(id, end, 1); err == nil {
		t.Errorf("behind the last address: %s", a)
	}
	six := netip.MustParseAddr("ff08::1")
	for _, want := range []string{"ff08::1", "ff08::41"} {
		if a, _, err := o.GroupsFor(id, six, 64); err != nil || a != netip.MustParseAddr(want) {
			t.Errorf("%s, %v, want %s", a, err, want)
		}
	}
}
