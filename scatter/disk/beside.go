package disk

import (
	"errors"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/block"
	"github.com/scatter-vm/scatter/scatter/pages"
)

// Beside is the contents of a VM with disks: RAM, whose regions come first, and the images behind them.
type Beside struct {
	pages.Contents     // RAM
	First          int // region of the first image
	Images         *Images
}

// Populated is that of the region's kind.
func (b *Beside) Populated(region int, yield func(first, n uint32) error) error {
	if region < b.First {
		return b.Contents.Populated(region, yield)
	}
	return b.Images.Populated(region-b.First, yield)
}

// ReadPages is that of the region's kind.
func (b *Beside) ReadPages(region int, first uint32, n int, dst []byte) error {
	if region < b.First {
		return b.Contents.ReadPages(region, first, n, dst)
	}
	return b.Images.ReadPages(region-b.First, first, n, dst)
}

// GatherTo reads pages of both kinds.
func (b *Beside) GatherTo(refs []qemu.PageRef, to []uint32, dst []byte) error {
	var ram, disk []qemu.PageRef
	var ramTo, diskTo []uint32
	for i, r := range refs {
		if int(r.Block) < b.First {
			ram, ramTo = append(ram, r), append(ramTo, to[i])
			continue
		}
		r.Block -= uint16(b.First)
		disk, diskTo = append(disk, r), append(diskTo, to[i])
	}
	if len(disk) == 0 {
		return b.Contents.GatherTo(refs, to, dst)
	}
	if len(ram) > 0 {
		if err := b.Contents.GatherTo(ram, ramTo, dst); err != nil {
			return err
		}
	}
	return b.Images.GatherTo(disk, diskTo, dst)
}

// Close lets go of both.
func (b *Beside) Close() error { return errors.Join(b.Contents.Close(), b.Images.Close()) }

// Shelf gets the pages of one VM: those of its RAM, whose regions come first, and those of its disks.
type Shelf struct {
	RAM   pages.Sink
	Store *Store
}

// Place puts each page where it belongs.
func (s Shelf) Place(p *pages.Pages, b block.Block) error {
	var ram, disk pages.Pages
	for i, o := range p.Owners {
		if int(o.Block) < s.Store.first {
			ram.Owners, ram.From = append(ram.Owners, o), append(ram.From, p.From[i])
			continue
		}
		disk.Owners, disk.From = append(disk.Owners, o), append(disk.From, p.From[i])
	}
	err := s.Store.Place(&disk, b) // also where its QEMU has ended
	if len(ram.Owners) > 0 {
		err = errors.Join(err, s.RAM.Place(&ram, b))
	}
	return err
}
