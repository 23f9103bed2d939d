package qmp

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Examine finds out what the VM consists of now, how a QEMU is started that is the same, and what hinders its migration. What cannot be said on a
// command line, or must not be interrupted, hinders it too.
func (s *Source) Examine(ctx context.Context) (hypervisor.Description, error) {
	_ = s.measureUse(ctx) // else it begins when the VM may be throttled
	var all model.Problems
	remarks, err := s.checkMigration(ctx)
	all.Add(err)
	d, err := takeStock(ctx, s)
	all.Add(err)
	d.Remarks = remarks
	return d, all.Err()
}

// takeStock describes the VM.
func takeStock(ctx context.Context, s *Source) (d hypervisor.Description, err error) {
	root := fmt.Sprintf("/proc/%d/root", s.VM.PID)
	inv, err := inventory.Read(ctx, s.Client, root)
	if err != nil {
		return d, s.named(err)
	}
	argv, err := inventory.Expand(s.VM.Argv, s.VM.PID)
	if err != nil {
		return d, model.Blocker{VM: s.VM.Name, Problem: err.Error(), Remedy: "write the options of the file on its command line"}
	}
	var findings []inventory.Finding
	d.Argv, findings = inventory.Command(inv, argv)
	if d.Memory, err = qemu.MemoryOf(d.Argv); err != nil {
		return d, s.named(err)
	}
	d.Networks = inv.Networks
	d.Memory = max(d.Memory, int64(s.VM.MemoryBytes))
	for _, n := range inv.Written() {
		d.Written = append(d.Written, control.File{Path: n.File, Inode: n.Inode})
	}
	d.Disks = disksOf(inv, root)
	d.Named = nameDisks(inv, d)
	for _, l := range inventory.LimitsOf(inv) {
		d.Limits = append(d.Limits, control.Limits(l))
	}
	var blockers []model.Blocker
	for _, f := range findings {
		blockers = append(blockers, model.Blocker{VM: s.VM.Name, Problem: f.Problem, Remedy: f.Remedy, Risk: f.Risk})
	}
	if blockers == nil {
		return d, nil
	}
	return d, &model.BlockedError{Blockers: blockers}
}

// Disks are those that the VM writes to.
func (s *Source) Disks(ctx context.Context) ([]hypervisor.Disk, error) {
	root := fmt.Sprintf("/proc/%d/root", s.VM.PID)
	inv, err := inventory.Read(ctx, s.Client, root)
	if err != nil {
		return nil, s.named(err)
	}
	return disksOf(inv, root), nil
}

// disksOf are the disks that devices may write to, whose files lie below root.
func disksOf(inv *inventory.Inventory, root string) (all []hypervisor.Disk) {
	seen := make(map[*inventory.Node]bool)
	for _, drive := range inv.Drives {
		if drive.Root == nil || drive.Root.ReadOnly || drive.Device == "" || seen[drive.Root] {
			continue
		}
		seen[drive.Root] = true
		d := hypervisor.Disk{Node: drive.Root.Name, Layer: drive.Root.Name, File: drive.Root.File, Bytes: drive.Root.Size}
		if !drive.Root.Named() {
			d.Node = drive.Name
		}
		if d.Stays = whyStays(drive); d.Stays == "" {
			file := drive.Root.Child("file")
			d.File, d.Path, d.Inode, d.Direct = file.File, filepath.Join(root, file.File), file.Inode, drive.Root.Direct
			d.Data = min(d.Bytes, file.Allocated)
			if q := drive.Root.Qcow2; q != nil {
				for b := drive.Root.Child("backing"); b != nil; b = b.Child("backing") {
					f := b.Child("file")
					d.Backing = append(d.Backing, control.Backing{Path: f.File, Format: b.Driver, Inode: f.Inode, Bytes: f.Size})
					d.Below = append(d.Below, filepath.Join(root, f.File))
				}
				d.Qcow2 = &control.Qcow2{Cluster: q.Cluster, Compat: q.Compat, LazyRefcounts: q.LazyRefcounts, RefcountBits: q.RefcountBits, ExtendedL2: q.ExtendedL2, Compression: q.Compression}
			}
		}
		all = append(all, d)
	}
	return all
}

// nameDisks is a command line with names for the nodes of disks that can travel.
func nameDisks(inv *inventory.Inventory, d hypervisor.Description) []string {
	drives := make(map[string]bool)
	for _, disk := range d.Disks {
		drives[disk.Node] = disk.Stays == "" // of one that has a node of its own name there is no drive
	}
	return inventory.NameDrives(inv, d.Argv, drives)
}

// whyStays tells why a disk cannot be read beside QEMU, or through it, or not be mirrored; "" if it can.
func whyStays(d inventory.Drive) string {
	root, file := d.Root, d.Root.Child("file")
	switch {
	case root.Driver == "qcow2":
		if why := whyStaysQcow2(root); why != "" {
			return why
		}
	case root.Driver != "raw":
		return "its format is " + root.Driver + ", neither raw nor qcow2"
	}
	switch {
	case file == nil || len(file.Children) != 0 || len(root.Children) != 1 && (root.Driver == "raw" || len(root.Children) != 2 || root.Child("backing") == nil):
		return "it has more than a file below it"
	case file.Driver != "file" || file.Inode == 0:
		return "it is no regular file of this host"
	case !root.Named() && d.Name == "":
		return "its node has no name (-blockdev node-name=)"
	case root.Encrypted:
		return "it is encrypted"
	case len(root.Bitmaps) > 0:
		return "it has dirty bitmaps"
	case root.Qcow2 == nil && file.Size != root.Size:
		return "it is a part of its file"
	}
	return ""
}

// whyStaysQcow2 is whyStays for what an image of that format may be beside a disk.
func whyStaysQcow2(n *inventory.Node) string {
	switch {
	case n.Qcow2 == nil:
		return "QEMU does not say how its image is made"
	case n.Qcow2.Corrupt:
		return "its image is marked as corrupt"
	case n.Qcow2.Snapshots:
		return "it has internal snapshots, which would be lost"
	case n.Qcow2.DataFile != "" || n.Child("data-file") != nil:
		return "its data is in another file than its image"
	case n.Child("backing") == nil && n.Header.Backing != "":
		return "it has a backing file that its QEMU does not use"
	case n.Child("backing") != nil:
		return whyStaysBelow(n.Child("backing"))
	}
	return ""
}

// whyStaysBelow is whyStays for the images below another one.
func whyStaysBelow(n *inventory.Node) string {
	for ; n != nil; n = n.Child("backing") {
		file := n.Child("file")
		switch {
		case n.Driver != "raw" && n.Driver != "qcow2":
			return "the format of a backing file is " + n.Driver + ", neither raw nor qcow2"
		case file == nil || file.Driver != "file" || file.Inode == 0 || len(file.Children) != 0:
			return "a backing file is no regular file of this host"
		case !n.ReadOnly:
			return "a backing file is being written"
		case n.Encrypted || n.Qcow2 != nil && n.Qcow2.DataFile != "" || n.Driver == "raw" && n.Size != file.Size:
			return "a backing file is more than an image"
		}
	}
	return ""
}
