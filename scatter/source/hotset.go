package source

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/scatter/model"
)

// watchedPages is how many pages of a VM that writes much are looked at a third time, to tell how many it goes on to write: 32 MiB, some milliseconds.
const watchedPages = 8192

// What the third look can tell.
const (
	mostSet   = 5    // bounds the pages that a VM is believed to go on to write, as a multiple of those that it was seen to write
	enough    = 30   // changed pages, or they tell nothing
	returning = 0.02 // of these were written before, or the VM sweeps over its memory: it may go on to all of that, or begin anew soon
)

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

// LearnSets looks at the watched pages again. What part of the pages that a VM writes now it also wrote between the first two looks is the part of all
// that it goes on to write which these have found (capture and recapture: Petersen 1896, Lincoln 1930).
func (e *Scanned) LearnSets() error {
	now, both := make([]float64, len(e.VMs)), make([]float64, len(e.VMs))
	buf := make([]byte, model.PageSize)
	for _, w := range e.watched {
		region, index := e.Layout.Locate(w.page)
		if err := e.Reader().ReadPages(region, index, 1, buf); err != nil {
			return fmt.Errorf("third look: %w", err)
		}
		if dedup.Digest(e.Seed, buf) == w.hash {
			continue
		}
		if now[w.vm]++; w.changed {
			both[w.vm]++
		}
	}
	for vm := range e.VMs {
		if now[vm] >= enough && both[vm] >= returning*now[vm] {
			hot, all := float64(e.Hot[vm]), float64(e.PagesOf[vm].Total-e.PagesOf[vm].Zero)
			e.sets[vm] = min(max(hot, hot*now[vm]/both[vm]), mostSet*hot, all)
		}
	}
	return nil
}
