package source

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/modes"
)

// watchedPages is how many pages of a VM that writes much are looked at a third time, to tell how many it goes on to write: 32 MiB, some milliseconds.
const watchedPages = 8192

// watchedPage is one of these.
type watchedPage struct {
	vm      int
	page    dedup.Page
	hash    uint64
	changed bool // between the first two looks
}

// watch chooses pages of busy VMs, spread evenly over those that are not zero.
func (e *Scanned) watch(first, second *dedup.Look, busy []bool) {
	if !slices.Contains(busy, true) {
		return
	}
	seen, every := make([]int64, len(e.VMs)), make([]int64, len(e.VMs))
	for vm, n := range e.PagesOf {
		every[vm] = max(1, (n.Total-n.Zero)/watchedPages)
	}
	e.eachPage(func(vm int, p dedup.Page) {
		h := second.Hash(p)
		if !busy[vm] || h == 0 {
			return
		}
		if seen[vm]++; seen[vm]%every[vm] == 0 {
			e.watched = append(e.watched, watchedPage{vm, p, h, h != first.Hash(p)})
		}
	})
}

// LearnSets looks at the watched pages again, and tells from that how many pages each VM goes on to write.
func (e *Scanned) LearnSets() error {
	of := make([]modes.Sightings, len(e.VMs))
	buf := make([]byte, model.PageSize)
	for i, w := range e.watched {
		region, index := e.Layout.Locate(w.page)
		if err := e.Reader().ReadPages(region, index, 1, buf); err != nil {
			return fmt.Errorf("third look: %w", err)
		}
		behind := i > 0 && e.watched[i-1].vm == w.vm && e.watched[i-1].changed
		of[w.vm].Add(w.changed, dedup.Digest(e.Seed, buf) != w.hash, behind)
	}
	for vm := range e.VMs {
		e.sets[vm] = min(of[vm].Set(float64(e.Hot[vm])), float64(e.PagesOf[vm].Total-e.PagesOf[vm].Zero))
	}
	return nil
}
