package dedup

import (
	"fmt"
	"iter"
	"slices"
	"sort"
)

// Stats counts pages, but for Contents and Classes.
type Stats struct {
	Pages     uint64 // of the layout
	Zero      uint64 // all zero, or holes
	Hot       uint64 // differed between the looks; not indexed
	Unique    uint64 // without an equal
	Duplicate uint64 // equal only to pages of the same VM
	Shared    uint64 // equal to pages of another VM
	Contents  uint64 // distinct contents: what a perfect multicast sends
	Classes   uint64
}

// Class is a set of VMs and the contents that exactly these VMs own.
type Class struct {
	VMs      []int // ascending
	Contents int   // distinct contents
	Pages    int   // owners of them all
	Bytes    int64 // of the distinct contents
}

// Index knows the owners of every content. It is safe for concurrent use.
type Index struct {
	l       *Layout
	classes []class
	order   []Page   // owners of contents that have several, by class and first owner
	heads   bitmap   // positions in order where a content begins
	alone   bitmap   // pages that are the only owner of their content
	old     []uint64 // memory of a look, for Held
	stats   Stats
}

// NewIndex finds the contents of one look or two of the same layout. It consumes the looks: their memory becomes the
// Index's. second may be nil; else pages that differ between the looks are hot and belong to no content. The
// result depends on the looks alone, not on the workers.
func NewIndex(first, second *Look, l *Layout, w Workers) (*Index, error) {
	return newIndex(first, second, l, w, max(minSetBudget, int(l.Pages())*setBudget))
}

func newIndex(first, second *Look, l *Layout, w Workers, setBudget int) (*Index, error) {
	a, err := first.consume(l)
	if err != nil {
		return nil, fmt.Errorf("index: first look: %w", err)
	}
	var c []uint64
	if second != nil {
		if second.seed != first.seed {
			return nil, fmt.Errorf("index: the looks were taken with different seeds")
		}
		if c, err = second.consume(l); err != nil {
			return nil, fmt.Errorf("index: second look: %w", err)
		}
	}
	b := newBuilder(a, c, l, w)
	b.setBudget = setBudget
	return b.index(), nil
}

// consume takes the hashes out of a look.
func (k *Look) consume(l *Layout) ([]uint64, error) {
	if k.hashes == nil && l.Pages() > 0 {
		return nil, fmt.Errorf("already consumed")
	}
	if uint64(len(k.hashes)) != l.Pages() {
		return nil, fmt.Errorf("%d pages, layout has %d", len(k.hashes), l.Pages())
	}
	h := k.hashes
	k.hashes = nil
	return h, nil
}

func (b *builder) index() *Index {
	b.partition()
	b.group()
	sets := b.intern()
	classes, rank, place := b.classes(sets)
	x := &Index{l: b.l, classes: classes, alone: b.alone}
	x.order, x.heads = b.arrange(classes, rank, place)
	x.old = b.old
	x.stats = b.stats
	x.stats.Pages, x.stats.Unique = b.l.Pages(), b.alone.count()
	for i := range classes {
		x.stats.count(&classes[i])
	}
	return x
}

func (s *Stats) count(c *class) {
	s.Classes++
	s.Contents += c.contents
	if c.single() {
		s.Duplicate += c.end - c.begin
	} else {
		s.Shared += c.pages
	}
}

// Stats returns the counts of pages by kind.
func (x *Index) Stats() Stats { return x.stats }

// Classes lists the classes: first those of one VM, by VM, then those of several, smaller sets first, by members.
func (x *Index) Classes() []Class {
	out := make([]Class, len(x.classes))
	for i := range out {
		c := &x.classes[i]
		out[i] = Class{c.list(), int(c.contents), int(c.pages), int64(c.contents) * PageSize}
	}
	return out
}

// Shared yields the pages of a VM whose contents have further owners, in it or in others.
func (x *Index) Shared(vm int) iter.Seq[Page] {
	return func(yield func(Page) bool) {
		for i := range x.classes {
			k := &x.classes[i]
			if !slices.Contains(k.list(), vm) {
				continue
			}
			for _, p := range x.order[k.begin:k.end] {
				if x.l.VM(p) == vm && !yield(p) {
					return
				}
			}
		}
	}
}

// Contents yields the owners of each content of a class, ascending, ordered by first owner. The slice is borrowed until
// the next turn of the loop, and must not be changed.
func (x *Index) Contents(class int) iter.Seq[[]Page] { return x.ContentsFrom(class, 0) }

// ContentsFrom is Contents without about the first part of them, 0 to 1: for samples. What is left out costs no time.
func (x *Index) ContentsFrom(class int, part float64) iter.Seq[[]Page] {
	return func(yield func([]Page) bool) {
		for c := x.cursor(class, part); ; {
			if owners, ok := c.Next(); !ok || !yield(owners) {
				return
			}
		}
	}
}

// startOf is where a single VM's contents go on behind a part of them: the page, and the position of the first content with several owners. The
// part is that of the kind of which there is more.
func (x *Index) startOf(c *class, part float64) (page, at uint64) {
	var alone uint64
	for _, r := range x.l.byVM[c.first()] {
		alone += x.alone.countIn(x.l.starts[r], x.l.starts[r+1])
	}
	if c.end-c.begin > alone {
		switch at = x.heads.next(c.begin+uint64(part*float64(c.end-c.begin)), c.end); at {
		case c.begin:
			return 0, at
		case c.end:
			return x.l.Pages(), at
		}
		return uint64(x.order[at]), at
	}
	skip := uint64(part * float64(alone))
	if skip == 0 {
		return 0, c.begin
	}
	for _, r := range x.l.byVM[c.first()] {
		lo, hi := x.l.starts[r], x.l.starts[r+1]
		if n := x.alone.countIn(lo, hi); skip >= n {
			skip -= n
			continue
		}
		page = x.alone.nth(lo, hi, skip)
		return page, x.headFrom(c, page)
	}
	return x.l.Pages(), c.end
}

// headFrom is the position of a class's first content whose first owner is page or behind it.
func (x *Index) headFrom(c *class, page uint64) uint64 {
	n := sort.Search(int(c.end-c.begin), func(i int) bool {
		head := x.heads.next(c.begin+uint64(i), c.end)
		return head == c.end || uint64(x.order[head]) >= page
	})
	return x.heads.next(c.begin+uint64(n), c.end)
}

// Held hands over the Index's spare memory, 8 bytes a page, as an empty table. It may be called once; later calls take
// new memory.
func (x *Index) Held() *Held {
	if x.old == nil {
		return NewHeld(x.l)
	}
	h := &Held{x.old}
	x.old = nil
	clear(h.hashes)
	return h
}
