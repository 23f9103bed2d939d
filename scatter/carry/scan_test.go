package carry

import (
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/source"
)

// TestLookAgain: of a VM that writes little, a part is looked at again, and what is hot is estimated; of one that writes much, all.
func TestLookAgain(t *testing.T) {
	const pages = 1024
	d := openDrillOf(t, shape{pages: pages, fill: func(src [][]byte, vm int) {
		for i := range pages {
			kit.Stamp(src[vm][i*model.PageSize:][:model.PageSize], uint64(i+(vm+1)<<20))
		}
	}}, []int{0, 0}, nil)
	clear(d.e.Hot)
	clear(d.e.PagesOf)
	first, err := dedup.Scan(t.Context(), d.e.Reader(), d.e.Layout, d.e.Seed, dedup.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	write := func(vm, page int) { kit.Stamp(d.src[vm][page*model.PageSize:][:model.PageSize], uint64(page+5<<30)) }
	write(0, source.LookEvery*dedup.StripePages+3) // in a stripe that is looked at again
	write(0, dedup.StripePages)                    // in one that is not
	for i := range 100 {
		write(1, i*pages/100)
	}
	second, _, err := d.e.LookAgain(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	d.e.CountPages(first, second)
	for vm, want := range []struct{ seen, estimate int64 }{{1, source.LookEvery}, {100, 100}} {
		if seen, estimate := d.e.PagesOf[vm].Hot, d.e.Hot[vm]; seen != want.seen || estimate != want.estimate {
			t.Errorf("VM %d: %d pages seen to be hot, %d estimated; want %d and %d", vm, seen, estimate, want.seen, want.estimate)
		}
	}
}
