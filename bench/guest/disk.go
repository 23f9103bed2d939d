package main

import (
	"errors"
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/guest/content"
)

// Disk is a subject whose pages lie on the guest's first disk. It is read and written past the guest's page cache; what each page must hold is known in
// memory, and nowhere else.
type Disk struct {
	fd         int
	guest      uint64
	parts      []part
	generation []uint32 // of each hot page
	nextHot    int
	next       int           // page to be verified
	page       *content.Page // as a disk takes it: it begins where a page of memory does
	scratch    content.Page
}

// diskFile is the first virtio disk, and diskWait how long its driver may take to find it.
const (
	diskFile = "/dev/vda"
	diskWait = 10 * time.Second
)

// fillPages is how many pages are written at once in the beginning.
const fillPages = 64

// OpenDisk opens the disk, and fills it as w describes.
func OpenDisk(w Workload) (*Disk, error) {
	d := &Disk{guest: w.ID}
	for _, p := range w.parts() {
		if p.mib > 0 {
			d.parts = append(d.parts, p)
		}
	}
	d.generation = make([]uint32, int(w.Hot)*pagesPerMiB)
	buffer, err := allocate(fillPages * content.Bytes)
	if err != nil {
		return nil, err
	}
	d.page = &buffer[0]
	for began := time.Now(); ; {
		d.fd, err = unix.Open(diskFile, unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
		if !errors.Is(err, os.ErrNotExist) || time.Since(began) > diskWait {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("disk: %w", err)
	}
	return d, d.fill(buffer)
}

const pagesPerMiB = (1 << 20) / content.Bytes

// Pages returns how many pages of the disk have known content.
func (d *Disk) Pages() (n int) {
	for _, p := range d.parts {
		n += int(p.mib) * pagesPerMiB
	}
	return n
}

// fill writes what is not zero: that was never written.
func (d *Disk) fill(buffer []content.Page) error {
	at := 0
	for _, p := range d.parts {
		n := int(p.mib) * pagesPerMiB
		for first := 0; first < n && p.kind != content.Zero; first += fillPages {
			for i := range buffer {
				content.Fill(&buffer[i], d.name(at+first+i))
			}
			if err := d.write(unsafe.Slice((*byte)(unsafe.Pointer(&buffer[0])), len(buffer)*content.Bytes), at+first); err != nil {
				return err
			}
		}
		at += n
	}
	return nil
}

// name returns what a page must hold now.
func (d *Disk) name(page int) content.Name {
	for _, p := range d.parts {
		n := int(p.mib) * pagesPerMiB
		if page >= n {
			page -= n
			continue
		}
		name := content.Name{Kind: p.kind, Guest: d.guest, Number: uint64(page)}
		if p.kind == content.Hot || p.kind == content.Stamped {
			name.Generation = uint64(d.generation[page])
		}
		return name
	}
	panic("no such page")
}

// Rewrite gives the next n hot pages a new generation.
func (d *Disk) Rewrite(n int) error {
	for range n {
		i := d.nextHot
		d.nextHot = (i + 1) % len(d.generation)
		d.generation[i]++
		at := d.Pages() - len(d.generation) + i
		content.Fill(d.page, d.name(at))
		if err := d.write(d.bytes(), at); err != nil {
			return err
		}
	}
	return nil
}

// Verify reads the next n pages and compares them with what they must hold.
func (d *Disk) Verify(n int, wrong func(Mismatch)) error {
	for range n {
		if read, err := unix.Pread(d.fd, d.bytes(), int64(d.next)*content.Bytes); read != content.Bytes {
			return fmt.Errorf("disk: page %d: read %d bytes: %w", d.next, read, err)
		}
		name := d.name(d.next)
		if at := content.Check(d.page, name, &d.scratch); at >= 0 {
			content.Fill(&d.scratch, name)
			wrong(Mismatch{name, at, d.page[at], d.scratch[at]})
		}
		d.next = (d.next + 1) % d.Pages()
	}
	return nil
}

func (d *Disk) bytes() []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(d.page)), content.Bytes)
}

func (d *Disk) write(b []byte, page int) error {
	if n, err := unix.Pwrite(d.fd, b, int64(page)*content.Bytes); n != len(b) {
		return fmt.Errorf("disk: page %d: wrote %d of %d bytes: %w", page, n, len(b), err)
	}
	return nil
}
