package dedup

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"
)

// newContent marks, in key, the first owner of a content.
const newContent = 1 << 32

// class is a set of VMs with its contents: those of several owners lie in the Index's order from begin to end; those of
// a single owner are marked in alone.
type class struct {
	vms        string // two bytes each
	begin, end uint64
	contents   uint64
	pages      uint64
}

func (c *class) single() bool { return len(c.vms) == 2 }

func (c *class) first() int { return int(binary.BigEndian.Uint16([]byte(c.vms[:2]))) }

func (c *class) list() []int {
	out := make([]int, len(c.vms)/2)
	for i := range out {
		out[i] = int(c.vms[2*i])<<8 | int(c.vms[2*i+1])
	}
	return out
}

// byVM counts the contents of several owners within one VM.
func (b *builder) byVM() []tally {
	spans := cut(uint64(len(b.order)), b.workers)
	parts := make([][]tally, len(spans))
	b.parallel(len(spans), func(i int) {
		parts[i] = make([]tally, b.l.VMs())
		for h := b.heads.next(spans[i].lo, spans[i].hi); h < spans[i].hi; h = b.heads.next(h+1, spans[i].hi) {
			if k := b.key[h]; k&oneVM != 0 && k&manyVMs == 0 {
				t := &parts[i][k&lowHalf]
				t.contents++
				t.pages += uint64(len(b.groupAt(h)))
			}
		}
	})
	for _, p := range parts[1:] {
		for v := range p {
			parts[0][v].contents += p[v].contents
			parts[0][v].pages += p[v].pages
		}
	}
	return parts[0]
}

// classes lists the classes of one VM by VM, then those of several by size and members, and gives each its place. rank
// maps a set's number, and place a VM, to the class.
func (b *builder) classes(list *setList) (out []class, rank, place []uint32) {
	place = make([]uint32, b.l.VMs())
	for vm, t := range b.byVM() {
		alone := b.aloneIn(vm)
		if alone+t.contents > 0 {
			place[vm] = uint32(len(out))
			vms := string(binary.BigEndian.AppendUint16(nil, uint16(vm)))
			out = append(out, class{vms: vms, end: t.pages, contents: alone + t.contents, pages: alone + t.pages})
		}
	}
	rank = make([]uint32, len(list.sets))
	for _, id := range list.sorted() {
		rank[id] = uint32(len(out))
		t := list.totals[id]
		out = append(out, class{vms: list.sets[id], end: t.pages, contents: t.contents, pages: t.pages})
	}
	var at uint64
	for i := range out {
		out[i].begin, out[i].end = at, at+out[i].end
		at = out[i].end
	}
	return out, rank, place
}

func (s *setList) sorted() []uint32 {
	ids := make([]uint32, len(s.sets))
	for i := range ids {
		ids[i] = uint32(i)
	}
	slices.SortFunc(ids, func(x, y uint32) int {
		a, b := s.sets[x], s.sets[y]
		return cmp.Or(len(a)-len(b), strings.Compare(a, b))
	})
	return ids
}

func (b *builder) aloneIn(vm int) uint64 {
	var n uint64
	for _, r := range b.l.byVM[vm] {
		n += b.alone.countIn(b.l.starts[r], b.l.starts[r+1])
	}
	return n
}

// arrange brings the owners into their final order, by class, then by first owner. The heads of contents are marked.
func (b *builder) arrange(classes []class, rank, place []uint32) (order []Page, heads bitmap) {
	b.lead(rank, place)
	b.parallel(b.workers, func(w int) { b.sweep(classes, w) })
	var total uint64
	if len(classes) > 0 {
		total = classes[len(classes)-1].end
	}
	if total > uint64(len(b.order))/2 {
		order = b.order[:total:total]
	} else {
		order = make([]Page, total)
		b.order = nil
	}
	heads = newBitmap(total)
	parts := cut(total, b.workers)
	b.parallel(len(parts), func(i int) {
		for at := parts[i].lo; at < parts[i].hi; at++ {
			order[at] = Page(b.key[at])
			if b.key[at]&newContent != 0 {
				heads.set(at)
			}
		}
	})
	return order, heads
}

// ofTwo marks, in old, the first page of a group of two.
const ofTwo = 1 << 63

// lead writes to old, at the first page of each group, class+1 and the position of the group; of a group of two, which are
// the most, the other page instead, so that sweep need not look for it.
func (b *builder) lead(rank, place []uint32) {
	parts := cut(uint64(len(b.old)), b.workers)
	b.parallel(len(parts), func(i int) { clear(b.old[parts[i].lo:parts[i].hi]) })
	spans := cut(uint64(len(b.order)), b.workers)
	b.parallel(len(spans), func(i int) {
		for h := b.heads.next(spans[i].lo, spans[i].hi); h < spans[i].hi; h = b.heads.next(h+1, spans[i].hi) {
			var class uint32
			switch k := b.key[h]; {
			case k&classed != 0:
				class = rank[k&lowHalf]
			case k&oneVM != 0:
				class = place[k&lowHalf]
			default:
				continue
			}
			group := b.groupAt(h)
			e := uint64(class+1)<<32 | h
			if len(group) == 2 {
				e = ofTwo | uint64(class+1)<<32 | uint64(group[1])
			}
			b.old[group[0]] = e
		}
	})
}

// sweep visits the groups by first page and copies those of every workers-th class to key, class by class.
func (b *builder) sweep(classes []class, worker int) {
	at := make([]uint64, len(classes)/b.workers+1)
	for i := worker; i < len(classes); i += b.workers {
		at[i/b.workers] = classes[i].begin
	}
	for p, e := range b.old {
		if e == 0 {
			continue
		}
		c := int(e&^ofTwo>>32) - 1
		if c%b.workers != worker {
			continue
		}
		to := &at[c/b.workers]
		if e&ofTwo != 0 {
			b.key[*to], b.key[*to+1] = newContent|uint64(p), e&lowHalf
			*to += 2
			continue
		}
		group := b.groupAt(e & lowHalf)
		for i, p := range group {
			b.key[*to+uint64(i)] = uint64(p)
		}
		b.key[*to] |= newContent
		*to += uint64(len(group))
	}
}
