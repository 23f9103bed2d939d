package dedup

import "math/bits"

// Locator finds the contents of pages that have further owners. It takes 4 bytes for each of these pages, and less than one for any page. It is safe for
// concurrent use.
type Locator struct {
	x      *Index
	pages  bitmap
	before []uint32 // members of pages before each word of it
	heads  []uint32 // for each member, in their order: where its content begins in x.order
}

// Locator makes one.
func (x *Index) Locator() *Locator {
	l := &Locator{x: x, pages: newBitmap(x.l.Pages()), heads: make([]uint32, len(x.order))}
	for _, p := range x.order {
		l.pages.set(uint64(p))
	}
	n := uint32(0)
	l.before = make([]uint32, len(l.pages))
	for i, w := range l.pages {
		l.before[i] = n
		n += uint32(bits.OnesCount64(w))
	}
	for head, end := uint64(0), uint64(len(x.order)); head < end; {
		next := x.heads.next(head+1, end)
		for _, p := range x.order[head:next] {
			i, _ := l.rank(p)
			l.heads[i] = uint32(head)
		}
		head = next
	}
	return l
}

// rank is how many members of pages are before p, and whether p is one.
func (l *Locator) rank(p Page) (n uint32, ok bool) {
	w, bit := l.pages[p>>6], uint64(1)<<(p&63)
	return l.before[p>>6] + uint32(bits.OnesCount64(w&(bit-1))), w&bit != 0
}

// Owners are those of a page's content, ascending; nil if there is no other. The slice must not be changed.
func (l *Locator) Owners(p Page) []Page {
	i, ok := l.rank(p)
	if !ok {
		return nil
	}
	head := uint64(l.heads[i])
	end := l.x.heads.next(head+1, uint64(len(l.x.order)))
	return l.x.order[head:end:end]
}
