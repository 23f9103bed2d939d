package source

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
	"github.com/scatter-vm/scatter/scatter/outlet"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Scanned is what the VMs hold.
type Scanned struct {
	inquiry
	Seed    dedup.Seed
	Layout  *dedup.Layout
	Regions []region
	Index   *dedup.Index
	Held    *dedup.Held
	Classes []planning.ClassInfo

	Pages    model.Pages
	PagesOf  []model.Pages
	ownBytes []int64
	Hot      []int64       // pages by VM
	watched  []watchedPage // of VMs that write much
	sets     []float64     // pages by VM that it goes on to change; 0 = not known
	gap      time.Duration // between the looks that found them
	read     atomic.Int64  // bytes, by the scan that is under way
}

// region is one RAM block of one VM, or a disk that travels with it, in the numbering of package dedup.
type region struct {
	VM     int
	block  int    // in the VM's stream, behind all of which its disks come
	Memory int    // in the VM's contents
	start  uint32 // page there of its first one: of a disk, there are several
}

// Ref is where a page of it is read.
func (g region) Ref(index uint32) qemu.PageRef {
	return qemu.PageRef{Block: uint16(g.Memory), Page: g.start + index}
}

// scanReader shows the VMs' memory to package dedup, region by region.
type scanReader struct{ e *Scanned }

func (r scanReader) ReadPages(region int, first uint32, n int, dst []byte) error {
	r.e.read.Add(int64(n) * model.PageSize)
	g := r.e.Regions[region]
	v := r.e.VMs[g.VM]
	err := v.Mem.ReadPages(g.Memory, g.start+first, n, dst)
	if err != nil && v.hasEnded() {
		clear(dst) // nothing of it is sent; the move tells that it has ended
		return nil
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return nil
}

func (r scanReader) Populated(region int, yield func(first, n uint32) error) error {
	g := r.e.Regions[region]
	v := r.e.VMs[g.VM]
	var err error
	switch {
	case g.block >= len(v.Blocks):
		err = v.populatedDisk(g, r.e.Layout.Region(region).Pages, yield)
	case v.Blocks[g.block].Hidden:
		return nil // converge sends all of it
	default:
		err = v.Mem.Populated(g.Memory, yield)
	}
	if err != nil && v.hasEnded() {
		return nil
	}
	return err
}

// Reader shows the VMs' memory to package dedup.
func (e *Scanned) Reader() dedup.Reader { return scanReader{e} }

// Scan looks at all pages, again at some, and builds the index. Pages that differ between the looks are hot: sending them
// early would be in vain.
func (e *Scanned) Scan(ctx context.Context) error {
	if err := e.layOut(); err != nil {
		return err
	}
	defer e.tellScan()()
	began := time.Now()
	first, err := dedup.Scan(ctx, scanReader{e}, e.Layout, e.Seed, dedup.ScanOptions{Workers: e.Cfg.workers()})
	if err != nil {
		return err
	}
	if e.Cfg.Mode != model.ModePost { // in which nothing is sent while it may change
		if err := system.Pause(ctx, lookGap-time.Since(e.Started)); err != nil {
			return err
		}
	}
	e.gap = time.Since(began)
	second, busy, err := e.LookAgain(ctx, first)
	if err != nil {
		return err
	}
	e.CountPages(first, second)
	e.watch(first, second, busy)
	e.Index, err = dedup.NewIndex(first, second, e.Layout, e.Cfg.workers())
	if err != nil {
		return err
	}
	for _, c := range e.Index.Classes() {
		e.Classes = append(e.Classes, planning.ClassInfo{VMs: c.VMs, Contents: c.Contents, Bytes: c.Bytes})
		if len(c.VMs) == 1 {
			e.ownBytes[c.VMs[0]] += c.Bytes
		}
	}
	s := e.Index.Stats()
	e.Pages.Shared, e.Pages.Unique = int64(s.Shared), int64(s.Unique+s.Duplicate)
	e.Held = e.Index.Held()
	e.Log.Info("scanned", "pages", s.Pages, "zero", s.Zero, "hot", s.Hot, "shared", s.Shared, "duplicate", s.Duplicate, "unique", s.Unique, "contents", s.Contents)
	return nil
}

// tellScan tells once a second how much was read. The returned function ends that.
func (e *Scanned) tellScan() (end func()) {
	e.read.Store(0)
	var total int64
	for _, v := range e.VMs {
		total += int64(v.Facts.MemoryBytes)
		for _, d := range v.Disks {
			total += d.Bytes
		}
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
				e.Tell(model.Event{Type: "scan", Bytes: e.read.Load(), Total: total})
			}
		}
	})
	return func() {
		close(done)
		wg.Wait()
	}
}

// Dirtied is what a VM has changed between the looks, as far as they tell.
func (e *Scanned) Dirtied(vm int) modes.Writes {
	return modes.Writes{Hot: float64(e.Hot[vm] * model.PageSize), In: e.gap, Set: e.sets[vm] * model.PageSize}
}

// lookGap is how long after the start the second look comes at the earliest, so that a page must change
// now and then to count as hot.
const lookGap = 500 * time.Millisecond

