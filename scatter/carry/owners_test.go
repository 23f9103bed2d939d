package carry

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// repeated gives VMs pages of contents that each have so many owners, in all VMs together.
func repeated(owners int) func(src [][]byte, vm int) {
	return func(src [][]byte, vm int) {
		for i := range len(src[vm]) / model.PageSize {
			kit.Stamp(src[vm][i*model.PageSize:], uint64(1+(vm*len(src[vm])/model.PageSize+i)/owners))
		}
	}
}

// TestContentsOfAnyNumberOfOwners: no number of owners of a content keeps any page from being sent, and the bytes of a content are
// repeated for each block that names owners of it, not more often.
func TestContentsOfAnyNumberOfOwners(t *testing.T) {
	const vms, pages = 2, 9 << 10
	all := []int{1, 1025, 16385, vms * pages, 2, 61, 62, 63, 1023, 1024, 2047, 16383, 16384}
	if testing.Short() {
		all = all[:4]
	}
	for _, owners := range all {
		t.Run(fmt.Sprint(owners), func(t *testing.T) {
			d := openDrillOf(t, shape{pages: pages, fill: repeated(owners)}, []int{0, 0}, nil)
			d.run(0, 1)
			if held := d.agree(0, 1); held != vms*pages {
				t.Errorf("%d of %d pages are held", held, vms*pages)
			}
			for vm := range vms {
				if !bytes.Equal(d.src[vm], d.dst[vm]) {
					t.Errorf("vm %d differs", vm)
				}
			}
			contents := (vms*pages + owners - 1) / owners
			placed, _ := d.e.Tracker.Progress()
			if most := contents + vms*pages/ledger.BatchOwners + vms; placed > int64(most*model.PageSize) {
				t.Errorf("%d contents were sent as %d, at most %d", contents, placed/model.PageSize, most)
			}
		})
	}
}

// TestBlocksFitTheNetwork: no block that can be encoded is too large to be sent.
func TestBlocksFitTheNetwork(t *testing.T) {
	if block.MaxLength > multicast.MaxBlock {
		t.Errorf("blocks of %d bytes, of which %d can be sent", block.MaxLength, multicast.MaxBlock)
	}
	if ledger.BatchOwners > block.MaxOwners || planning.BlockContents > block.MaxContents {
		t.Error("an ordinary batch makes no ordinary block")
	}
}

// TestEncoderTakesAnyBatch: owners and contents that one block does not hold make several, and all is noted.
func TestEncoderTakesAnyBatch(t *testing.T) {
	const pages = block.MaxOwners + 10
	for name, owners := range map[string]int{"one content": pages, "none equal": 1, "contents of several": 300} {
		t.Run(name, func(t *testing.T) {
			d := openDrillOf(t, shape{pages: pages, fill: repeated(owners)}, []int{0}, nil)
			w, err := newBatchEncoder(d.e, d.e.Tracker)
			if err != nil {
				t.Fatal(err)
			}
			b := &batch{}
			for p := range pages {
				b.owners = append(b.owners, dedup.Page(p))
			}
			b.ends = []uint16{pages}
			w.encode(b)
			named := 0
			for _, o := range b.blocks {
				named += len(o.Cargo.Owners)
				if len(o.Cargo.Owners) > block.MaxOwners || len(o.Cargo.Ends) > block.MaxContents || len(o.Payload) > multicast.MaxBlock {
					t.Errorf("a block of %d owners, %d contents, %d bytes", len(o.Cargo.Owners), len(o.Cargo.Ends), len(o.Payload))
				}
			}
			if named != pages {
				t.Errorf("%d of %d owners are named", named, pages)
			}
			for p := range pages {
				if d.e.Held.Get(dedup.Page(p)) != dedup.HashPage(d.e.Seed, d.src[0][p*model.PageSize:][:model.PageSize]) {
					t.Fatalf("page %d is not noted", p)
				}
			}
		})
	}
}

// TestChannelThatCannotBeOpened costs what goes by it: no VM is blind, and all else is held.
func TestChannelThatCannotBeOpened(t *testing.T) {
	d := openDrill(t, []int{0, 1}, nil)
	warned := d.warnings()
	d.e.Schedule.Channels[0].Group = netip.AddrPortFrom(enginekit.GroupBase, 0) // which is no address
	d.run(0, 1)
	if held := d.agree(0, 1); held == 0 || held == 2*(3*drillPages/4-1) {
		t.Errorf("%d pages are held", held)
	}
	if w := warned(); len(w) != 1 {
		t.Errorf("warned of %q, once would do", w)
	}
}

// warnings collects warnings from now on.
func (d *drill) warnings() func() []string {
	before := len(d.e.Warnings.List)
	return func() []string {
		d.e.Warnings.Mu.Lock()
		defer d.e.Warnings.Mu.Unlock()
		return slices.Clone(d.e.Warnings.List[before:])
	}
}

// TestBacklogThatCannotBeSent: the same for the backlog of a slow host.
func TestBacklogThatCannotBeSent(t *testing.T) {
	d := openDrill(t, []int{0, 1}, nil)
	warned := d.warnings()
	first := d.e.Schedule.Channels[0]
	d.e.Tracker.Detach(multicast.ChannelID(first.ID), first.Hosts[0], nil, 0)
	taken := multicast.Channel{ID: multicast.ChannelID(len(d.e.Schedule.Channels) + 1), Members: []string{"h0"}}
	if err := d.e.Sender.Open(t.Context(), taken); err != nil { // the number that the first attempt is going to use
		t.Fatal(err)
	}
	d.run(0, 1)
	d.agree(0, 1)
	if w := warned(); len(w) != 1 {
		t.Errorf("warned of %q, once would do", w)
	}
}
