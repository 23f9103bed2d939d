package dedup

import (
	"fmt"
	"sort"
)

// Limits of a Layout.
const (
	MaxPages   = 1 << 32
	MaxVMs     = 65535
	MaxRegions = 1 << 20
)

// coarseBits sets the step, in pages, of the table that narrows Locate's search.
const coarseBits = 14

// Region is one RAM block of one VM. Pages of regions with different Domain are never merged.
type Region struct {
	VM     int // 0 <= VM < MaxVMs
	Block  int // index of the RAM block within the VM; not interpreted here
	Pages  uint32
	Domain uint32
}

// Layout numbers the pages of all regions one after another. It is immutable and safe for concurrent use.
type Layout struct {
	regions []Region
	starts  []uint64 // first page of each region, and the total
	coarse  []uint32 // region of page i<<coarseBits; one more as a sentinel
	byVM    [][]uint32
	mixed   bool // more than one domain
}

// NewLayout checks the regions against the limits and numbers their pages.
func NewLayout(regions []Region) (*Layout, error) {
	if len(regions) > MaxRegions {
		return nil, fmt.Errorf("layout: %d regions, at most %d", len(regions), MaxRegions)
	}
	l := &Layout{regions: append([]Region(nil), regions...), starts: make([]uint64, len(regions)+1)}
	for i, r := range regions {
		if r.VM < 0 || r.VM >= MaxVMs {
			return nil, fmt.Errorf("layout: region %d: vm %d: must be in 0..%d", i, r.VM, MaxVMs-1)
		}
		l.starts[i+1] = l.starts[i] + uint64(r.Pages)
		l.mixed = l.mixed || r.Domain != regions[0].Domain
		l.attach(r.VM, uint32(i))
	}
	if l.Pages() > MaxPages {
		return nil, fmt.Errorf("layout: %d pages, at most %d", l.Pages(), uint64(MaxPages))
	}
	l.tabulate()
	return l, nil
}

func (l *Layout) attach(vm int, region uint32) {
	for len(l.byVM) <= vm {
		l.byVM = append(l.byVM, nil)
	}
	l.byVM[vm] = append(l.byVM[vm], region)
}

func (l *Layout) tabulate() {
	steps := int((l.Pages() + 1<<coarseBits - 1) >> coarseBits)
	l.coarse = make([]uint32, steps+1)
	region := 0
	for i := range steps {
		for l.starts[region+1] <= uint64(i)<<coarseBits {
			region++
		}
		l.coarse[i] = uint32(region)
	}
	l.coarse[steps] = uint32(max(len(l.regions)-1, 0))
}

// Pages is the number of pages of all regions.
func (l *Layout) Pages() uint64 { return l.starts[len(l.regions)] }

// Regions is the number of regions.
func (l *Layout) Regions() int { return len(l.regions) }

// Region returns the i-th region.
func (l *Layout) Region(i int) Region { return l.regions[i] }

// VMs is one more than the highest VM index of any region.
func (l *Layout) VMs() int { return len(l.byVM) }

// First is the number of a region's first page. An empty region has the number of the page that would follow.
func (l *Layout) First(region int) Page { return Page(l.starts[region]) }

// Locate returns the region of a page and the page's index within it. p must be below Pages.
func (l *Layout) Locate(p Page) (region int, index uint32) {
	region = l.region(p)
	return region, uint32(uint64(p) - l.starts[region])
}

// VM is the VM that owns a page.
func (l *Layout) VM(p Page) int { return l.regions[l.region(p)].VM }

func (l *Layout) region(p Page) int {
	step := p >> coarseBits
	lo, hi := int(l.coarse[step]), int(l.coarse[step+1])
	if lo == hi {
		return lo
	}
	return lo + sort.Search(hi-lo, func(i int) bool { return l.starts[lo+i+1] > uint64(p) })
}

func (l *Layout) domain(p Page) uint32 { return l.regions[l.region(p)].Domain }
