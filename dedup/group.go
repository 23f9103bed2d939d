package dedup

import (
	"cmp"
	"math/bits"
	"slices"
	"sync/atomic"
)

// maxSort is the most pages a bucket may have to be sorted in space of its own, 16 bytes each.
const maxSort = 1 << 18

// What key[i] holds for the first page of a group once its bucket is grouped; 0 for its other pages. A group is the
// owners of a content that has more than one.
const (
	manyVMs = 1 << 63 // and fewVMs with the VM set itself, or a signature of it
	oneVM   = 1 << 62 // and the VM
	noGroup = 1 << 61 // nothing here: the rest of the bucket, or a page left over from a group
)

// pair is a page and its hash, in the order the bucket sort wants.
type pair struct {
	hash uint64
	page Page
}

// grouper groups one bucket after another. Each worker has its own.
type grouper struct {
	*builder
	out []pair
	at  []uint32
	vms []uint32
}

// group finds the equal pages of every bucket. Afterwards key and order hold, at the front of each bucket, its groups;
// pages without an equal remain only in alone.
func (b *builder) group() {
	var next atomic.Int64
	b.parallel(b.workers, func(int) {
		g := &grouper{builder: b}
		for i := next.Add(1); int(i) < len(b.bounds); i = next.Add(1) {
			g.bucket(span{b.bounds[i-1], b.bounds[i]})
		}
	})
}

func (g *grouper) bucket(s span) {
	if s.hi-s.lo > maxSort {
		g.divide(s)
		return
	}
	sorted := g.sort(s)
	at := s.lo
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].hash == sorted[i].hash {
			j++
		}
		if j-i > 1 {
			at = g.record(at, sorted[i:j])
		}
		i = j
	}
	if at < s.hi {
		g.key[at] = noGroup
		clear(g.key[at+1 : s.hi])
	}
}

// divide handles a bucket that is too big to copy, mostly because one content has very many owners. The hashes equal to
// one from the middle, which such a content's are likely to be, become a group in place.
func (g *grouper) divide(s span) {
	pivot := g.key[s.lo+(s.hi-s.lo)/2]
	lo, hi := s.lo, s.hi
	for i := lo; i < hi; {
		switch h := g.key[i]; {
		case h < pivot:
			g.swap(i, lo)
			lo++
			i++
		case h > pivot:
			hi--
			g.swap(i, hi)
		default:
			i++
		}
	}
	slices.Sort(g.order[lo:hi])
	if hi-lo == 1 {
		g.key[lo] = noGroup
	} else {
		g.file(lo, hi)
	}
	g.bucket(span{s.lo, lo})
	g.bucket(span{hi, s.hi})
}

func (g *grouper) swap(i, j uint64) {
	g.key[i], g.key[j] = g.key[j], g.key[i]
	g.order[i], g.order[j] = g.order[j], g.order[i]
}

// sort returns the bucket's pairs by hash, then page: one counting pass over the hash bits that follow the bucket's,
// into runs of a few pairs.
func (g *grouper) sort(s span) []pair {
	n := int(s.hi - s.lo)
	width := uint(bits.Len(uint(n)))
	up, drop := 64-g.shift, 64-width
	g.at = resize(g.at, 1<<width+1)
	clear(g.at)
	for _, h := range g.key[s.lo:s.hi] {
		g.at[h<<up>>drop+1]++
	}
	for i := 1; i < len(g.at); i++ {
		g.at[i] += g.at[i-1]
	}
	g.out = resize(g.out, n)
	for i := s.lo; i < s.hi; i++ {
		h := g.key[i]
		slot := &g.at[h<<up>>drop]
		g.out[*slot] = pair{h, g.order[i]}
		*slot++
	}
	g.finish()
	return g.out
}

// finish sorts the runs; at[i] is where run i ends.
func (g *grouper) finish() {
	lo := uint32(0)
	for _, hi := range g.at[:len(g.at)-1] {
		if run := g.out[lo:hi]; len(run) > 24 {
			slices.SortFunc(run, func(a, b pair) int {
				return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.page, b.page))
			})
		} else if len(run) > 1 {
			insertionSort(run)
		}
		lo = hi
	}
}

func insertionSort(run []pair) {
	for i := 1; i < len(run); i++ {
		x := run[i]
		j := i
		for ; j > 0 && (run[j-1].hash > x.hash || run[j-1].hash == x.hash && run[j-1].page > x.page); j-- {
			run[j] = run[j-1]
		}
		run[j] = x
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n+n/8)[:n]
	}
	return s[:n]
}

// record copies a run of equal hashes to order and files it.
func (g *grouper) record(at uint64, run []pair) uint64 {
	end := at + uint64(len(run))
	for i, p := range run {
		g.order[at+uint64(i)] = p.page
	}
	g.file(at, end)
	return end
}

// file makes the pages at lo..hi-1 of order, ascending and of equal hash, a group for each domain that has several.
func (g *grouper) file(lo, hi uint64) {
	if !g.l.mixed {
		g.mark(lo, hi)
		return
	}
	pages := g.order[lo:hi]
	of := g.l.domain
	slices.SortFunc(pages, func(a, b Page) int { return cmp.Or(cmp.Compare(of(a), of(b)), cmp.Compare(a, b)) })
	for lo < hi {
		n := 1
		for n < len(pages) && of(pages[n]) == of(pages[0]) {
			n++
		}
		if g.key[lo] = noGroup; n > 1 {
			g.mark(lo, lo+uint64(n))
		}
		lo, pages = lo+uint64(n), pages[n:]
	}
}

// mark writes the kind of the group at lo..hi-1 to key.
func (g *grouper) mark(lo, hi uint64) {
	clear(g.key[lo:hi])
	for _, p := range g.order[lo:hi] {
		g.alone.clearShared(uint64(p))
	}
	g.vms = g.l.ownersOf(g.order[lo:hi], g.vms)
	if len(g.vms) == 1 {
		g.key[lo] = oneVM | uint64(g.vms[0])
	} else {
		g.key[lo] = manyVMs | sign(g.vms)
	}
}

// fewVMs marks signatures that are the set itself, so that equal ones need no comparison of the sets.
const fewVMs = 1 << 62

// sign returns a signature below 1<<63 of a set of at least two VMs.
func sign(vms []uint32) uint64 {
	switch len(vms) {
	case 2:
		return fewVMs | uint64(vms[0])<<16 | uint64(vms[1])
	case 3:
		return fewVMs | uint64(vms[2]+1)<<32 | uint64(vms[0])<<16 | uint64(vms[1])
	}
	return signature(vms) >> 2
}

// ownersOf sets vms to the VMs, ascending, that own the pages.
func (l *Layout) ownersOf(pages []Page, vms []uint32) []uint32 {
	vms = vms[:0]
	for _, p := range pages {
		if v := uint32(l.VM(p)); len(vms) == 0 || vms[len(vms)-1] != v {
			vms = append(vms, v)
		}
	}
	if !slices.IsSorted(vms) {
		slices.Sort(vms)
	}
	return slices.Compact(vms)
}

// signature mixes a set of VMs. Equal sets have equal signatures; the converse is checked wherever it matters.
func signature(vms []uint32) uint64 {
	h := uint64(len(vms))
	for _, v := range vms {
		hi, lo := bits.Mul64(h^golden, uint64(v)^0xd1b54a32d192ed03)
		h = hi ^ lo ^ h<<17
	}
	return h ^ h>>29
}
