package scatter

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// sourceVM is a VM on the source: its QEMU, its memory and its migration.
type sourceVM struct {
	index   int // among those that move
	number  int // among those that were found
	vm      *qemu.VM
	argv    []string       // of a QEMU that is the VM as it is now, from preflight
	written []control.File // on its disks, from preflight
	limits  []control.Limits
	client  *qemu.Client
	proc    *system.Process
	mem     *qemu.Memory

	blocks  []system.RAMBlock
	regions int             // its first region in package dedup's numbering
	zero    []bool          // by block: all zero on the target before bulk
	header  []byte          // of the migration stream, from preflight
	cpu     []qemu.CPUWord  // what its first processor offers
	caps    map[string]bool // migration capabilities to restore
	params  qemu.Parameters // likewise
	changed atomic.Bool     // they are not as they were
	remarks []string        // of preflight: what does not hinder it, and should be known

	host int // index of its target; -1 before the plan

	gone    atomic.Bool // given up: no more bulk for it
	blind   atomic.Bool // what the target holds is not known
	lingers atomic.Bool // it has left, and its QEMU did not quit
	pausing sync.Mutex  // held while scatter stops it

	tailBegun    atomic.Bool                    // all of its RAM was sent, its devices are about to be
	toldToRun    atomic.Bool                    // the target was
	overdue      *time.Timer                    // of the present state; under mu
	loaded       atomic.Bool                    // the target has all of it
	disks        atomic.Pointer[control.Loaded] // what the target consists of
	convergeSent atomic.Int64                   // bytes

	mu        sync.Mutex         // guards the fields below
	migration net.Conn           // from QEMU, while it migrates
	stop      context.CancelFunc // ends the running converge
	ended     chan struct{}      // closed when it has ended
	filter    *filter

	pausedByUs bool   // scatter has stopped it, so it is to run on
	atSwitch   string // run state at the switch-over, as the stream tells it; "" before
	shutdown   string // why QEMU has shut the VM down; "" if it has not said so
	found      string // run state in which it was last seen, in QEMU's words

	stages  []model.StageTime
	stopped time.Time // stopped for the switch-over
	ran     time.Time // target runs
	passes  int
	digest  bool
	leftOut []model.LeftOut // of the digest
	devices *stream.Record  // their state, as it was sent; nil = not kept
	state   handover.State
	cause   error
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

// giveShut tells the source QEMU that the target has it all, and waits until it has completed.
func (v *sourceVM) giveShut(ctx context.Context) error {
	v.mu.Lock()
	c := v.migration
	v.mu.Unlock()
	if c == nil {
		return fmt.Errorf("vm %s: its migration is gone", v.name())
	}
	if _, err := c.Write(stream.Return{Kind: stream.ReturnShut}.Append(nil)); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	return v.await(ctx, func(i qemu.MigrationInfo) (bool, error) {
		switch i.Status {
		case qemu.MigrationCompleted:
			return true, nil
		case qemu.MigrationFailed, qemu.MigrationCancelled:
			return false, fmt.Errorf("vm %s: QEMU reports %s: %s", v.name(), i.Status, i.ErrorDesc)
		}
		return false, nil
	})
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

// endMigration closes QEMU's migration socket, on which QEMU goes on by itself, and sees that the migration has ended.
func (v *sourceVM) endMigration(ctx context.Context) error {
	v.mu.Lock()
	c, stop, ended := v.migration, v.stop, v.ended
	v.migration = nil
	v.mu.Unlock()
	if c != nil {
		c.Close() // first: a QEMU that waits for us in its device state has a deaf monitor
	}
	if stop != nil {
		stop()
		<-ended
	}
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

// pause stops a VM that would not converge otherwise, unless it is being taken back, or was stopped by others meanwhile. note is
// called before.
func (v *sourceVM) pause(ctx context.Context, note func() error) error {
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	v.pausing.Lock()
	defer v.pausing.Unlock()
	if v.gone.Load() {
		return nil
	}
	status, err := v.client.Status(ctx)
	if err != nil || !status.Running {
		return err
	}
	if err := note(); err != nil {
		return err
	}
	v.mu.Lock()
	v.pausedByUs = true
	v.mu.Unlock()
	return v.client.Stop(ctx)
}

// takeBack ends the migration and sees that the VM is as others have left it: running, paused or suspended. It tells whether the
// guest has powered itself off. What QEMU refuses is tried again for as long as patience lasts.
func (v *sourceVM) takeBack(ctx context.Context, patience time.Duration) (off bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, system.QmpTimeout)
	defer cancel()
	if !v.proc.Alive() {
		return false, fmt.Errorf("vm %s: its QEMU (process %d) has ended", v.name(), v.vm.PID)
	}
	if err := v.endMigration(ctx); err != nil {
		return false, err
	}
	v.pausing.Lock()   // from here on nobody stops it any more: gone is set
	v.pausing.Unlock() //lint:ignore SA2001 whoever was about to stop it is waited for
	for end := time.Now().Add(patience); ; {
		status, err := v.client.Status(ctx)
		if err == nil {
			var settled bool
			if settled, err = v.settle(ctx, status); settled {
				return status.Status == "shutdown", nil
			}
		}
		var refused *qemu.QMPError
		if err != nil && (!errors.As(err, &refused) || time.Now().After(end)) {
			return false, fmt.Errorf("vm %s: %w", v.name(), err)
		}
		if err := system.Pause(ctx, 10*time.Millisecond); err != nil {
			return false, fmt.Errorf("vm %s: QEMU is %s after the migration was given up: %w", v.name(), status.Status, err)
		}
	}
}

// settle continues a VM that the migration, or scatter, has stopped, and tells whether it stands as it should.
func (v *sourceVM) settle(ctx context.Context, status qemu.RunState) (bool, error) {
	switch status.Status {
	case "finish-migrate":
		return false, nil // it is about to go on by itself
	case "postmigrate":
		if v.leftPaused() {
			return true, nil
		}
	case "paused":
		if !v.wasPausedByUs() {
			return true, nil
		}
	default:
		return true, nil
	}
	return false, v.client.Cont(ctx)
}

func (v *sourceVM) wasPausedByUs() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pausedByUs
}

// leftPaused tells whether others than scatter had stopped the VM when it was switched over, or, before that, when it was found.
func (v *sourceVM) leftPaused() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	state := v.atSwitch
	if state == "" {
		state = v.found
	}
	return !handover.Runs(state) && !v.pausedByUs
}

// stateToRun is the run state that the VM is to have on its target.
func (v *sourceVM) stateToRun() string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.pausedByUs {
		return "running"
	}
	return v.atSwitch
}

func (v *sourceVM) setAtSwitch(state string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.atSwitch = state; state == "" {
		v.atSwitch = v.found // machine types before 2.4 do not tell
	}
}

func (v *sourceVM) shutDown(reason string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shutdown = reason
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

// isStopped tells whether the switch-over has begun.
func (v *sourceVM) isStopped() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.stopped.IsZero()
}

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
	v.mu.Lock()
	if v.migration != nil {
		v.migration.Close()
	}
	v.mu.Unlock()
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
