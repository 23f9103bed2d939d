package disk

import (
	"context"
	"time"

	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/model"
)

// served is an image that its QEMU serves, as the guest sees it.
type served struct {
	*nbd.Client
	thin bool // only what its first layer holds is populated
}

// servedIn bounds how long QEMU may take to answer.
const servedIn = 30 * time.Second

func (served) answers() bool { return true }

// mostAsked is how much is asked about at once, in bytes: QEMU looks at all of it before it answers.
const mostAsked = 256 << 20

// within yields what may be something else than zeros, or of a thin image, than what is below it.
func (s served) within(at, last uint32, yield func(first, n uint32) error) error {
	off, end := uint64(at)*model.PageSize, min(uint64(last)*model.PageSize, s.Size)
	for off < end {
		all, err := s.extents(off, min(end-off, mostAsked))
		if err != nil {
			return err
		}
		for _, e := range all {
			from, to := max(at, uint32(off/model.PageSize)), uint32((off+e.Bytes+model.PageSize-1)/model.PageSize)
			if off += e.Bytes; e.Zero || from >= to {
				continue // a page in which two extents meet was yielded with the first
			}
			if at = to; to > last {
				to = last
			}
			if err := yield(from, to-from); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s served) extents(off, n uint64) ([]nbd.Extent, error) {
	ctx, cancel := context.WithTimeout(context.Background(), servedIn)
	defer cancel()
	if !s.thin {
		return s.Extents(ctx, off, n)
	}
	runs, err := s.Runs(ctx, nbd.Depth, off, n)
	all := make([]nbd.Extent, len(runs))
	for i, r := range runs {
		all[i] = nbd.Extent{Bytes: r.Bytes, Zero: r.State != 1} // as good as zeros: the target has it
	}
	return all, err
}

// read reads what there is of some pages.
func (s served) read(first uint32, dst []byte) (int, error) {
	off := uint64(first) * model.PageSize
	if off >= s.Size {
		return 0, nil
	}
	n := int(min(uint64(len(dst)), s.Size-off))
	ctx, cancel := context.WithTimeout(context.Background(), servedIn)
	defer cancel()
	return n, s.Read(ctx, dst[:n], off)
}
