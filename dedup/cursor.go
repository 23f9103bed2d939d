package dedup

// Cursor goes through the contents of a class, and may rest anywhere. It takes the same few bytes whatever the class is.
type Cursor struct {
	x       *Index
	at, end uint64   // in order: contents with several owners
	regions []uint32 // of a class of a single VM: those that are not yet done
	page    uint64   // in the first of regions: where to look for pages without an equal
	one     [1]Page
}

// Cursor is at the first content of a class.
func (x *Index) Cursor(class int) *Cursor { return x.cursor(class, 0) }

// cursor is behind about a part of a class's contents.
func (x *Index) cursor(class int, part float64) *Cursor {
	k := &x.classes[class]
	c := &Cursor{x: x, end: k.end}
	if !k.single() {
		c.at = x.heads.next(k.begin+uint64(part*float64(k.end-k.begin)), k.end)
		return c
	}
	c.regions = x.l.byVM[k.first()]
	c.page, c.at = x.startOf(k, part)
	return c
}

// Next returns the owners of the next content, ascending; contents are ordered by first owner. The slice is borrowed until the
// next call, and must not be changed.
func (c *Cursor) Next() ([]Page, bool) {
	if p, ok := c.nextAlone(); ok {
		c.one[0], c.page = p, uint64(p)+1
		return c.one[:], true
	}
	if c.at == c.end {
		return nil, false
	}
	first := c.at
	c.at = c.x.heads.next(first+1, uint64(len(c.x.order)))
	return c.x.order[first:c.at:c.at], true
}

// nextAlone finds the next page without an equal, if it is before the next content with several owners.
func (c *Cursor) nextAlone() (Page, bool) {
	for ; len(c.regions) > 0; c.regions = c.regions[1:] {
		end := c.x.l.starts[c.regions[0]+1]
		c.page = max(c.page, c.x.l.starts[c.regions[0]])
		limit := end
		if c.at < c.end {
			limit = min(end, uint64(c.x.order[c.at]))
		}
		if limit > c.page {
			c.page = c.x.alone.next(c.page, limit)
		}
		if c.page < limit {
			return Page(c.page), true
		}
		if limit < end {
			return 0, false
		}
	}
	return 0, false
}
