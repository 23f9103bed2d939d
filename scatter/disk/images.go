package disk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Image is a raw image that a QEMU has open, as its disk.
type Image struct {
	Path   string // as it is seen from here
	Inode  uint64 // of the file that QEMU has
	Bytes  int64  // of the disk
	Direct bool   // QEMU passes by the host's page cache, and so do we
}

// TooLarge is the least size of a disk, in bytes, whose pages cannot be numbered.
const TooLarge = (1<<32 - 1) * model.PageSize

// Pages is how many pages a disk has, the last of which may be a part of one.
func (i Image) Pages() uint32 { return uint32((i.Bytes + model.PageSize - 1) / model.PageSize) }

// Images are the disks of a VM: pages.Contents, whose regions are the images in their order. What lies behind the end of a disk reads as zero.
type Images struct {
	all   []Image
	files []*os.File
}

// OpenImages opens images for reading. One that is another file by now than QEMU has is an error.
func OpenImages(all []Image) (*Images, error) {
	d := &Images{all: all}
	for _, i := range all {
		f, err := open(i)
		if err != nil {
			d.Close()
			return nil, err
		}
		d.files = append(d.files, f)
	}
	return d, nil
}

func open(i Image) (*os.File, error) {
	flags := os.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC // a pipe in its place must not be waited for
	if i.Direct {
		flags |= unix.O_DIRECT
	}
	f, err := os.OpenFile(i.Path, flags, 0)
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Ino != i.Inode || st.Mode&unix.S_IFMT != unix.S_IFREG) {
		err = errors.New("is another file than the one that QEMU has open")
	}
	if err == nil && i.Bytes >= TooLarge {
		err = fmt.Errorf("%d bytes are too much", i.Bytes)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("disk %s: %w", i.Path, err)
	}
	return f, nil
}

// Pages is how many pages each of them has.
func (d *Images) Pages() []uint32 {
	sizes := make([]uint32, len(d.all))
	for i, image := range d.all {
		sizes[i] = image.Pages()
	}
	return sizes
}

// Close closes all of them.
func (d *Images) Close() (err error) {
	for _, f := range d.files {
		err = errors.Join(err, f.Close())
	}
	d.files = nil
	return err
}

// Populated yields what is not a hole. A file system that knows none says that all is data (lseek(2), SEEK_DATA).
func (d *Images) Populated(region int, yield func(first, n uint32) error) error {
	return d.Within(region, 0, d.all[region].Pages(), yield)
}

// Within is Populated for some pages.
func (d *Images) Within(region int, at, last uint32, yield func(first, n uint32) error) error {
	f := d.files[region]
	for at < last {
		data, err := f.Seek(int64(at)*model.PageSize, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but holes from here on
		}
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.all[region].Path, err)
		}
		hole, err := f.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.all[region].Path, err)
		}
		first, end := max(at, uint32(data/model.PageSize)), min(last, uint32((hole+model.PageSize-1)/model.PageSize))
		if first >= end {
			return nil
		}
		if err := yield(first, end-first); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// ReadPages reads n pages.
func (d *Images) ReadPages(region int, first uint32, n int, dst []byte) error {
	dst = dst[:n*model.PageSize]
	if !d.all[region].Direct {
		return d.read(region, first, dst)
	}
	aligned := buffers.Get().(*[]byte)
	defer buffers.Put(aligned)
	for len(dst) > 0 {
		part := (*aligned)[:min(len(dst), len(*aligned))]
		if err := d.read(region, first, part); err != nil {
			return err
		}
		copy(dst, part)
		dst, first = dst[len(part):], first+uint32(len(part)/model.PageSize)
	}
	return nil
}

// buffers are for files that are read past the page cache, which takes what is aligned only.
var buffers = sync.Pool{New: func() any {
	const size = 256 << 10
	b := make([]byte, size+model.PageSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (model.PageSize - 1)
	b = b[skip : skip+size]
	return &b
}}

// read fills dst, whose length is whole pages.
func (d *Images) read(region int, first uint32, dst []byte) error {
	i := d.all[region]
	at := int64(first) * model.PageSize
	n, err := d.files[region].ReadAt(dst, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("disk %s: %w", i.Path, err)
	}
	clear(dst[n:])
	if left := i.Bytes - at; left < int64(len(dst)) {
		clear(dst[max(0, left):]) // a file may go on behind the disk
	}
	return nil
}

// GatherTo reads single pages, those that follow one another at once.
func (d *Images) GatherTo(refs []qemu.PageRef, to []uint32, dst []byte) error {
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Block == refs[0].Block && refs[n].Page == refs[0].Page+uint32(n) && to[n] == to[0]+uint32(n) {
			n++
		}
		if err := d.ReadPages(int(refs[0].Block), refs[0].Page, n, dst[int(to[0])*model.PageSize:]); err != nil {
			return err
		}
		refs, to = refs[n:], to[n:]
	}
	return nil
}
