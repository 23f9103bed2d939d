package dedup

import (
	"cmp"
	"encoding/binary"
	"math/bits"
	"slices"
)

// MaxClasses bounds the classes of several VMs; their sets may moreover take setBudget bytes per page. Contents of sets
// beyond the bounds, met last and therefore rare, are taken apart: each VM keeps its owners as a content of its own.
const (
	MaxClasses   = 1 << 22
	setBudget    = 2
	minSetBudget = 4 << 20
	setCost      = 64 // bytes of a set beside its members
)

// internSpans is how many stretches of groups are classed apart. It is fixed so that the result does not depend on the
// number of workers.
const internSpans = 8

// What key[i] becomes for the first page of a group once it is classed.
const (
	classed = 1 << 60            // and span<<32 | number of the set; after merging just the number
	apart   = 1 << 59            // the set is beyond the bounds
	lowHalf = uint64(1)<<32 - 1  // of a table slot: number of the set + 1; the high half is part of its signature
	noSet   = ^uint32(0)         // number of a set beyond the bounds
	golden  = 0x9e3779b97f4a7c15 // spreads signatures over a table
)

// tally counts contents that have several owners, and their pages.
type tally struct{ contents, pages uint64 }

// found is a set of VMs met in a span: those that own the group at a position.
type found struct {
	head, key uint64
	tally
}

// interner numbers the sets of one span in the order they are met. Its table is the span's part of old; it has twice as
// many slots as the span has groups, so that probing is short and always ends.
type interner struct {
	*builder
	number uint64
	span   span
	table  []uint64
	limit  int
	sets   []found
	x, y   []uint32
}

// intern classes all groups and returns the distinct sets of several VMs. Afterwards key holds classed and the number of
// the set for their groups, and oneVM and the VM for the others.
func (b *builder) intern() *setList {
	b.heads = newBitmap(uint64(len(b.order)))
	parts := cut(uint64(len(b.order)), b.workers)
	b.parallel(len(parts), func(i int) { b.markHeads(parts[i]) })
	spans := cut(uint64(len(b.order)), internSpans)
	interners := make([]*interner, internSpans)
	b.parallel(internSpans, func(i int) {
		interners[i] = &interner{builder: b, number: uint64(i), span: spans[i]}
		interners[i].run()
	})
	list, numbers := b.merge(interners)
	b.renumber(numbers)
	return list
}

func (b *builder) markHeads(s span) {
	for i := s.lo; i < s.hi; i++ {
		if b.key[i] != 0 {
			b.heads.set(i)
		}
	}
}

// groupAt returns the pages of the group that begins at a head.
func (b *builder) groupAt(head uint64) []Page {
	return b.order[head:b.heads.next(head+1, uint64(len(b.order)))]
}

// owners sets vms to the VMs, ascending, of the group that begins at head.
func (b *builder) owners(head uint64, vms []uint32) []uint32 {
	return b.l.ownersOf(b.groupAt(head), vms)
}

func (n *interner) run() {
	n.table = n.old[n.span.lo:n.span.hi]
	clear(n.table)
	n.limit = max(4096, len(n.table)/32)
	for i := n.heads.next(n.span.lo, n.span.hi); i < n.span.hi; i = n.heads.next(i+1, n.span.hi) {
		if n.key[i]&manyVMs != 0 {
			n.class(i)
		}
	}
}

// class replaces the signature of the group at head by the number of its set.
func (n *interner) class(head uint64) {
	key := n.key[head]
	slot, known := n.probe(key, head)
	id := n.table[slot]&lowHalf - 1
	if !known {
		if len(n.sets) == n.limit {
			n.key[head] = apart
			return
		}
		id = uint64(len(n.sets))
		n.table[slot] = key&^lowHalf | (id + 1)
		n.sets = append(n.sets, found{head: head, key: key})
	}
	n.sets[id].contents++
	n.sets[id].pages += uint64(len(n.groupAt(head)))
	n.key[head] = classed | n.number<<32 | id
}

