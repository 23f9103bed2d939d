package carry

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
)

// pairedPages are a VM's, of which two are always equal.
const pairedPages = 4096

// forwardingDrill is one whose bulk can be asked to send contents before others, and takes some seconds.
func forwardingDrill(t *testing.T, host []int) *drill {
	t.Helper()
	fill := func(src [][]byte, vm int) { // the first half is everybody's
		for i := range pairedPages {
			n := 1 + i/2
			if i >= pairedPages/2 {
				n += (1 + vm) << 20
			}
			kit.Stamp(src[vm][i*model.PageSize:][:model.PageSize], uint64(n))
		}
	}
	d := openDrillOf(t, shape{pages: pairedPages, fill: fill}, host, func(c *source.Config) { c.Rate, c.NoCompress = 10<<20, true })
	d.e.Share()
	return d
}

// page is one of a VM's.
func (d *drill) page(vm, i int) dedup.Page {
	return d.e.Layout.First(d.e.VMs[vm].Regions) + dedup.Page(i)
}

// TestForwardedContentsComeFirst: what is asked for is there before what the plan has long before it, and nothing crosses twice.
func TestForwardedContentsComeFirst(t *testing.T) {
	host := []int{0, 0, 0}
	d := forwardingDrill(t, host)
	const last = 200 // pages, which the plan has last
	var wanted []dedup.Page
	for i := pairedPages - last; i < pairedPages; i++ {
		wanted = append(wanted, d.page(2, i))
	}
	d.e.Ahead.Forward(wanted)
	d.e.Ahead.Forward(wanted) // they are not sent again
	var looking sync.WaitGroup
	looking.Go(func() {
		for !d.same(2, pairedPages-last, pairedPages) {
			if system.Pause(t.Context(), time.Millisecond) != nil {
				return
			}
		}
		if d.same(1, 0, pairedPages) {
			t.Error("what the plan has before that is there as well")
		}
	})
	d.run(all(len(host))...)
	looking.Wait()
	for vm := range host {
		if !bytes.Equal(d.src[vm], d.dst[vm]) {
			t.Errorf("vm %d differs", vm)
		}
	}
	if placed, _ := d.e.Tracker.Progress(); placed != d.e.Schedule.Bytes {
		t.Errorf("%d bytes placed, not %d", placed, d.e.Schedule.Bytes)
	}
}

// same tells whether a VM's pages from one to another are at its target.
func (d *drill) same(vm, from, to int) bool {
	return bytes.Equal(d.src[vm][from*model.PageSize:to*model.PageSize], d.dst[vm][from*model.PageSize:to*model.PageSize])
}

// TestClaimedPagesAreNotSent, neither in their turn nor when they are asked for; their equals are.
func TestClaimedPagesAreNotSent(t *testing.T) {
	host := []int{0, 0}
	d := forwardingDrill(t, host)
	const shared, own = 4, pairedPages - 7
	for _, i := range []int{shared, own} {
		if p := d.page(0, i); !d.e.Claims.Claim(p) || d.e.Claims.Claim(p) {
			t.Fatalf("page %d is claimed by nobody, or by two", p)
		}
	}
	d.e.Ahead.Forward([]dedup.Page{d.page(0, shared), d.page(1, shared)})
	d.run(all(len(host))...)
	for i, want := range map[int]bool{shared: false, own: false, shared + 1: true, own - 1: true} {
		if got := d.e.Held.Sent(d.page(0, i)); got != want {
			t.Errorf("page %d was sent: %t", i, got)
		}
	}
	if !d.e.Held.Sent(d.page(1, shared)) || !bytes.Equal(d.src[1], d.dst[1]) {
		t.Error("the other VM lacks pages")
	}
}
