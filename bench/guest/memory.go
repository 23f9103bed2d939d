package main

import (
	"fmt"
	"math/bits"
	"syscall"
	"unsafe"

	"github.com/scatter-vm/scatter/bench/guest/content"
)

// region is a run of pages of one kind.
type region struct {
	kind  content.Kind
	pages []content.Page
}

// Memory is all memory whose content is known, and where rewriting and verifying have got to.
type Memory struct {
	guest      uint64
	regions    []region
	generation []uint32 // of each hot page: what the page must hold, kept apart from the page
	nextHot    int
	nextRegion int
	nextPage   int
	random     bool
	place      int // of the cursor in an order without pattern
	scratch    content.Page
}

// Mismatch is a page that does not hold what it must.
type Mismatch struct {
	Name      content.Name
	Word      int
	Got, Want uint64
}

// NewMemory allocates and fills the memory that w describes.
func NewMemory(w Workload) (*Memory, error) {
	m := &Memory{guest: w.ID, random: w.Random > 0}
	for _, p := range w.parts() {
		if p.mib == 0 {
			continue
		}
		pages, err := allocate(int(p.mib) << 20)
		if err != nil {
			return nil, fmt.Errorf("%d MiB of %v pages: %w", p.mib, p.kind, err)
		}
		m.regions = append(m.regions, region{p.kind, pages})
	}
	m.generation = make([]uint32, len(m.hot().pages))
	m.fill()
	return m, nil
}

// allocate returns zeroed memory straight from the kernel, so that Go's collector never looks at it.
func allocate(bytes int) ([]content.Page, error) {
	b, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*content.Page)(unsafe.Pointer(&b[0])), bytes/content.Bytes), nil
}

// hot returns the region that is rewritten; it is the last one.
func (m *Memory) hot() *region { return &m.regions[len(m.regions)-1] }

// Pages returns how many pages have known content.
func (m *Memory) Pages() (n int) {
	for _, r := range m.regions {
		n += len(r.pages)
	}
	return n
}

func (m *Memory) fill() {
	for _, r := range m.regions {
		for i := range r.pages {
			content.Fill(&r.pages[i], m.name(&r, i))
		}
	}
}

// name returns what page i of r must hold now.
func (m *Memory) name(r *region, i int) content.Name {
	n := content.Name{Kind: r.kind, Guest: m.guest, Number: uint64(i)}
	if r.kind == content.Hot || r.kind == content.Stamped {
		n.Generation = uint64(m.generation[i])
	}
	return n
}

// Rewrite gives the next n hot pages a new generation.
func (m *Memory) Rewrite(n int) error {
	r := m.hot()
	rewrite := content.Fill
	if r.kind == content.Stamped {
		rewrite = content.Stamp
	}
	for range n {
		i := m.nextHot
		m.nextHot = (i + 1) % len(r.pages)
		m.generation[i]++
		rewrite(&r.pages[i], m.name(r, i))
	}
	return nil
}

// Verify compares the next n pages with what they must hold and calls wrong for each that differs.
func (m *Memory) Verify(n int, wrong func(Mismatch)) error {
	for range n {
		r := &m.regions[m.nextRegion]
		name := m.name(r, m.nextPage)
		page := &r.pages[m.nextPage]
		if at := content.Check(page, name, &m.scratch); at >= 0 {
			content.Fill(&m.scratch, name)
			wrong(Mismatch{name, at, page[at], m.scratch[at]})
		}
		m.advance()
	}
	return nil
}

// advance moves the cursor of Verify to the next page, and after the last to the first.
func (m *Memory) advance() {
	if m.random {
		m.jump()
		return
	}
	m.nextPage++
	if m.nextPage == len(m.regions[m.nextRegion].pages) {
		m.nextPage = 0
		m.nextRegion = (m.nextRegion + 1) % len(m.regions)
	}
}

// jump moves the cursor to a page without regard to where it is, to each once before it comes to any again: the numbers below a power of two follow one
// another so, each being the last times a constant plus another (Knuth, The Art of Computer Programming, 3.2.1.2, theorem A). Those that are no page are left out.
func (m *Memory) jump() {
	n := m.Pages()
	below := 1 << bits.Len(uint(n-1))
	for m.place = next(m.place, below); m.place >= n; {
		m.place = next(m.place, below)
	}
	m.nextRegion, m.nextPage = 0, m.place
	for m.nextPage >= len(m.regions[m.nextRegion].pages) {
		m.nextPage -= len(m.regions[m.nextRegion].pages)
		m.nextRegion++
	}
}

func next(place, below int) int { return (place*1664525 + 1013904223) & (below - 1) }
