package qmp

import (
	"context"
	"fmt"

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
	d, err := s.takeStock(ctx)
	all.Add(err)
	d.Remarks = remarks
	return d, all.Err()
}

// takeStock describes the VM.
func (s *Source) takeStock(ctx context.Context) (d hypervisor.Description, err error) {
	inv, err := inventory.Read(ctx, s.Client, fmt.Sprintf("/proc/%d/root", s.VM.PID))
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
