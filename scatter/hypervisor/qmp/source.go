// Package qmp is VMs whose QEMUs nobody owns but whoever holds their monitors: they are found, moved and started by QMP sockets.
package qmp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/qemu/quota"
	"github.com/scatter-vm/scatter/qemu/ram"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// How often, and how many times, it is asked whether unplugged RAM is freed.
const (
	freedPoll  = 20 * time.Millisecond
	freedPolls = 100
)

// Source is a VM that may leave: a hypervisor.Source.
type Source struct {
	*qemu.Client
	mirrors
	exports
	VM *qemu.VM // as it was found

	proc    *system.Process
	had     hypervisor.Settings // to be put back
	changed atomic.Bool         // they are not as they were
	use     *quota.Use          // of its processors, while it may be throttled
	quota   *quota.Quota        // throttles it; nil: QEMU does
}

// Open opens a VM by its QMP socket. proc is its process, which the caller closes.
func Open(ctx context.Context, socket string) (s *Source, proc *system.Process, err error) {
	vm, client, err := qemu.Discover(ctx, socket)
	if err != nil {
		return nil, nil, fmt.Errorf("vm at %s: %w", socket, err)
	}
	if proc, err = system.OpenProcess(vm.PID, socket, ""); err != nil {
		client.Close()
		return nil, nil, fmt.Errorf("vm %s: %w", vm.Name, err)
	}
	return &Source{Client: client, mirrors: mirrors{client: client, vm: vm.Name}, exports: exports{client: client, vm: vm.Name}, VM: vm, proc: proc}, proc, nil
}

// Reopen takes hold of a VM again whose migration settings may have to be put back to what they had been. proc is its process, which the caller
// may close at any time.
func Reopen(ctx context.Context, name, socket string, proc *system.Process, had hypervisor.Settings) (*Source, error) {
	client, err := qemu.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	s := &Source{Client: client, mirrors: mirrors{client: client, vm: name}, exports: exports{client: client, vm: name},
		VM: &qemu.VM{Name: name, PID: client.PID(), Socket: socket}, proc: proc, had: had}
	s.changed.Store(true)
	return s, nil
}

// Close ends the exports and the mirrors, and lets go of the VM.
func (s *Source) Close() error {
	s.closeExports()
	return s.closeMirrors()
}

// named says of which VM an error is.
func (s *Source) named(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("vm %s: %w", s.VM.Name, err)
}

// Outline is what the two ends of its migration must have alike.
func (s *Source) Outline(ctx context.Context) (inventory.Outline, error) {
	o, err := inventory.ReadOutline(ctx, s.Client)
	return o, s.named(err)
}

// Address finds a guest physical address in the RAM blocks that were found.
func (s *Source) Address(ctx context.Context, gpa uint64) (block int, offset uint64, ok bool, err error) {
	if block, offset, ok, err = s.Client.Address(ctx, s.VM.Blocks, gpa); err != nil {
		err = fmt.Errorf("vm %s: address %#x: %w", s.VM.Name, gpa, err)
	}
	return block, offset, ok, err
}

// Migrate makes QEMU migrate to us and returns the connection.
func (s *Source) Migrate(ctx context.Context) (net.Conn, error) {
	if err := awaitFreed(ctx, s); err != nil {
		return nil, s.named(err)
	}
	c, err := s.Client.Migrate(ctx)
	if err != nil {
		return nil, fmt.Errorf("vm %s: QEMU refuses to migrate: %w", s.VM.Name, err)
	}
	return c, nil
}

// awaitFreed returns when QEMU has freed the RAM of what was unplugged, or has not for a while: then its guest has RAM that it never names. An
// emulated (TCG) guest hangs for ever in a migration that begins meanwhile: its thread holds the list of RAM blocks and waits for a processor, which
// waits for the big lock, which whoever frees a block holds and waits for the list (system/memory.c, memory_global_after_dirty_log_sync). A block
// loses its name when its device goes, and its place in the list when it is freed (qemu_ram_free).
func awaitFreed(ctx context.Context, s *Source) error {
	if kvm, err := s.UnderKVM(ctx); err != nil || kvm {
		return err
	}
	for range freedPolls {
		blocks, err := s.RAMBlocks(ctx)
		if err != nil || !slices.ContainsFunc(blocks, func(b ram.Block) bool { return b.ID == "" }) {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(freedPoll):
		}
	}
	return nil
}