// layOut numbers the RAM blocks of all VMs, and their disks.
func (e *Scanned) layOut() error {
	var regions []dedup.Region
	e.Regions, e.Classes, e.Pages, e.watched = nil, nil, model.Pages{}, nil
	domains := make(map[string]uint32)
	for _, v := range e.VMs {
		v.Regions = len(regions)
		name := e.Cfg.Domains[v.Name()]
		if _, ok := domains[name]; !ok {
			domains[name] = uint32(len(domains))
		}
		for i, b := range v.Blocks {
			regions = append(regions, dedup.Region{VM: v.Index, Block: i, Pages: b.Pages(), Domain: domains[name]})
			e.Regions = append(e.Regions, region{v.Index, i, b.Index, 0})
		}
		if err := v.cutDisks(); err != nil {
			return err
		}
		for i, pieces := range v.Pieces {
			for _, p := range pieces {
				regions = append(regions, dedup.Region{VM: v.Index, Block: len(v.Blocks) + i, Pages: p.Pages, Domain: domains[name]})
				e.Regions = append(e.Regions, region{v.Index, len(v.Blocks) + i, len(v.Facts.Blocks) + i, p.First})
			}
		}
	}
	e.PagesOf, e.ownBytes, e.Hot, e.sets = make([]model.Pages, len(e.VMs)), make([]int64, len(e.VMs)), make([]int64, len(e.VMs)), make([]float64, len(e.VMs))
	var err error
	if e.Layout, err = dedup.NewLayout(regions); err != nil {
		return err
	}
	for _, v := range e.VMs {
		v.numberDisks(e.Layout)
	}
	return nil
}

// The second look takes as long as the first. In a VM of which it finds little hot, it would spare little.
const (
	LookEvery = 4    // stripes, of which one is looked at again
	busyPart  = 0.01 // of a VM's pages that are not zero; where more are hot, all are looked at again
)

// LookAgain looks at a part of all VMs' pages for the second time, and at all of those that write much (busy). It estimates how many are hot.
func (e *Scanned) LookAgain(ctx context.Context, first *dedup.Look) (second *dedup.Look, busy []bool, err error) {
	opt := dedup.ScanOptions{Workers: e.Cfg.workers()}
	second = first.Clone()
	sampled := func(_ int, stripe uint32) bool { return stripe%LookEvery == 0 }
	if err := second.Renew(ctx, scanReader{e}, e.Layout, sampled, opt); err != nil {
		return nil, nil, err
	}
	pages := make([]int64, len(e.VMs))
	e.eachPage(func(vm int, p dedup.Page) {
		if first.Hash(p) != 0 {
			pages[vm]++
		}
		if first.Hash(p) != second.Hash(p) {
			e.Hot[vm] += LookEvery
		}
	})
	busy = make([]bool, len(e.VMs))
	for vm, hot := range e.Hot {
		if busy[vm] = float64(hot) > busyPart*float64(pages[vm]); busy[vm] {
			e.Hot[vm] = 0 // it is going to be counted
		}
	}
	if !slices.Contains(busy, true) {
		return second, busy, nil
	}
	others := func(region int, stripe uint32) bool { return stripe%LookEvery != 0 && busy[e.Regions[region].VM] }
	return second, busy, second.Renew(ctx, scanReader{e}, e.Layout, others, opt)
}

// eachPage yields all pages.
func (e *Scanned) eachPage(yield func(vm int, p dedup.Page)) {
	for r, g := range e.Regions {
		start := e.Layout.First(r)
		for i := range dedup.Page(e.Layout.Region(r).Pages) {
			yield(g.VM, start+i)
		}
	}
}

// CountPages counts each VM's zero and hot pages.
func (e *Scanned) CountPages(first, second *dedup.Look) {
	e.eachPage(func(vm int, p dedup.Page) {
		n := &e.PagesOf[vm]
		switch h := second.Hash(p); {
		case h != first.Hash(p):
			n.Hot++
		case h == 0:
			n.Zero++
		}
		n.Total++
	})
	for vm, n := range e.PagesOf {
		e.Hot[vm] = max(e.Hot[vm], n.Hot)
		e.Pages.Total, e.Pages.Zero, e.Pages.Hot = e.Pages.Total+n.Total, e.Pages.Zero+n.Zero, e.Pages.Hot+n.Hot
	}
}

// Owners appends page numbers to dst, translated for the wire.
func (e *Scanned) Owners(dst []block.Owner, pages []dedup.Page) []block.Owner {
	for _, p := range pages {
		region, index := e.Layout.Locate(p)
		r := e.Regions[region]
		dst = append(dst, block.Owner{VM: uint16(r.VM), Block: uint16(r.block), Page: r.start + index})
	}
	return dst
}

// Configure begins an evacuation: it completes and checks the configuration, and gives it its number, its secret and its run directory.
func (e *Scanned) Configure(cfg Config) error {
	var seed [8]byte
	rand.Read(e.ID[:])
	rand.Read(seed[:])
	out := cmp.Or(cfg.Outlet, outlet.New(cfg.Rate))
	if rate, auto := out.Pacer.Rate(); !auto {
		cfg.Rate = rate
	}
	var err error
	if cfg.GroupBase, e.giveBack, err = out.GroupsFor(e.ID, cfg.GroupBase, cfg.MaxGroups); err != nil {
		return err
	}
	if err := cfg.SetDefaults(); err != nil {
		e.giveBack()
		return err
	}
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		e.giveBack()
		return fmt.Errorf("run directory: %w", err)
	}
	e.Cfg, e.Log, e.Started = cfg, cfg.Log, time.Now()
	e.Seed = dedup.Seed(binary.LittleEndian.Uint64(seed[:]))
	e.Pacer = out.Pacer
	return nil
}
