package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/remedy"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Preflight tries each VM's migration, has every target judge each VM, and has those targets try VMs that are chosen for them. A VM that cannot
// leave, or that no target takes, stays.
func (e *inquiry) Preflight(ctx context.Context) error {
	open, err := e.StillOpen()
	if err != nil {
		return err
	}
	if err := e.leave(open); err != nil {
		return err
	}
	if err := e.leave(e.staysByPlan()); err != nil {
		return err
	}
	if err := e.leave(e.tryToLeave(ctx)); err != nil {
		return err
	}
	if err := e.judgeAll(ctx); err != nil {
		return err
	}
	if err := e.leave(e.settleDisks(ctx)); err != nil {
		return err
	}
	if err := e.tryFixed(ctx); err != nil {
		return err
	}
	return e.leave(e.refusedEverywhere())
}

// tryToLeave finds out what hinders each VM on this host.
func (e *Party) tryToLeave(ctx context.Context) [][]model.Blocker {
	why := make([][]model.Blocker, len(e.VMs))
	var g errgroup.Group
	g.SetLimit(4)
	for i, v := range e.VMs {
		g.Go(func() error {
			err := v.Preflight(ctx, func() error { return e.record(v, handover.RecSettings) })
			if err == nil || onlyRisks(err) {
				err = errors.Join(err, v.openDisks(ctx, &e.sums))
			}
			why[i] = e.forced(v, blockersOf(v.Name(), err))
			return nil
		})
	}
	_ = g.Wait() // what was found is collected
	for _, v := range e.VMs {
		for _, remark := range v.remarks {
			e.Tell(model.Event{Type: "warning", VM: v.Name(), Message: "vm " + v.Name() + ": " + remark})
		}
	}
	return why
}

// forced leaves the blockers that the operator does not force; of the others he is warned.
func (e *Party) forced(v *VM, why []model.Blocker) (left []model.Blocker) {
	for _, b := range why {
		if !e.Cfg.Force || !b.Risk {
			left = append(left, b)
			continue
		}
		v.remarks = append(v.remarks, b.Problem)
	}
	return left
}

// Preflight finds out what the VM consists of and whether QEMU would let it go, and keeps the first part of its migration stream: a
// real migration is started and cancelled as soon as it has told its RAM blocks. note is called before anything is changed.
func (v *VM) Preflight(ctx context.Context, note func() error) error {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	d, found := v.Examine(ctx)
	v.remarks = append(v.remarks, d.Remarks...)
	if found != nil && !onlyRisks(found) {
		return found
	}
	v.countFrom(d.Networks)
	v.argv, v.named, v.written, v.limits, v.Facts.MemoryBytes = d.Argv, d.Named, d.Written, d.Limits, uint64(d.Memory)
	if err := v.findDisks(d.Disks); err != nil {
		return err
	}
	if err := note(); err != nil {
		return err
	}
	cpu, err := v.CPUWords(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	v.cpu = cpu
	if err := v.Ready(ctx, v.Policy.Prepares()); err != nil {
		return err
	}
	herr := v.captureHeader(ctx)
	// Whatever was found, and whoever has lost patience, the VM must be left as it was.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), system.QMPTimeout)
	defer cancel()
	if err := errors.Join(herr, v.EndMigration(ctx), v.Restore(ctx)); err != nil {
		return err
	}
	return found
}

// captureHeader reads the stream up to the end of the ram START section.
func (v *VM) captureHeader(ctx context.Context) error {
	c, err := v.Migrate(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(system.QMPTimeout)); err != nil {
		return err
	}
	p := stream.NewParser(c, stream.Options{})
	if v.Header, err = system.ReadHead(p); errors.Is(err, io.ErrUnexpectedEOF) {
		return v.WhyClosed(ctx, err)
	} else if err != nil {
		return fmt.Errorf("vm %s: migration stream: %w", v.Name(), err)
	}
	v.Blocks, err = system.MatchBlocks(p.Blocks(), v.Facts.Blocks)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	if why := v.whyNotTakeOver(p.Blocks()); why != "" {
		return v.withoutPostCopy(why)
	}
	return nil
}

// withoutPostCopy has the VM move without, which is a blocker where the operator wants it.
func (v *VM) withoutPostCopy(why string) error {
	switch {
	case v.Policy.Must:
		why = "cannot be moved by post-copy: " + why
		return model.Blocker{VM: v.Name(), Problem: why, Remedy: remedy.For(why)}
	case v.Policy.Prepares():
		return v.neverTakesOver(why)
	}
	return nil
}

// whyNotTakeOver tells why the VM's pages cannot be sent one by one, out of its memory, to a QEMU that waits for them; "" if they can.
func (v *VM) whyNotTakeOver(listed []stream.RAMBlock) (why string) {
	if why := v.disksFirst(); why != "" {
		return why
	}
	for i, b := range v.Blocks {
		switch {
		case b.Hidden:
			why = "its QEMU does not tell where ram block " + b.Name + " is"
		case listed[i].PageSize > model.PageSize:
			why = "ram block " + b.Name + " has huge pages"
		}
	}
	return why
}

// elsewhere tells why what a socket leads to is no VM that lives here.
func (v *VM) elsewhere() error {
	if err := awayBy(v.Facts.Status); err != nil {
		return model.Blocker{VM: v.Name(), Problem: err.Error(), Remedy: "leave its socket out; if it lives nowhere else, 'cont' it first"}
	}
	return nil
}

// DiscoverVM opens a VM by its QMP socket. The error is a Blocker where there is a VM that cannot move.
func DiscoverVM(ctx context.Context, index int, socket string) (*VM, error) {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	from, proc, err := qmp.Open(ctx, socket)
	if err != nil {
		return nil, err
	}
	v := &VM{Source: from, Index: index, Number: index, Facts: from.VM, Proc: proc, Host: -1}
	mem, err := qemu.OpenMemory(v.Facts.PID, v.Facts.Blocks)
	if err != nil {
		v.Close()
		return nil, model.Blocker{VM: v.Name(), Problem: err.Error()}
	}
	v.Mem = mem
	return v, nil
}

// onlyRisks tells whether all that was found may be forced.
func onlyRisks(err error) bool {
	blocked, ok := errors.AsType[*model.BlockedError](err)
	return ok && !slices.ContainsFunc(blocked.Blockers, func(b model.Blocker) bool { return !b.Risk })
}
