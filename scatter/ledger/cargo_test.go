package ledger

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/dedup"
)

// TestSplitLosesNothing: a host's part has exactly its pages, each content's together and in their order, and its VMs; those of others
// stay with the cargo, whose bytes and pages are those of before.
func TestSplitLosesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const vms, pages, hosts = 4, 10, 2
		var regions []dedup.Region
		for vm := range vms {
			regions = append(regions, dedup.Region{VM: vm, Pages: pages})
		}
		layout, err := dedup.NewLayout(regions)
		if err != nil {
			t.Fatal(err)
		}
		r := routes{[]int{0, 1, 0, 1}, layout}
		c := Cargo{Bytes: 77}
		var want [][]dedup.Page // contents of host 0
		for range rapid.IntRange(0, 8).Draw(t, "contents") {
			var own []dedup.Page
			for range rapid.IntRange(1, 5).Draw(t, "owners") {
				p := layout.First(rapid.IntRange(0, vms-1).Draw(t, "vm")) + dedup.Page(rapid.IntRange(0, pages-1).Draw(t, "page"))
				c.count(layout.VM(p))
				if c.Owners = append(c.Owners, p); r.of(p) == 0 {
					own = append(own, p)
				}
			}
			c.Ends = append(c.Ends, uint16(len(c.Owners)))
			if len(own) > 0 {
				want = append(want, own)
			}
		}
		before := c.Clone()
		p := c.split(0, r)
		start := uint16(0)
		for i, end := range p.Ends {
			if i >= len(want) || !slices.Equal(p.Owners[start:end], want[i]) {
				t.Fatalf("content %d: %v, want %v", i, p.Owners[start:end], want)
			}
			start = end
		}
		if len(p.Ends) != len(want) || int(start) != len(p.Owners) || cap(p.Owners) != len(p.Owners) {
			t.Fatalf("%d contents, not %d; %d of %d owners, room for %d", len(p.Ends), len(want), start, len(p.Owners), cap(p.Owners))
		}
		if c.Bytes != before.Bytes || !slices.Equal(c.Owners, before.Owners) || len(p.vms)+len(c.vms) != len(before.vms) {
			t.Fatalf("%+v of %+v, split off %+v", c, before, p)
		}
		for i, vm := range before.vms {
			at := slices.Index(c.vms, vm)
			if (r.host[vm] == 0) != slices.Contains(p.vms, vm) || (r.host[vm] == 0) != (at < 0) || at >= 0 && c.pages[at] != before.pages[i] {
				t.Fatalf("vm %d: %+v of %+v, split off %+v", vm, c, before, p)
			}
		}
	})
}
