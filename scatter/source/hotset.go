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
	mostSet = 5   // bounds the pages that a VM is believed to go on to write, as a multiple of those that it was seen to write
	enough  = 30  // changed pages, or they tell nothing
	inOrder = 0.8 // of the pages after one that has changed have, too, or the VM does not write them in their order
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

// LearnSets looks at the watched pages again, and tells from that how many pages each VM goes on to write.
func (e *Scanned) LearnSets() error {
	of := make([]sightings, len(e.VMs))
	buf := make([]byte, model.PageSize)
	for i, w := range e.watched {
		region, index := e.Layout.Locate(w.page)
		if err := e.Reader().ReadPages(region, index, 1, buf); err != nil {
			return fmt.Errorf("third look: %w", err)
		}
		s := &of[w.vm]
		s.add(w.changed, dedup.Digest(e.Seed, buf) != w.hash)
		if i > 0 && e.watched[i-1].vm == w.vm && e.watched[i-1].changed {
			s.after++
			if w.changed {
				s.follow++
			}
		}
	}
	for vm := range e.VMs {
		e.sets[vm] = min(of[vm].set(float64(e.Hot[vm])), float64(e.PagesOf[vm].Total-e.PagesOf[vm].Zero))
	}
	return nil
}

// sightings counts the watched pages of a VM: those that had changed between the first two looks, since then, in both times, and those that lie behind one
// that had changed at first, of which some had, too.
type sightings struct{ first, later, both, after, follow float64 }

func (s *sightings) add(first, later bool) {
	if first {
		s.first++
	}
	if later {
		s.later++
	}
	if first && later {
		s.both++
	}
}

// set is how many pages the VM goes on to write, of which the first two looks have found so many; 0: not known. What part of the pages that it writes now
// had been written before is the part of all that these have found (capture and recapture: Petersen 1896, Lincoln 1930). Not so where it writes its
// pages in their order: then, once it writes some again, it has come to the end of them, and they are all that was seen.
func (s *sightings) set(hot float64) float64 {
	switch {
	case s.later < enough || s.both == 0:
		return 0
	case s.follow >= inOrder*s.after:
		return hot * (s.first + s.later - s.both) / s.first
	}
	return hot * min(mostSet, max(1, s.later/s.both))
}
