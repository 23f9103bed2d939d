package monitor

import (
	"context"
	"errors"
)

// RunState is what query-status tells: running, paused, inmigrate, finish-migrate, postmigrate, ...
type RunState struct {
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

// RunControl starts, stops and ends a VM, and tells whether it runs.
type RunControl struct{ conn *Conn }

// RunControlOf controls the VM at the other end of a connection.
func RunControlOf(conn *Conn) RunControl { return RunControl{conn} }

// Status tells whether the VM runs.
func (r RunControl) Status(ctx context.Context) (RunState, error) {
	var s RunState
	err := r.conn.Do(ctx, "query-status", nil, &s)
	return s, err
}

// Stop pauses the VM.
func (r RunControl) Stop(ctx context.Context) error { return r.conn.Do(ctx, "stop", nil, nil) }

// Cont lets the VM run; in postmigrate it takes the disks back first. While the VM is inmigrate, QEMU only notes that
// it shall run when it has loaded everything.
func (r RunControl) Cont(ctx context.Context) error { return r.conn.Do(ctx, "cont", nil, nil) }

// Quit ends QEMU and with it the VM. A connection that ends instead of an answer is what was asked for.
func (r RunControl) Quit(ctx context.Context) error {
	err := r.conn.Do(ctx, "quit", nil, nil)
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// AnnounceSelf sends the packets that teach switches where the VM's network cards are now: five rounds, after 50 ms,
// each 100 ms later than the last, 550 ms at most.
func (r RunControl) AnnounceSelf(ctx context.Context) error {
	rounds := map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100}
	return r.conn.Do(ctx, "announce-self", rounds, nil)
}
