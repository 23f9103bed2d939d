package source

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
)

// VM is a VM on the source: what it is, its QEMU and its memory.
type VM struct {
	Index   int // among those that move
	Number  int // among those that were found
	Facts   *qemu.VM
	argv    []string       // of a QEMU that is the VM as it is now, from preflight
	written []control.File // on its disks, from preflight
	limits  []control.Limits
	Client  *qemu.Client
	Proc    *system.Process
	Mem     pages.Contents

	Blocks  []system.RAMBlock
	Regions int             // its first region in package dedup's numbering
	Header  []byte          // of the migration stream, from preflight
	cpu     []qemu.CPUWord  // what its first processor offers
	caps    map[string]bool // migration capabilities to restore
	params  qemu.Parameters // likewise
	changed atomic.Bool     // they are not as they were
	remarks []string        // of preflight: what does not hinder it, and should be known

	Host  int         // index of its target; -1 before the plan
	Gone  atomic.Bool // given up: no more bulk for it
	Blind atomic.Bool // what the target holds is not known
}

// Name is what the VM is called.
func (v *VM) Name() string { return v.Facts.Name }

// StartMigration makes QEMU migrate to us and returns the connection.
func (v *VM) StartMigration(ctx context.Context) (net.Conn, error) {
	c, err := v.Client.Migrate(ctx)
	if err != nil {
		return nil, fmt.Errorf("vm %s: QEMU refuses to migrate: %w", v.Name(), err)
	}
	return c, nil
}

// Await polls query-migrate until done says so.
func (v *VM) Await(ctx context.Context, done func(qemu.MigrationInfo) (bool, error)) error {
	for {
		info, err := v.Client.QueryMigrate(ctx)
		if err != nil {
			return fmt.Errorf("vm %s: %w", v.Name(), err)
		}
		if ok, err := done(info); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("vm %s: migration is %s: %w", v.Name(), info.Status, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// EndMigration sees that the VM's migration has ended.
func (v *VM) EndMigration(ctx context.Context) error {
	info, err := v.Client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	if Idle(info.Status) {
		return nil
	}
	if err := v.Client.CancelMigration(ctx); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return v.Await(ctx, func(i qemu.MigrationInfo) (bool, error) { return Idle(i.Status), nil })
}

// Idle tells whether no migration is under way.
func Idle(s qemu.MigrationStatus) bool {
	return s == "" || s == qemu.MigrationNone || s.Ended()
}

// RestoreSettings gives QEMU back the migration settings that it had. The VM's place does not hang on it.
func (v *VM) RestoreSettings(ctx context.Context) error {
	if v.caps == nil || !v.changed.Load() || !v.Proc.Alive() {
		return nil
	}
	err := RestoreSettings(ctx, v.Client, v.caps, v.params)
	v.changed.Store(err != nil)
	return err
}

// RestoreSettings gives a QEMU migration settings.
func RestoreSettings(ctx context.Context, c *qemu.Client, caps map[string]bool, params qemu.Parameters) error {
	return errors.Join(c.SetCapabilities(ctx, caps), c.SetParameters(ctx, params))
}

// hasEnded tells whether the VM's QEMU has ended, or is ending: its memory goes first.
func (v *VM) hasEnded() bool { return v.Proc != nil && v.Proc.Wait(time.Second) }

// Unsettled tells whether QEMU has other migration settings than it had, and lives.
func (v *VM) Unsettled() bool { return v.changed.Load() && v.Proc.Alive() }

// PrepareMessage describes the VM to its target.
func (v *VM) PrepareMessage() control.Prepare {
	p := control.Prepare{VM: v.Index, Name: v.Name(), Argv: v.argv, Memory: int64(v.Facts.MemoryBytes), VCPUs: v.Facts.VCPUs,
		Machine: v.Facts.Machine, Header: v.Header}
	p.Limits = v.limits
	for _, b := range v.Blocks {
		p.Blocks = append(p.Blocks, control.Block{ID: b.Name, Length: b.Length})
	}
	return p
}

// Close releases the VM's monitor and memory; it does not touch the VM.
func (v *VM) Close() {
	if v.Client != nil {
		v.Client.Close()
	}
	if v.Mem != nil {
		v.Mem.Close()
	}
	if v.Proc != nil {
		v.Proc.Close()
	}
}
