// Package pageset is sets of pages of a VM's RAM, one bit for each page.
package pageset

import (
	"encoding/binary"
	"iter"
	"math/bits"
	"slices"
)

// Page is one page: the number of its region, a RAM block in the order of the VM's stream, and its own in that.
type Page struct {
	Region int
	Page   uint32
}

// Set is a set of pages. Its methods are not safe for concurrent use.
type Set struct {
	regions []region
	count   int
}

type region struct {
	pages uint32
	words []uint64
}

// New is an empty set of regions with so many pages each.
func New(pages ...uint32) *Set {
	s := &Set{regions: make([]region, len(pages))}
	for i, n := range pages {
		s.regions[i] = region{pages: n, words: make([]uint64, Words(n))}
	}
	return s
}

// Len is how many pages are in it.
func (s *Set) Len() int { return s.count }

// Pages is how many pages there are in a region, whether they are in the set or not.
func (s *Set) Pages(region int) uint32 { return s.regions[region].pages }

// Regions is how many regions it has.
func (s *Set) Regions() int { return len(s.regions) }

// Holds tells whether there is such a page at all.
func (s *Set) Holds(p Page) bool {
	return p.Region >= 0 && p.Region < len(s.regions) && p.Page < s.regions[p.Region].pages
}

// Has tells whether a page is in it.
func (s *Set) Has(p Page) bool {
	return s.Holds(p) && s.regions[p.Region].words[p.Page/64]&(1<<(p.Page%64)) != 0
}

// Add adds a page, and tells whether that changed anything.
func (s *Set) Add(p Page) bool {
	if !s.Holds(p) || s.Has(p) {
		return false
	}
	s.regions[p.Region].words[p.Page/64] |= 1 << (p.Page % 64)
	s.count++
	return true
}

// Remove takes a page out, and tells whether that changed anything.
func (s *Set) Remove(p Page) bool {
	if !s.Has(p) {
		return false
	}
	s.regions[p.Region].words[p.Page/64] &^= 1 << (p.Page % 64)
	s.count--
	return true
}

// AddRun adds n pages from first on. It tells whether there are such pages.
func (s *Set) AddRun(reg int, first, n uint32) bool {
	if reg < 0 || reg >= len(s.regions) || uint64(first)+uint64(n) > uint64(s.regions[reg].pages) {
		return false
	}
	words := s.regions[reg].words
	for n > 0 {
		at := first % 64
		k := min(64-at, n)
		mask := (^uint64(0) >> (64 - k)) << at
		w := &words[first/64]
		s.count += bits.OnesCount64(mask &^ *w)
		*w |= mask
		first, n = first+k, n-k
	}
	return true
}

// AddAll adds every page of another set of the same regions.
func (s *Set) AddAll(o *Set) {
	for r := range s.regions {
		for i, w := range o.regions[r].words {
			now := &s.regions[r].words[i]
			s.count += bits.OnesCount64(w &^ *now)
			*now |= w
		}
	}
}

// Clone is a set of its own with the same pages.
func (s *Set) Clone() *Set {
	c := &Set{regions: slices.Clone(s.regions), count: s.count}
	for i, r := range s.regions {
		c.regions[i].words = slices.Clone(r.words)
	}
	return c
}

// Empty is an empty set of as many pages.
func (s *Set) Empty() *Set {
	sizes := make([]uint32, len(s.regions))
	for i, r := range s.regions {
		sizes[i] = r.pages
	}
	return New(sizes...)
}

// Complement is all pages that are not in it.
func (s *Set) Complement() *Set {
	c := &Set{regions: slices.Clone(s.regions)}
	for i, r := range s.regions {
		c.regions[i].words = make([]uint64, len(r.words))
		for w, old := range r.words {
			now := ^old
			if used := r.pages - uint32(w)*64; used < 64 {
				now &= 1<<used - 1
			}
			c.regions[i].words[w] = now
			c.count += bits.OnesCount64(now)
		}
	}
	return c
}

// Next is the first page of a region that is in the set, from one on.
func (s *Set) Next(p Page) (Page, bool) {
	if !s.Holds(p) {
		return p, false
	}
	words := s.regions[p.Region].words
	i := int(p.Page / 64)
	for w := words[i] &^ (1<<(p.Page%64) - 1); ; w = words[i] {
		if w != 0 {
			return Page{p.Region, uint32(i*64 + bits.TrailingZeros64(w))}, true
		}
		if i++; i == len(words) {
			return p, false
		}
	}
}

// Before is the last page of a region that is in the set, up to one.
func (s *Set) Before(p Page) (Page, bool) {
	if !s.Holds(p) {
		return p, false
	}
	words := s.regions[p.Region].words
	i := int(p.Page / 64)
	for w := words[i] << (63 - p.Page%64) >> (63 - p.Page%64); ; w = words[i] {
		if w != 0 {
			return Page{p.Region, uint32(i*64 + 63 - bits.LeadingZeros64(w))}, true
		}
		if i--; i < 0 {
			return p, false
		}
	}
}

// Run is n pages of a region, from first on.
type Run struct {
	Region   int
	First, N uint32
}

// All yields the pages, ascending. The set must not be changed meanwhile.
func (s *Set) All() iter.Seq[Page] {
	return func(yield func(Page) bool) {
		for r := range s.Runs() {
			for i := range r.N {
				if !yield(Page{Region: r.Region, Page: r.First + i}) {
					return
				}
			}
		}
	}
}

// Runs yields what is in the set, in ascending order, in runs that are as long as can be.
func (s *Set) Runs() iter.Seq[Run] {
	return func(yield func(Run) bool) {
		for i, r := range s.regions {
			for at, ok := s.Next(Page{i, 0}); ok; at, ok = s.Next(at) {
				end := r.absent(at.Page)
				if !yield(Run{i, at.Page, end - at.Page}) {
					return
				}
				if at.Page = end; end >= r.pages {
					break
				}
			}
		}
	}
}

// absent is the first page from one on that is not in the region's set; the number of all if there is none.
func (r region) absent(page uint32) uint32 {
	i := int(page / 64)
	for w := ^r.words[i] &^ (1<<(page%64) - 1); ; w = ^r.words[i] {
		if w != 0 {
			return min(r.pages, uint32(i*64+bits.TrailingZeros64(w)))
		}
		if i++; i == len(r.words) {
			return r.pages
		}
	}
}

// Words is how many words a region of so many pages takes.
func Words(pages uint32) int { return int((uint64(pages) + 63) / 64) }

// AppendWords appends words of a region to b, little endian: bit i of word w is page 64w+i.
func (s *Set) AppendWords(b []byte, region, from, to int) []byte {
	for _, w := range s.regions[region].words[from:to] {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}

// AddWords adds the pages of a region whose bits are set in all of its words.
func (s *Set) AddWords(region int, b []byte) {
	r := &s.regions[region]
	for i := range r.words {
		w := binary.LittleEndian.Uint64(b[8*i:])
		if used := r.pages - uint32(i)*64; used < 64 {
			w &= 1<<used - 1
		}
		s.count += bits.OnesCount64(w &^ r.words[i])
		r.words[i] |= w
	}
}