// await polls query-migrate until done says so.
func (s *Source) await(ctx context.Context, done func(qemu.MigrationInfo) (bool, error)) error {
	for {
		info, err := s.QueryMigrate(ctx)
		if err != nil {
			return s.named(err)
		}
		if ok, err := done(info); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("vm %s: migration is %s: %w", s.VM.Name, info.Status, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// AwaitCompleted returns when QEMU reports that the migration has completed.
func (s *Source) AwaitCompleted(ctx context.Context) error {
	return s.await(ctx, func(i qemu.MigrationInfo) (bool, error) {
		switch i.Status {
		case qemu.MigrationCompleted:
			return true, nil
		case qemu.MigrationFailed, qemu.MigrationCancelled:
			return false, fmt.Errorf("vm %s: QEMU reports %s: %s", s.VM.Name, i.Status, i.ErrorDesc)
		}
		return false, nil
	})
}

// EndMigration sees that the VM's migration has ended.
func (s *Source) EndMigration(ctx context.Context) error {
	info, err := s.QueryMigrate(ctx)
	if err != nil {
		return s.named(err)
	}
	switch {
	case info.Status.Idle():
		return nil
	case info.Status.PostCopy():
		return completeLost(ctx, s)
	}
	if err := s.CancelMigration(ctx); err != nil {
		return s.named(err)
	}
	return s.await(ctx, func(i qemu.MigrationInfo) (bool, error) { return i.Status.Idle(), nil })
}

// holdDowntime is the down-time limit, in ms, at which QEMU stays in pre-copy. Zero would switch over at once.
const holdDowntime = 1

// Hold is Ready for a migration that stays in pre-copy: what QEMU must know about the way to the target is its bandwidth, not this socket's.
func (s *Source) Hold(ctx context.Context, rate int64, throttle, postCopy bool) error {
	if err := s.Ready(ctx, postCopy); err != nil {
		return err
	}
	if s.mirrored() {
		if err := s.SetCapabilities(ctx, map[string]bool{"pause-before-switchover": true}); err != nil {
			return s.named(err)
		}
	}
	if throttle {
		if err := s.readyToThrottle(ctx); err != nil {
			return err
		}
	}
	known, err := s.Parameters(ctx)
	if err != nil {
		return s.named(err)
	}
	p := qemu.Parameters{DowntimeLimit: new(uint64(holdDowntime)), MaxBandwidth: new(uint64(0))}
	if known.AvailSwitchoverBandwidth != nil && rate > 0 {
		p.AvailSwitchoverBandwidth = new(uint64(rate))
	}
	return s.named(s.SetParameters(ctx, p))
}

// LetSwitch lets QEMU switch over: what remains is declared to fit into the limit.
func (s *Source) LetSwitch(ctx context.Context, remaining int64, limit time.Duration, rate int64) error {
	p := qemu.Parameters{DowntimeLimit: new(uint64(max(2, limit.Milliseconds())))}
	known, err := s.Parameters(ctx)
	if err != nil {
		return err
	}
	if known.AvailSwitchoverBandwidth != nil {
		// QEMU compares its dirty pages, most of which the filter drops, to bandwidth x limit.
		need := 4 * float64(remaining+model.PageSize) / max(0.002, limit.Seconds())
		p.AvailSwitchoverBandwidth = new(uint64(max(need, float64(rate))))
	}
	err = s.SetParameters(ctx, p)
	if _, ended := errors.AsType[*qemu.QMPError](err); ended {
		return nil // the migration has just ended
	}
	return err
}
