package scatter

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

// sourceVM is a VM on the source: what it is, its QEMU and its memory.
type sourceVM struct {
	index   int // among those that move
	number  int // among those that were found
	vm      *qemu.VM
	argv    []string       // of a QEMU that is the VM as it is now, from preflight
	written []control.File // on its disks, from preflight
	limits  []control.Limits
	client  *qemu.Client
	proc    *system.Process
	mem     pages.Contents

	blocks  []system.RAMBlock
	regions int             // its first region in package dedup's numbering
	header  []byte          // of the migration stream, from preflight
	cpu     []qemu.CPUWord  // what its first processor offers
	caps    map[string]bool // migration capabilities to restore
	params  qemu.Parameters // likewise
	changed atomic.Bool     // they are not as they were
	remarks []string        // of preflight: what does not hinder it, and should be known

	host  int         // index of its target; -1 before the plan
	gone  atomic.Bool // given up: no more bulk for it
	blind atomic.Bool // what the target holds is not known
}

func (v *sourceVM) name() string { return v.vm.Name }

// startMigration makes QEMU migrate to us and returns the connection.
func (v *sourceVM) startMigration(ctx context.Context) (net.Conn, error) {
	c, err := v.client.Migrate(ctx)
	if err != nil {
		return nil, fmt.Errorf("vm %s: QEMU refuses to migrate: %w", v.name(), err)
	}
	return c, nil
}

// await polls query-migrate until done says so.
func (v *sourceVM) await(ctx context.Context, done func(qemu.MigrationInfo) (bool, error)) error {
	for {
		info, err := v.client.QueryMigrate(ctx)
		if err != nil {
			return fmt.Errorf("vm %s: %w", v.name(), err)
		}
		if ok, err := done(info); ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("vm %s: migration is %s: %w", v.name(), info.Status, context.Cause(ctx))
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// endMigration sees that the VM's migration has ended.
func (v *sourceVM) endMigration(ctx context.Context) error {
	info, err := v.client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	if idle(info.Status) {
		return nil
	}
	if err := v.client.CancelMigration(ctx); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return v.await(ctx, func(i qemu.MigrationInfo) (bool, error) { return idle(i.Status), nil })
}

func idle(s qemu.MigrationStatus) bool {
	return s == "" || s == qemu.MigrationNone || s.Ended()
}

// restoreSettings gives QEMU back the migration settings that it had. The VM's place does not hang on it.
func (v *sourceVM) restoreSettings(ctx context.Context) error {
	if v.caps == nil || !v.changed.Load() || !v.proc.Alive() {
		return nil
	}
	err := restoreSettings(ctx, v.client, v.caps, v.params)
	v.changed.Store(err != nil)
	return err
}

func restoreSettings(ctx context.Context, c *qemu.Client, caps map[string]bool, params qemu.Parameters) error {
	return errors.Join(c.SetCapabilities(ctx, caps), c.SetParameters(ctx, params))
}

// hasEnded tells whether the VM's QEMU has ended, or is ending: its memory goes first.
func (v *sourceVM) hasEnded() bool { return v.proc != nil && v.proc.Wait(time.Second) }

// unsettled tells whether QEMU has other migration settings than it had, and lives.
func (v *sourceVM) unsettled() bool { return v.changed.Load() && v.proc.Alive() }

// prepareMessage describes the VM to its target.
func (v *sourceVM) prepareMessage() control.Prepare {
	p := control.Prepare{VM: v.index, Name: v.name(), Argv: v.argv, Memory: int64(v.vm.MemoryBytes), VCPUs: v.vm.VCPUs,
		Machine: v.vm.Machine, Header: v.header}
	p.Limits = v.limits
	for _, b := range v.blocks {
		p.Blocks = append(p.Blocks, control.Block{ID: b.Name, Length: b.Length})
	}
	return p
}

// close releases the VM's monitor and memory; it does not touch the VM.
func (v *sourceVM) close() {
	if v.client != nil {
		v.client.Close()
	}
	if v.mem != nil {
		v.mem.Close()
	}
	if v.proc != nil {
		v.proc.Close()
	}
}
