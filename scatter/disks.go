package scatter

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// takeStock finds out what the VM consists of now, and how a QEMU is started that is the same. What cannot be said on a
// command line, or must not be interrupted, is told all at once, as a *BlockedError.
func (v *sourceVM) takeStock(ctx context.Context) error {
	inv, err := inventory.Read(ctx, v.client, fmt.Sprintf("/proc/%d/root", v.vm.PID))
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	argv, err := inventory.Expand(v.vm.Argv, v.vm.PID)
	if err != nil {
		return model.Blocker{VM: v.name(), Problem: err.Error(), Remedy: "write the options of the file on its command line"}
	}
	var findings []inventory.Finding
	v.argv, findings = inventory.Command(inv, argv)
	memory, err := qemu.MemoryOf(v.argv)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.vm.MemoryBytes = max(v.vm.MemoryBytes, uint64(memory))
	v.written = nil
	for _, n := range inv.Written() {
		v.written = append(v.written, control.File{Path: n.File, Inode: n.Inode})
	}
	v.limits = nil
	for _, l := range inventory.LimitsOf(inv) {
		v.limits = append(v.limits, control.Limits(l))
	}
	var blockers []model.Blocker
	for _, f := range findings {
		blockers = append(blockers, model.Blocker{VM: v.name(), Problem: f.Problem, Remedy: f.Remedy, Risk: f.Risk})
	}
	if blockers == nil {
		return nil
	}
	return &model.BlockedError{Blockers: blockers}
}

// compareDisks is the last look before commit: the target must have the disks and devices that the stopped VM has now. A
// difference means that the guest would go on with others.
func (e checking) compareDisks(ctx context.Context, v *sourceVM) error {
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	ours, err := inventory.ReadOutline(ctx, v.client)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	theirs := v.disks.Load()
	switch {
	case theirs == nil:
		err = errors.New("the target has not told what it has")
	case theirs.Error != "":
		err = fmt.Errorf("target: %s", theirs.Error)
	default:
		err = inventory.Compare(ours, inventory.Outline{Disks: disksOf(theirs.Disks), Devices: theirs.Devices}, sameName(theirs))
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

// sameName tells whether two names mean the same file, after what the target says of its names; nil if that cannot be told.
func sameName(m *control.Loaded) func(source, target string) bool {
	var p qemu.LaunchPolicy
	for _, r := range m.Rewrites {
		p.Rewrites = append(p.Rewrites, qemu.Rewrite{From: r.From, To: r.To})
	}
	if m.Renamed {
		return nil
	}
	return func(source, target string) bool {
		return p.RewriteDisk(source) == qemu.LaunchPolicy{}.RewriteDisk(target)
	}
}

func disksOf(told []control.Disk) []inventory.Disk {
	disks := make([]inventory.Disk, len(told))
	for i, d := range told {
		disks[i].Device = d.Device
		for _, l := range d.Layers {
			disks[i].Layers = append(disks[i].Layers, inventory.Layer(l))
		}
	}
	return disks
}
