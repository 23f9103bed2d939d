package dedup

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Tuning of the radix partition: a bucket and its sorting space should fit the L2 cache, while the scatter should not
// write to more streams than the TLB can follow.
const (
	bucketPages   = 1 << 14
	maxBucketBits = 11
)

// builder turns two looks into an Index. All passes work in three arrays:
//
//	old   8 B/page, by page: the first look, then the table of classes, then each content's place, at last the Held
//	key   8 B/page: the second look, then the hashes by bucket, then the groups' classes, then the owners by class
//	order 4 B/page: the pages by bucket
type builder struct {
	l       *Layout
	workers int    // how many goroutines
	begin   func() // which each calls first
	old     []uint64
	key     []uint64
	order   []Page
	alone   bitmap   // pages that are neither zero nor hot and whose content has no other owner
	bounds  []uint64 // first position of each bucket, and the total
	shift   uint     // hash >> shift = bucket
	heads   bitmap   // positions in order where a group begins, or what no group needs
	stats   Stats

	setBudget int // bytes for the sets of VMs
}

// span is a range of pages, or of positions in order.
type span struct{ lo, hi uint64 }

// cut divides 0..n-1 into parts; cuts fall on multiples of 64 so that parts share no word of a bitmap.
func cut(n uint64, parts int) []span {
	step := (n/uint64(parts) + 64) &^ 63
	out := make([]span, parts)
	for i := range out {
		out[i] = span{min(n, uint64(i)*step), min(n, uint64(i+1)*step)}
	}
	return out
}

// parallel runs f(0) to f(n-1) on at most b.workers goroutines and waits for them.
func (b *builder) parallel(n int, f func(i int)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, b.workers) {
		wg.Go(func() {
			b.begin()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

func newBuilder(first, second []uint64, l *Layout, w Workers) *builder {
	w = w.complete()
	k := min(bits.Len64(l.Pages()/bucketPages), maxBucketBits)
	return &builder{l: l, workers: w.Count, begin: w.Begin, old: first, key: second, alone: newBitmap(l.Pages()), shift: uint(64 - k)}
}

// partition orders the pages that are neither zero nor hot by the top bits of their hash, ascending within a bucket.
func (b *builder) partition() {
	parts := cut(b.l.Pages(), b.workers)
	counts := make([][]uint64, len(parts))
	stats := make([]Stats, len(parts))
	b.parallel(len(parts), func(i int) { counts[i], stats[i] = b.settle(parts[i]) })
	for _, s := range stats {
		b.stats.Zero += s.Zero
		b.stats.Hot += s.Hot
	}
	total := b.place(counts)
	if b.key == nil {
		b.key = make([]uint64, b.l.Pages())
	}
	b.order = make([]Page, total)
	b.parallel(len(parts), func(i int) { b.scatter(parts[i], counts[i]) })
}

// settle marks the hot pages of a range, and counts what remains by bucket.
func (b *builder) settle(s span) ([]uint64, Stats) {
	counts := make([]uint64, 1<<(64-b.shift))
	var st Stats
	for p := s.lo; p < s.hi; p++ {
		h := b.old[p]
		if b.key != nil && h != b.key[p] {
			h = hotHash
			b.old[p] = h
		}
		switch h {
		case zeroHash:
			st.Zero++
		case hotHash:
			st.Hot++
		default:
			counts[h>>b.shift]++
			b.alone[p>>6] |= 1 << (p & 63)
		}
	}
	return counts, st
}

// place turns the counts into the positions where each part begins to write, and returns the number of pages.
func (b *builder) place(counts [][]uint64) uint64 {
	var at uint64
	for bucket := range counts[0] {
		b.bounds = append(b.bounds, at)
		for part := range counts {
			n := counts[part][bucket]
			counts[part][bucket] = at
			at += n
		}
	}
	b.bounds = append(b.bounds, at)
	return at
}

func (b *builder) scatter(s span, at []uint64) {
	for p := s.lo; p < s.hi; p++ {
		h := b.old[p]
		if h < reserved {
			continue
		}
		bucket := h >> b.shift
		i := at[bucket]
		at[bucket] = i + 1
		b.key[i], b.order[i] = h, Page(p)
	}
}
