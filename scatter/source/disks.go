package source

import (
	"context"
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/dedup"
	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/qemu/nbd"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/system"
)

// findDisks notes which disks travel with the VM, or may. What hinders one of them that must is a blocker.
func (v *VM) findDisks(all []hypervisor.Disk) error {
	v.perhaps = nil
	var found model.Problems
	var can []hypervisor.Disk
	for _, d := range all {
		switch {
		case d.Stays == "":
			can = append(can, d)
		case v.travel.All():
			found.Add(model.Blocker{VM: v.Name(), Problem: "disk " + cmdline.Shorten(d.File) + " cannot travel: " + d.Stays,
				Remedy: "put it on storage that the hosts share, and leave it there (--disks none)"})
		}
	}
	if err := found.Err(); err != nil || v.Disks != nil {
		return err
	}
	switch {
	case v.travel.All():
		v.takeDisks(can)
	case v.travel == model.DisksAuto:
		v.perhaps = can
		v.leaveOut(can) // a target that has another file there says so all the same
	}
	return nil
}

// settleDisks decides which disks travel of those that may: those that no target shares. A target without one that others share does not get the VM.
func (e *inquiry) settleDisks(ctx context.Context) [][]model.Blocker {
	why := make([][]model.Blocker, len(e.VMs))
	for i, v := range e.VMs {
		var travel []hypervisor.Disk
		for d, one := range v.perhaps {
			if e.settleDisk(v, d) {
				v.written = append(v.written, control.File{Path: one.File, Inode: one.Inode})
			} else {
				travel = append(travel, one)
			}
		}
		if v.perhaps = nil; len(travel) == 0 {
			continue
		}
		v.takeDisks(travel)
		err := v.openDisks(ctx, &e.sums)
		if first := v.disksFirst(); err == nil && first != "" {
			err = v.withoutPostCopy(first)
		}
		why[i] = blockersOf(v.Name(), err)
	}
	return why
}

// disksFirst is why the VM does not take over before its memory, because it is not to do so before its disks; "": it may.
func (v *VM) disksFirst() string {
	formatted := slices.ContainsFunc(v.Disks, func(d hypervisor.Disk) bool { return d.Qcow2 != nil })
	switch {
	case len(v.Disks) == 0:
		return ""
	case v.travel == model.DisksPre:
		return "its disks travel with it, and must be there before it runs (--disks pre)"
	case formatted:
		return "its disks travel with it, and must be there before it runs, as one of them is no raw image"
	}
	return ""
}

// settleDisk tells whether targets share a disk.
func (e *inquiry) settleDisk(v *VM, disk int) (shared bool) {
	var without []refusals.Question
	for host := range e.Links {
		q := refusals.Question{Host: host, VM: v.Number}
		switch {
		case e.Refused.Of(q) != nil:
		case e.Refused.Shares(q, disk):
			shared = true
		default:
			without = append(without, q)
		}
	}
	for _, q := range without {
		if shared {
			e.Refused.Explain(q, &refusalError{host: e.Links[q.Host].Name(), why: fmt.Sprintf("has no disk %.256s, which other targets share", v.perhaps[disk].File)})
		}
	}
	return shared
}

// takeDisks has disks travel with the VM. They are open once openDisks has returned.
func (v *VM) takeDisks(all []hypervisor.Disk) {
	v.Disks = all
	v.leaveOut(all)
}

// openDisks opens the disks that travel with the VM, if they are not. From here on its QEMU serves those that it alone can read.
func (v *VM) openDisks(ctx context.Context, sums *image.Sums) error {
	if _, is := v.Mem.(*disk.Beside); is || len(v.Disks) == 0 {
		return nil
	}
	for _, d := range v.Disks {
		if err := d.SumBacking(ctx, sums); err != nil {
			return model.Blocker{VM: v.Name(), Problem: err.Error()}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	var images []disk.Image
	var served []*nbd.Client
	through := slices.DeleteFunc(slices.Clone(v.Disks), func(d hypervisor.Disk) bool { return d.Qcow2 == nil })
	if len(through) > 0 {
		var err error
		if served, err = v.Export(ctx, through); err != nil {
			return err
		}
	}
	for _, d := range v.Disks {
		i := disk.ImageOf(d)
		if d.Qcow2 != nil {
			i.Served, served = served[0], served[1:]
		}
		images = append(images, i)
	}
	open, err := disk.OpenImages(images)
	if err != nil {
		return model.Blocker{VM: v.Name(), Problem: err.Error()}
	}
	v.Mem = &disk.Beside{Contents: v.Mem, First: len(v.Facts.Blocks), Images: open}
	return nil
}

// leaveOut takes disks from the files that must be the same ones on both hosts.
func (v *VM) leaveOut(disks []hypervisor.Disk) {
	v.written = slices.DeleteFunc(slices.Clone(v.written), func(f control.File) bool {
		return slices.ContainsFunc(disks, func(d hypervisor.Disk) bool { return d.File == f.Path })
	})
}

// newDisks describes disks to a target that is to make them; perhaps: unless it has them.
func newDisks(all []hypervisor.Disk, perhaps bool) (out []control.NewDisk) {
	for _, d := range all {
		out = append(out, d.New(perhaps))
	}
	return out
}

// diskBytes is how much of the disks that travel is no hole.
func (v *VM) diskBytes() (sum int64) {
	for _, d := range v.Disks {
		sum += d.Data
	}
	return sum
}

// Images are those of the disks that travel with the VM, of which there are some.
func (v *VM) Images() *disk.Images { return v.Mem.(*disk.Beside).Images }

// cutDisks finds what of the VM's disks is to be scanned.
func (v *VM) cutDisks() error {
	v.Pieces = nil
	for i := range v.Disks {
		pieces, err := v.Images().Cut(i)
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

// NumberOf is the number in the layout of a page of a VM, whose regions are those of Compared. Some pages of disks have none.
func (e *Scanned) NumberOf(v *VM, p pageset.Page) (at dedup.Page, ok bool) {
	if disk := p.Region - len(v.Blocks); disk >= 0 {
		return v.Pieces[disk].Find(p.Page)
	}
	return e.Layout.First(v.Regions+p.Region) + dedup.Page(p.Page), true
}

// PageOf is the inverse of NumberOf.
func (e *Scanned) PageOf(at dedup.Page) pageset.Page {
	region, page := e.Layout.Locate(at)
	r := e.Regions[region]
	return pageset.Page{Region: r.block, Page: r.start + page}
}

// populatedDisk yields what is no hole of a region, numbered from its beginning.
func (v *VM) populatedDisk(g region, pages uint32, yield func(first, n uint32) error) error {
	return v.Images().Within(g.Memory-len(v.Facts.Blocks), g.start, g.start+pages, func(first, n uint32) error { return yield(first-g.start, n) })
}

// Compared are all blocks of which the two ends of a migration have the same bytes: RAM, and behind it the disks that travel.
func (v *VM) Compared() []system.RAMBlock {
	all := slices.Clone(v.Blocks)
	if len(v.Disks) == 0 {
		return all
	}
	for i, d := range v.Disks {
		all = append(all, system.DiskBlock(d.File, d.Bytes, len(v.Facts.Blocks)+i))
	}
	return all
}