// probe returns the slot of the set that owns the group at head, or the free one where it belongs.
func (n *interner) probe(key, head uint64) (slot uint64, known bool) {
	n.x = n.x[:0]
	slot, _ = bits.Mul64(key*golden, uint64(len(n.table)))
	for ; n.table[slot] != 0; slot = (slot + 1) % uint64(len(n.table)) {
		if (n.table[slot]^key)&^lowHalf == 0 && n.same(head, key, &n.sets[n.table[slot]&lowHalf-1]) {
			return slot, true
		}
	}
	return slot, false
}

// same reports whether the VMs that own the group at head are the set.
func (n *interner) same(head, key uint64, set *found) bool {
	if key != set.key || key&fewVMs != 0 {
		return key == set.key
	}
	if len(n.x) == 0 {
		n.x = n.owners(head, n.x)
	}
	n.y = n.owners(set.head, n.y)
	return slices.Equal(n.x, n.y)
}

// setList holds the distinct sets of several VMs. A set is its VMs, two bytes each.
type setList struct {
	sets   []string
	totals []tally
	number map[string]uint32
	budget int
}

// add returns the number of a set, or noSet when it is beyond the bounds.
func (s *setList) add(set []byte, t tally) uint32 {
	id, ok := s.number[string(set)]
	if !ok {
		cost := setCost + len(set)
		if len(s.sets) == MaxClasses || cost > s.budget {
			return noSet
		}
		s.budget -= cost
		id = uint32(len(s.sets))
		key := string(set)
		s.number[key] = id
		s.sets, s.totals = append(s.sets, key), append(s.totals, tally{})
	}
	s.totals[id].contents += t.contents
	s.totals[id].pages += t.pages
	return id
}

// merge unites the sets of all spans. numbers[span] maps the numbers of the span's sets to those of the list.
func (b *builder) merge(spans []*interner) (list *setList, numbers [][]uint32) {
	list = &setList{number: map[string]uint32{}, budget: b.setBudget}
	var vms []uint32
	var set []byte
	for _, n := range spans {
		own := make([]uint32, len(n.sets))
		for i, f := range n.sets {
			vms = b.owners(f.head, vms)
			set = set[:0]
			for _, v := range vms {
				set = binary.BigEndian.AppendUint16(set, uint16(v))
			}
			own[i] = list.add(set, f.tally)
		}
		numbers = append(numbers, own)
		n.sets = nil
	}
	list.number = nil
	return list, numbers
}

// renumber writes the final numbers to key and takes apart the groups beyond the bounds.
func (b *builder) renumber(numbers [][]uint32) {
	spans := cut(uint64(len(b.order)), internSpans)
	far := make([][]uint64, internSpans)
	b.parallel(internSpans, func(i int) {
		for h := b.heads.next(spans[i].lo, spans[i].hi); h < spans[i].hi; h = b.heads.next(h+1, spans[i].hi) {
			k := b.key[h]
			if k&classed != 0 {
				if id := numbers[i][k&lowHalf]; id != noSet {
					b.key[h] = classed | uint64(id)
					continue
				}
			}
			if k&(classed|apart) != 0 {
				b.key[h] = apart
				far[i] = append(far[i], h)
			}
		}
	})
	for _, heads := range far {
		for _, h := range heads {
			b.takeApart(h)
		}
	}
}

// takeApart makes the owners of each VM in a group a group of their own.
func (b *builder) takeApart(head uint64) {
	pages := b.groupAt(head)
	vm := b.l.VM
	slices.SortFunc(pages, func(x, y Page) int { return cmp.Or(vm(x)-vm(y), cmp.Compare(x, y)) })
	for len(pages) > 0 {
		n := 1
		for n < len(pages) && vm(pages[n]) == vm(pages[0]) {
			n++
		}
		b.heads.set(head)
		if b.key[head] = oneVM | uint64(vm(pages[0])); n == 1 {
			b.key[head] = noGroup
			b.alone.set(uint64(pages[0]))
		}
		head, pages = head+uint64(n), pages[n:]
	}
}
