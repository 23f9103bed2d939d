package source

import (
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// takeDisks opens the disks that travel with the VM. What hinders one of them is a blocker.
func (v *VM) takeDisks(all []hypervisor.Disk) error {
	if v.travel != model.DisksPre || len(all) == 0 || v.Disks != nil {
		return nil
	}
	var found model.Problems
	for _, d := range all {
		if d.Stays != "" {
			found.Add(model.Blocker{VM: v.Name(), Problem: "disk " + cmdline.Shorten(d.File) + " cannot travel: " + d.Stays,
				Remedy: "put it on storage that the hosts share, and send without --disks"})
		}
	}
	if err := found.Err(); err != nil {
		return err
	}
	images, err := disk.OpenImages(imagesOf(all))
	if err != nil {
		return model.Blocker{VM: v.Name(), Problem: err.Error()}
	}
	v.Disks, v.data = all, make([]int64, len(all))
	for i := range all {
		if v.data[i], err = images.Data(i); err != nil {
			return fmt.Errorf("vm %s: %w", v.Name(), err)
		}
	}
	v.Mem = &disk.Beside{Contents: v.Mem, First: len(v.Facts.Blocks), Images: images}
	var shared []control.File
	for _, f := range v.written {
		if !v.travels(f.Path) {
			shared = append(shared, f)
		}
	}
	v.written = shared
	return nil
}

// travels tells whether a file is one of the disks that travel.
func (v *VM) travels(file string) bool {
	for _, d := range v.Disks {
		if d.File == file {
			return true
		}
	}
	return false
}

// diskBytes is how much of the disks that travel is no hole.
func (v *VM) diskBytes() (sum int64) {
	for _, n := range v.data {
		sum += n
	}
	return sum
}

// beside is the VM's contents where it has disks that travel.
func (v *VM) beside() *disk.Beside { return v.Mem.(*disk.Beside) }

// cutDisks finds what of the VM's disks is to be scanned.
func (v *VM) cutDisks() error {
	v.Pieces = nil
	for i := range v.Disks {
		pieces, err := v.beside().Images.Cut(i)
		if err != nil {
			return fmt.Errorf("vm %s: %w", v.Name(), err)
		}
		v.Pieces = append(v.Pieces, pieces)
	}
	return nil
}

// numberDisks notes which numbers a layout has given to the pages of the VM's disks.
func (v *VM) numberDisks(l *dedup.Layout) {
	region := v.Regions + len(v.Blocks)
	for _, pieces := range v.Pieces {
		for i := range pieces {
			pieces[i].At = l.First(region)
			region++
		}
	}
}

// populatedDisk yields what is no hole of a region, numbered from its beginning.
func (v *VM) populatedDisk(g region, pages uint32, yield func(first, n uint32) error) error {
	return v.beside().Images.Within(g.Memory-len(v.Facts.Blocks), g.start, g.start+pages, func(first, n uint32) error { return yield(first-g.start, n) })
}

// Compared are all blocks of which the two ends of a migration have the same bytes: RAM, and behind it the disks that travel.
func (v *VM) Compared() []system.RAMBlock {
	all := slices.Clone(v.Blocks)
	for i, image := range imagesOf(v.Disks) {
		all = append(all, system.RAMBlock{Name: "disk " + v.Disks[i].File, Length: uint64(image.Pages()) * model.PageSize, Index: len(v.Facts.Blocks) + i})
	}
	return all
}

func imagesOf(all []hypervisor.Disk) (images []disk.Image) {
	for _, d := range all {
		images = append(images, disk.Image{Path: d.Path, Inode: d.Inode, Bytes: d.Bytes, Direct: d.Direct})
	}
	return images
}
