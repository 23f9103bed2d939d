package scatter

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

// preflight tries each VM's migration, has every target judge each VM, and has those targets try VMs that are chosen for them. A VM that cannot
// leave, or that no target takes, stays.
func (e *inquiry) preflight(ctx context.Context) error {
	open, err := e.stillOpen()
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
func (e *party) tryToLeave(ctx context.Context) [][]model.Blocker {
	why := make([][]model.Blocker, len(e.vms))
	var g errgroup.Group
	g.SetLimit(4)
	for i, v := range e.vms {
		g.Go(func() error {
			why[i] = e.forced(v, blockersOf(v.name(), v.preflight(ctx, func() error { return e.record(v, handover.RecSettings) })))
			return nil
		})
	}
	_ = g.Wait() // what was found is collected
	for _, v := range e.vms {
		for _, remark := range v.remarks {
			e.tell(model.Event{Type: "warning", VM: v.name(), Message: "vm " + v.name() + ": " + remark})
		}
	}
	return why
}

// forced leaves the blockers that the operator does not force; of the others he is warned.
func (e *party) forced(v *sourceVM, why []model.Blocker) (left []model.Blocker) {
	for _, b := range why {
		if !e.cfg.Force || !b.Risk {
			left = append(left, b)
			continue
		}
		v.remarks = append(v.remarks, b.Problem)
	}
	return left
}

// preflight finds out what the VM consists of and whether QEMU would let it go, and keeps the first part of its migration stream: a
// real migration is started and cancelled as soon as it has told its RAM blocks. note is called before anything is changed.
func (v *sourceVM) preflight(ctx context.Context, note func() error) error {
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	var all model.Problems
	all.Add(v.checkMigration(ctx))
	all.Add(v.takeStock(ctx))
	found := all.Err()
	if found != nil && !onlyRisks(found) {
		return found
	}
	if err := note(); err != nil {
		return err
	}
	cpu, err := v.client.CPUWords(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.cpu = cpu
	if err := v.setCapabilities(ctx); err != nil {
		return err
	}
	herr := v.captureHeader(ctx)
	// Whatever was found, and whoever has lost patience, the VM must be left as it was.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), system.QmpTimeout)
	defer cancel()
	if err := errors.Join(herr, v.endMigration(ctx), v.restoreSettings(ctx)); err != nil {
		return err
	}
	return found
}

// checkMigration finds all that hinders a migration, or bends it, and notes what is to be put back after it.
func (v *sourceVM) checkMigration(ctx context.Context) error {
	info, err := v.client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	var found model.Problems
	if !idle(info.Status) {
		found.Add(model.Blocker{VM: v.name(), Problem: fmt.Sprintf("a migration is already %s", info.Status), Remedy: "let it end, or cancel it (migrate_cancel)"})
	}
	for _, why := range info.BlockedReasons {
		found.Add(model.Blocker{VM: v.name(), Problem: "QEMU refuses to migrate it: " + why, Remedy: remedyFor(why)})
	}
	caps, err := v.client.Capabilities(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	for _, why := range unfitCapabilities(caps) {
		found.Add(why)
	}
	v.caps = capabilitiesToSet(caps)
	p, err := v.client.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	v.params = qemu.Parameters{DowntimeLimit: p.DowntimeLimit, MaxBandwidth: p.MaxBandwidth, AvailSwitchoverBandwidth: p.AvailSwitchoverBandwidth}
	if err := v.checkParameters(ctx, p, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	if err := v.checkTracking(ctx, &found); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return found.Err()
}

// captureHeader reads the stream up to the end of the ram START section.
func (v *sourceVM) captureHeader(ctx context.Context) error {
	c, err := v.startMigration(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(system.QmpTimeout)); err != nil {
		return err
	}
	p := stream.NewParser(c, stream.Options{})
	if v.header, err = system.ReadHead(p); errors.Is(err, io.ErrUnexpectedEOF) {
		return v.whyClosed(ctx, err)
	} else if err != nil {
		return fmt.Errorf("vm %s: migration stream: %w", v.name(), err)
	}
	v.blocks, err = system.MatchBlocks(p.Blocks(), v.vm.Blocks)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

// elsewhere tells why what a socket leads to is no VM that lives here.
func (v *sourceVM) elsewhere() error {
	if err := awayBy(v.vm.Status); err != nil {
		return model.Blocker{VM: v.name(), Problem: err.Error(), Remedy: "leave its socket out; if it lives nowhere else, 'cont' it first"}
	}
	return nil
}

// discoverVM opens a VM by its QMP socket. The error is a Blocker where there is a VM that cannot move.
func discoverVM(ctx context.Context, index int, socket string) (*sourceVM, error) {
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	vm, client, err := qemu.Discover(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("vm at %s: %w", socket, err)
	}
	v := &sourceVM{index: index, number: index, vm: vm, client: client, host: -1}
	if v.proc, err = system.OpenProcess(vm.PID, socket, ""); err != nil {
		v.close()
		return nil, fmt.Errorf("vm %s: %w", vm.Name, err)
	}
	mem, err := qemu.OpenMemory(vm.PID, vm.Blocks)
	if err != nil {
		v.close()
		return nil, model.Blocker{VM: vm.Name, Problem: err.Error()}
	}
	v.mem = mem
	return v, nil
}
