package disk

import (
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Image is what a QEMU has open as its disk.
type Image struct {
	Path   string      // as it is seen from here
	Inode  uint64      // of the file that QEMU has
	Bytes  int64       // of the disk
	Direct bool        // QEMU passes by the host's page cache, and so do we
	Thin   bool        // images lie below it that its target has: only what is its own is populated
	Served *nbd.Client // by which QEMU serves it, as its guest sees it; nil: it is a raw image, and is read as a file
}

// ImageOf is that of a disk which can travel. It is served, if its QEMU alone can read it, by who is named then.
func ImageOf(d hypervisor.Disk) Image {
	return Image{Path: d.Path, Inode: d.Inode, Bytes: d.Bytes, Direct: d.Direct, Thin: len(d.Backing) > 0}
}

// TooLarge is the least size of a disk, in bytes, whose pages cannot be numbered.
const TooLarge = (1<<32 - 1) * model.PageSize

// Pages is how many pages a disk has, the last of which may be a part of one.
func (i Image) Pages() uint32 { return uint32((i.Bytes + model.PageSize - 1) / model.PageSize) }

// opened is one disk. It is read in whole pages, and what lies behind its end is not.
type opened interface {
	// within yields which of some pages may hold something else than zeros.
	within(at, last uint32, yield func(first, n uint32) error) error
	// read fills dst with what lies at a page; less of it where the image ends before.
	read(first uint32, dst []byte) (n int, err error)
	// answers tells whether a read is an answer that is waited for: then several are better under way at once.
	answers() bool
	Close() error
}

// Images are the disks of a VM: pages.Contents, whose regions are the images in their order. What lies behind the end of a disk reads as zero.
type Images struct {
	all  []Image
	open []opened
}

// OpenImages opens images for reading. One that is another file by now than QEMU has is an error. Those that are served are the images' from now on.
func OpenImages(all []Image) (*Images, error) {
	d := &Images{all: all}
	for _, i := range all {
		one, err := open(i)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.open = append(d.open, one)
	}
	return d, nil
}

func open(i Image) (one opened, err error) {
	switch {
	case i.Bytes >= TooLarge:
		err = fmt.Errorf("%d bytes are too much", i.Bytes)
	case i.Served != nil && i.Served.Size != uint64(i.Bytes):
		err = fmt.Errorf("QEMU serves %d bytes, not %d", i.Served.Size, i.Bytes)
	case i.Served != nil:
		return served{i.Served, i.Thin}, nil
	default:
		one, err = openFile(i)
	}
	if err != nil {
		return nil, fmt.Errorf("disk %s: %w", i.Path, err)
	}
	return one, nil
}

// Pages is how many pages each of them has.
func (d *Images) Pages() []uint32 {
	sizes := make([]uint32, len(d.all))
	for i, image := range d.all {
		sizes[i] = image.Pages()
	}
	return sizes
}

// Thin tells of each of them whether zeros of its own hide something else.
func (d *Images) Thin() (all []bool) {
	for _, i := range d.all {
		all = append(all, i.Thin)
	}
	return all
}

// Close closes all of them.
func (d *Images) Close() (err error) {
	for _, one := range d.open {
		err = errors.Join(err, one.Close())
	}
	d.open = nil
	return err
}

// Populated yields what is not a hole.
func (d *Images) Populated(region int, yield func(first, n uint32) error) error {
	return d.Within(region, 0, d.all[region].Pages(), yield)
}

// Within is Populated for some pages.
func (d *Images) Within(region int, at, last uint32, yield func(first, n uint32) error) error {
	return d.named(region, d.open[region].within(at, last, yield))
}

// ReadPages reads n pages.
func (d *Images) ReadPages(region int, first uint32, n int, dst []byte) error {
	dst = dst[:n*model.PageSize]
	read, err := d.open[region].read(first, dst)
	if err != nil {
		return d.named(region, err)
	}
	clear(dst[read:])
	if left := d.all[region].Bytes - int64(first)*model.PageSize; left < int64(len(dst)) {
		clear(dst[max(0, left):]) // a file may go on behind the disk
	}
	return nil
}

func (d *Images) named(region int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("disk %s: %w", d.all[region].Path, err)
}

// mostAtOnce is how many reads of one call are under way at once.
const mostAtOnce = 16

// GatherTo reads single pages, those that follow one another at once.
func (d *Images) GatherTo(refs []qemu.PageRef, to []uint32, dst []byte) error {
	var g errgroup.Group
	g.SetLimit(mostAtOnce)
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Block == refs[0].Block && refs[n].Page == refs[0].Page+uint32(n) && to[n] == to[0]+uint32(n) {
			n++
		}
		region, first, dst := int(refs[0].Block), refs[0].Page, dst[int(to[0])*model.PageSize:]
		if d.open[region].answers() {
			g.Go(func() error { return d.ReadPages(region, first, n, dst) })
		} else if err := d.ReadPages(region, first, n, dst); err != nil {
			return errors.Join(err, g.Wait())
		}
		refs, to = refs[n:], to[n:]
	}
	return g.Wait()
}
