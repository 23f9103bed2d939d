package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
)

// lazyDisk is one of a VM's disks as it has it while some of them are lacked: an nbd.Device.
type lazyDisk struct {
	*Lazy
	disk  int
	image *os.File
	bytes int64
}

// await returns once pages from first up to end are there, with the lock held if there is no error.
func (d *lazyDisk) await(ctx context.Context, first, end uint32) error {
	for {
		d.store.mu.Lock()
		wants, lacks := d.ask(first, end)
		if !lacks {
			return nil
		}
		news := d.news
		d.store.mu.Unlock()
		if len(wants) > 0 {
			d.want(wants)
		}
		select {
		case <-news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask notes that the guest waits for those of some pages that are lacked, and tells whether there are any; wants are those that were not waited for
// before. The lock is held.
func (d *lazyDisk) ask(first, end uint32) (wants []byte, lacks bool) {
	next := func(from uint32) (pageset.Page, bool) {
		p, ok := d.lacks.Next(pageset.Page{Region: d.disk, Page: from})
		return p, ok && p.Page < end
	}
	for p, ok := next(first); ok; p, ok = next(p.Page + 1) {
		if lacks = true; !d.asked[p] {
			d.asked[p] = true
			d.waits.Begin(p)
			wants = control.AppendWant(wants, d.store.first+d.disk, p.Page)
		}
	}
	return wants, lacks
}

// Read waits for what is not there. It is read without the lock: what is there stays there.
func (d *lazyDisk) Read(ctx context.Context, p []byte, off uint64) error {
	if len(p) == 0 {
		return nil
	}
	if err := d.await(ctx, uint32(off/model.PageSize), pageEnd(off+uint64(len(p)))); err != nil {
		return err
	}
	d.store.mu.Unlock()
	n, err := d.image.ReadAt(p, int64(off))
	if errors.Is(err, io.EOF) && n == len(p) {
		err = nil
	}
	return d.named(err)
}

// Write waits for pages that it changes in part.
func (d *lazyDisk) Write(ctx context.Context, p []byte, off uint64) error {
	return d.change(ctx, off, uint64(len(p)), func() error {
		_, err := d.image.WriteAt(p, int64(off))
		return err
	})
}

// Zero is Write of zeros.
func (d *lazyDisk) Zero(ctx context.Context, off, n uint64, hole bool) error {
	return d.change(ctx, off, n, func() error { return zero(d.image, int64(off), int64(n), hole) })
}

// change writes to the disk. Pages all of which is written are there from then on; those of which only a part is are waited for before.
func (d *lazyDisk) change(ctx context.Context, off, n uint64, write func() error) error {
	if n == 0 {
		return nil
	}
	first, end := uint32(off/model.PageSize), pageEnd(off+n) // what is touched
	from, to := first, end                                   // what is covered
	if off%model.PageSize != 0 {
		from++
	}
	if (off+n)%model.PageSize != 0 && int64(off+n) != d.bytes {
		to--
	}
	if err := d.awaitEdges(ctx, first, from, to, end); err != nil {
		return err
	}
	defer d.store.mu.Unlock()
	if err := write(); err != nil {
		return d.named(err)
	}
	if from >= to {
		return nil
	}
	return d.has(d.disk, from, to-from)
}

// awaitEdges waits for the pages of [first, end) that are not in [from, to), and returns with the lock held if there is no error.
func (d *lazyDisk) awaitEdges(ctx context.Context, first, from, to, end uint32) error {
	if from >= to { // nothing is covered
		return d.await(ctx, first, end)
	}
	if from > first {
		if err := d.await(ctx, first, from); err != nil {
			return err
		}
		d.store.mu.Unlock() // what is there stays
	}
	return d.await(ctx, to, end)
}

// Flush makes what was written outlive a crash of the host, and that it was written.
func (d *lazyDisk) Flush(context.Context) error {
	if err := onFile(d.image, unix.Fdatasync); err != nil {
		return d.named(err)
	}
	return d.marks.sync()
}

func (d *lazyDisk) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("disk %s: %w", d.image.Name(), err)
}

// pageEnd is the number behind that of the page before a byte.
func pageEnd(off uint64) uint32 { return uint32((off + model.PageSize - 1) / model.PageSize) }

// zero makes n bytes zero: a hole, or if that is not wanted what takes its room.
func zero(f *os.File, at, n int64, hole bool) error {
	if hole {
		return rawFile{f}.punch(at, n)
	}
	err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, at, n)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = writeZeros(f, at, n)
	}
	return err
}

// writeZeros writes them where a file system knows no better.
func writeZeros(f *os.File, at, n int64) error {
	b := make([]byte, min(n, 1<<20))
	for n > 0 {
		part := b[:min(n, int64(len(b)))]
		if _, err := f.WriteAt(part, at); err != nil {
			return err
		}
		at, n = at+int64(len(part)), n-int64(len(part))
	}
	return nil
}
