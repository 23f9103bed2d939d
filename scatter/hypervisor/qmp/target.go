package qmp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Target is a QEMU that waits for its migration stream: a hypervisor.Target.
type Target struct {
	*qemu.Client
	log *slog.Logger
}

// TargetOf is the one with this monitor.
func TargetOf(client *qemu.Client, log *slog.Logger) *Target { return &Target{client, log} }

// Outline is what it must have alike with its source.
func (t *Target) Outline(ctx context.Context) (inventory.Outline, error) {
	return inventory.ReadOutline(ctx, t.Client)
}

// Run continues the VM, unless it was paused on the source, and tells the network where it is now.
func (t *Target) Run(ctx context.Context, state string) (ran bool, err error) {
	resumed := t.Subscribe(64)
	defer resumed.Close()
	if err := t.letRun(ctx, state, resumed); err != nil {
		return sawResume(resumed), err
	}
	if err := t.AnnounceSelf(ctx); err != nil && t.Err() == nil {
		t.log.Warn("announce-self", "err", err)
	}
	return true, nil
}

// letRun continues a VM that is loaded, if it ran on the source, and returns when QEMU says how it stands.
func (t *Target) letRun(ctx context.Context, state string, resumed *qemu.Subscription) error {
	status, err := t.Status(ctx)
	if err != nil {
		return err
	}
	if status.Status == "inmigrate" {
		return hypervisor.RefusedError{Err: errors.New("QEMU has not finished to load it")}
	}
	if !handover.Runs(state) {
		return nil
	}
	if err := t.Cont(ctx); err != nil {
		if _, ok := errors.AsType[*qemu.QMPError](err); ok { // for a disk that it cannot lock perhaps
			return hypervisor.RefusedError{Err: fmt.Errorf("QEMU does not continue it: %w", err)}
		}
		return err
	}
	for {
		status, err := t.Status(ctx)
		switch {
		case err != nil:
			return err
		case !stands(status.Status) || sawResume(resumed): // whatever it has come to since, it did run
			return nil
		}
		if err := system.Pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("QEMU is %s after cont: %w", status.Status, err)
		}
	}
}

// stands tells whether a VM in this run state has not begun to run.
func stands(status string) bool {
	switch status {
	case "paused", "inmigrate", "prelaunch", "finish-migrate", "postmigrate", "restore-vm":
		return true
	}
	return false
}

// sawResume tells whether QEMU has said that it lets the VM's processors run. It says so before it does.
func sawResume(events *qemu.Subscription) bool {
	for {
		select {
		case ev, ok := <-events.C:
			if !ok {
				return false
			}
			if ev.Event == "RESUME" {
				return true
			}
		default:
			return false
		}
	}
}

// Settle puts back what others than scatter would not expect. QEMU takes no settings as long as it holds its migration for one that is under way,
// a moment longer than it says so.
func (t *Target) Settle(ctx context.Context) (err error) {
	for range settleTries {
		err = t.SetCapabilities(ctx, map[string]bool{"postcopy-ram": false})
		if _, refused := errors.AsType[*qemu.QMPError](err); !refused || system.Pause(ctx, settleEvery) != nil {
			return err
		}
	}
	return err
}

const (
	settleTries = 100
	settleEvery = 20 * time.Millisecond
)

// RecoverIncoming opens another way into a VM in post-copy.
func (t *Target) RecoverIncoming(ctx context.Context) (net.Conn, error) {
	for {
		info, err := t.QueryMigrate(ctx)
		if err != nil {
			return nil, err
		}
		if info.Status == qemu.MigrationPostcopyPaused {
			return t.RecoverMigrate(ctx)
		}
		if info.Status == qemu.MigrationCompleted {
			return nil, nil
		}
		if info.Status.Idle() {
			return nil, fmt.Errorf("QEMU does not wait for pages: its migration is %s", info.Status)
		}
		if err := system.Pause(ctx, 10*time.Millisecond); err != nil {
			return nil, fmt.Errorf("QEMU is %s, and does not wait to be resumed: %w", info.Status, err)
		}
	}
}
