package source

import (
	"context"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// takeStock finds out what the VM consists of now, and how a QEMU is started that is the same. What cannot be said on a
// command line, or must not be interrupted, is told all at once, as a *BlockedError.
func (v *VM) takeStock(ctx context.Context) error {
	inv, err := inventory.Read(ctx, v.Client, fmt.Sprintf("/proc/%d/root", v.Facts.PID))
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	argv, err := inventory.Expand(v.Facts.Argv, v.Facts.PID)
	if err != nil {
		return model.Blocker{VM: v.Name(), Problem: err.Error(), Remedy: "write the options of the file on its command line"}
	}
	var findings []inventory.Finding
	v.argv, findings = inventory.Command(inv, argv)
	memory, err := qemu.MemoryOf(v.argv)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	v.Facts.MemoryBytes = max(v.Facts.MemoryBytes, uint64(memory))
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
		blockers = append(blockers, model.Blocker{VM: v.Name(), Problem: f.Problem, Remedy: f.Remedy, Risk: f.Risk})
	}
	if blockers == nil {
		return nil
	}
	return &model.BlockedError{Blockers: blockers}
}
