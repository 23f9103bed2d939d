package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
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
			why[i] = e.forced(v, blockersOf(v.Name(), v.Preflight(ctx, func() error { return e.record(v, handover.RecSettings) })))
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
	var all model.Problems
	all.Add(v.CheckMigration(ctx))
	all.Add(v.takeStock(ctx))
	found := all.Err()
	if found != nil && !onlyRisks(found) {
		return found
	}
	if err := note(); err != nil {
		return err
	}
	cpu, err := v.Client.CPUWords(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	v.cpu = cpu
	if err := v.SetCapabilities(ctx); err != nil {
		return err
	}
	herr := v.captureHeader(ctx)
	// Whatever was found, and whoever has lost patience, the VM must be left as it was.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), system.QMPTimeout)
	defer cancel()
	if err := errors.Join(herr, v.EndMigration(ctx), v.RestoreSettings(ctx)); err != nil {
		return err
	}
	return found
}

// CheckMigration finds all that hinders a migration, or bends it, and notes what is to be put back after it.
func (v *VM) CheckMigration(ctx context.Context) error {
	info, err := v.Client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	var found model.Problems
	if !Idle(info.Status) {
		found.Add(model.Blocker{VM: v.Name(), Problem: fmt.Sprintf("a migration is already %s", info.Status), Remedy: "let it end, or cancel it (migrate_cancel)"})
	}
	for _, why := range info.BlockedReasons {
		found.Add(model.Blocker{VM: v.Name(), Problem: "QEMU refuses to migrate it: " + why, Remedy: remedyFor(why)})
	}
	caps, err := v.Client.Capabilities(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	for _, why := range unfitCapabilities(caps) {
		found.Add(why)
	}
	v.caps = capabilitiesToSet(caps)
	p, err := v.Client.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	v.params = qemu.Parameters{DowntimeLimit: p.DowntimeLimit, MaxBandwidth: p.MaxBandwidth, AvailSwitchoverBandwidth: p.AvailSwitchoverBandwidth}
	if err := v.checkParameters(ctx, p, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	if err := v.checkTracking(ctx, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return found.Err()
}

// captureHeader reads the stream up to the end of the ram START section.
func (v *VM) captureHeader(ctx context.Context) error {
	c, err := v.StartMigration(ctx)
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
	return nil
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
	vm, client, err := qemu.Discover(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("vm at %s: %w", socket, err)
	}
	v := &VM{Index: index, Number: index, Facts: vm, Client: client, Host: -1}
	if v.Proc, err = system.OpenProcess(vm.PID, socket, ""); err != nil {
		v.Close()
		return nil, fmt.Errorf("vm %s: %w", vm.Name, err)
	}
	mem, err := qemu.OpenMemory(vm.PID, vm.Blocks)
	if err != nil {
		v.Close()
		return nil, model.Blocker{VM: vm.Name, Problem: err.Error()}
	}
	v.Mem = mem
	return v, nil
}
