package scatter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// scanReader shows the VMs' memory to package dedup, region by region.
type scanReader struct{ e *scanned }

func (r scanReader) ReadPages(region int, first uint32, n int, dst []byte) error {
	r.e.read.Add(int64(n) * model.PageSize)
	g := r.e.regions[region]
	v := r.e.vms[g.vm]
	err := v.mem.ReadPages(g.memory, first, n, dst)
	if err != nil && v.hasEnded() {
		clear(dst) // nothing of it is sent; the move tells that it has ended
		return nil
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

func (r scanReader) Populated(region int, yield func(first, n uint32) error) error {
	g := r.e.regions[region]
	v := r.e.vms[g.vm]
	if v.blocks[g.block].Hidden {
		return nil // converge sends all of it
	}
	err := v.mem.Populated(g.memory, yield)
	if err != nil && v.hasEnded() {
		return nil
	}
	return err
}

// scan looks at all pages, again at some, and builds the index. Pages that differ between the looks are hot: sending them
// early would be in vain.
func (e *scanned) scan(ctx context.Context) error {
	if err := e.layOut(); err != nil {
		return err
	}
	defer e.tellScan()()
	began := time.Now()
	first, err := dedup.Scan(ctx, scanReader{e}, e.layout, e.seed, dedup.ScanOptions{Workers: e.cfg.workers()})
	if err != nil {
		return err
	}
	if err := system.Pause(ctx, lookGap-time.Since(e.started)); err != nil {
		return err
	}
	e.gap = time.Since(began)
	second, err := e.lookAgain(ctx, first)
	if err != nil {
		return err
	}
	e.countPages(first, second)
	e.index, err = dedup.NewIndex(first, second, e.layout, e.cfg.workers())
	if err != nil {
		return err
	}
	for _, c := range e.index.Classes() {
		e.classes = append(e.classes, planning.ClassInfo{VMs: c.VMs, Contents: c.Contents, Bytes: c.Bytes})
		if len(c.VMs) == 1 {
			e.ownBytes[c.VMs[0]] += c.Bytes
		}
	}
	s := e.index.Stats()
	e.pages.Shared, e.pages.Unique = int64(s.Shared), int64(s.Unique+s.Duplicate)
	e.held = e.index.Held()
	e.log.Info("scanned", "pages", s.Pages, "zero", s.Zero, "hot", s.Hot, "shared", s.Shared, "duplicate", s.Duplicate, "unique", s.Unique, "contents", s.Contents)
	return nil
}

// tellScan tells once a second how much was read. The returned function ends that.
func (e *scanned) tellScan() (end func()) {
	e.read.Store(0)
	var total int64
	for _, v := range e.vms {
		total += int64(v.vm.MemoryBytes)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				e.tell(model.Event{Type: "scan", Bytes: e.read.Load(), Total: total})
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// lookGap is how long after the start the second look comes at the earliest, so that a page must change
// now and then to count as hot.
const lookGap = 500 * time.Millisecond

// layOut numbers the RAM blocks of all VMs.
func (e *scanned) layOut() error {
	var regions []dedup.Region
	e.regions, e.classes, e.pages = nil, nil, model.Pages{}
	domains := make(map[string]uint32)
	for _, v := range e.vms {
		v.regions = len(regions)
		name := e.cfg.Domains[v.name()]
		if _, ok := domains[name]; !ok {
			domains[name] = uint32(len(domains))
		}
		for i, b := range v.blocks {
			regions = append(regions, dedup.Region{VM: v.index, Block: i, Pages: b.Pages(), Domain: domains[name]})
			e.regions = append(e.regions, region{v.index, i, b.Index})
		}
	}
	e.pagesOf, e.ownBytes, e.hot = make([]model.Pages, len(e.vms)), make([]int64, len(e.vms)), make([]int64, len(e.vms))
	var err error
	e.layout, err = dedup.NewLayout(regions)
	return err
}

// The second look takes as long as the first. In a VM of which it finds little hot, it would spare little.
const (
	lookEvery = 4    // stripes, of which one is looked at again
	busyPart  = 0.01 // of a VM's pages that are not zero; where more are hot, all are looked at again
)

// lookAgain looks at a part of all VMs' pages for the second time, and at all of those that write much. It estimates how many are hot.
func (e *scanned) lookAgain(ctx context.Context, first *dedup.Look) (*dedup.Look, error) {
	opt := dedup.ScanOptions{Workers: e.cfg.workers()}
	second := first.Clone()
	sampled := func(_ int, stripe uint32) bool { return stripe%lookEvery == 0 }
	if err := second.Renew(ctx, scanReader{e}, e.layout, sampled, opt); err != nil {
		return nil, err
	}
	pages := make([]int64, len(e.vms))
	e.eachPage(func(vm int, p dedup.Page) {
		if first.Hash(p) != 0 {
			pages[vm]++
		}
		if first.Hash(p) != second.Hash(p) {
			e.hot[vm] += lookEvery
		}
	})
	busy := make([]bool, len(e.vms))
	for vm, hot := range e.hot {
		if busy[vm] = float64(hot) > busyPart*float64(pages[vm]); busy[vm] {
			e.hot[vm] = 0 // it is going to be counted
		}
	}
	if !slices.Contains(busy, true) {
		return second, nil
	}
	others := func(region int, stripe uint32) bool { return stripe%lookEvery != 0 && busy[e.regions[region].vm] }
	return second, second.Renew(ctx, scanReader{e}, e.layout, others, opt)
}

// eachPage yields all pages.
func (e *scanned) eachPage(yield func(vm int, p dedup.Page)) {
	for r, g := range e.regions {
		start := e.layout.First(r)
		for i := range dedup.Page(e.layout.Region(r).Pages) {
			yield(g.vm, start+i)
		}
	}
}

// countPages counts each VM's zero and hot pages.
func (e *scanned) countPages(first, second *dedup.Look) {
	e.eachPage(func(vm int, p dedup.Page) {
		n := &e.pagesOf[vm]
		switch h := second.Hash(p); {
		case h != first.Hash(p):
			n.Hot++
		case h == 0:
			n.Zero++
		}
		n.Total++
	})
	for vm, n := range e.pagesOf {
		e.hot[vm] = max(e.hot[vm], n.Hot)
		e.pages.Total, e.pages.Zero, e.pages.Hot = e.pages.Total+n.Total, e.pages.Zero+n.Zero, e.pages.Hot+n.Hot
	}
}

// scanned is what the VMs hold.
type scanned struct {
	inquiry
	seed    dedup.Seed
	layout  *dedup.Layout
	regions []region
	index   *dedup.Index
	held    *dedup.Held
	classes []planning.ClassInfo

	pages    model.Pages
	pagesOf  []model.Pages
	ownBytes []int64
	hot      []int64       // pages by VM
	gap      time.Duration // between the looks that found them
	read     atomic.Int64  // bytes, by the scan that is under way
}

// owners appends page numbers to dst, translated for the wire.
func (e *scanned) owners(dst []block.Owner, pages []dedup.Page) []block.Owner {
	for _, p := range pages {
		region, index := e.layout.Locate(p)
		r := e.regions[region]
		dst = append(dst, block.Owner{VM: uint16(r.vm), Block: uint16(r.block), Page: index})
	}
	return dst
}

// region is one RAM block of one VM in the numbering of package dedup.
type region struct {
	vm     int
	block  int // in the VM's stream
	memory int // in its qemu.Memory
}
