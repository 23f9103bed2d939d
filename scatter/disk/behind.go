package disk

import (
	"context"
	"sync"
	"syscall"

	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// Behind is which pages of a VM's disks its target may not have as they are: all that a mirror has told of since they were taken last. Its methods may be
// called from any goroutine.
type Behind struct {
	mu   sync.Mutex
	set  *pageset.Set
	next pageset.Page  // from where on pages are taken
	news chan struct{} // gets something when there are some
}

// NewBehind is that of disks of so many pages each; nothing is behind yet.
func NewBehind(pages ...uint32) *Behind {
	return &Behind{set: pageset.New(pages...), news: make(chan struct{}, 1)}
}

// Add adds n pages of a disk, from first on.
func (b *Behind) Add(region int, first, n uint32) {
	b.mu.Lock()
	b.set.AddRun(region, first, n)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// Len is how many pages are behind.
func (b *Behind) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set.Len()
}

// all is a set of its own of what is behind.
func (b *Behind) all() *pageset.Set {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.set.Clone()
}

// News gets something after pages were added.
func (b *Behind) News() <-chan struct{} { return b.news }

// Take takes at most n pages of one disk out of it, ascending, from where the last ones were taken; a page that is written meanwhile is added again.
func (b *Behind) Take(dst []pageset.Page, n int) []pageset.Page {
	b.mu.Lock()
	defer b.mu.Unlock()
	for range b.set.Regions() + 1 { // once round, and to the one where it began
		for len(dst) < n {
			p, ok := b.set.Next(b.next)
			if !ok {
				break
			}
			b.set.Remove(p)
			dst = append(dst, p)
			b.next = pageset.Page{Region: p.Region, Page: p.Page + 1}
		}
		if len(dst) > 0 {
			return dst
		}
		b.next = pageset.Page{Region: (b.next.Region + 1) % max(1, b.set.Regions())}
	}
	return dst
}

// Device is what a mirror of a disk writes to: it only notes what, and answers at once.
func (b *Behind) Device(region int) nbd.Device { return recorder{b, region} }

// recorder notes the writes to one disk.
type recorder struct {
	*Behind
	region int
}

// Read is asked by nobody who mirrors.
func (r recorder) Read(context.Context, []byte, uint64) error { return syscall.EPERM }

func (r recorder) Write(_ context.Context, p []byte, off uint64) error {
	r.note(off, uint64(len(p)))
	return nil
}

func (r recorder) Zero(_ context.Context, off, n uint64, _ bool) error {
	r.note(off, n)
	return nil
}

func (r recorder) Flush(context.Context) error { return nil }

func (r recorder) note(off, n uint64) {
	if n == 0 {
		return
	}
	first, last := off/model.PageSize, (off+n-1)/model.PageSize
	r.Add(r.region, uint32(first), uint32(last-first+1))
}
