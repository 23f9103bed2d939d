package qemu

import (
	"context"
	"errors"
)

// RunState is what query-status tells: running, paused, inmigrate, finish-migrate, postmigrate, ...
type RunState struct {
	Status  string `json:"status"`
	Running bool   `json:"running"`
}

// Status tells whether the VM runs.
func (c *Client) Status(ctx context.Context) (RunState, error) {
	var s RunState
	err := c.Do(ctx, "query-status", nil, &s)
	return s, err
}

// Stop pauses the VM.
func (c *Client) Stop(ctx context.Context) error { return c.Do(ctx, "stop", nil, nil) }

// Cont lets the VM run; in postmigrate it takes the disks back first. While the VM is inmigrate, QEMU only notes that
// it shall run when it has loaded everything.
func (c *Client) Cont(ctx context.Context) error { return c.Do(ctx, "cont", nil, nil) }

// Quit ends QEMU and with it the VM. A connection that ends instead of an answer is what was asked for.
func (c *Client) Quit(ctx context.Context) error {
	err := c.Do(ctx, "quit", nil, nil)
	if errors.Is(err, ErrMonitorClosed) {
		return nil
	}
	return err
}

// AnnounceSelf sends the packets that teach switches where the VM's network cards are now: five rounds, after 50 ms,
// each 100 ms later than the last, 550 ms at most.
func (c *Client) AnnounceSelf(ctx context.Context) error {
	rounds := map[string]int{"initial": 50, "max": 550, "rounds": 5, "step": 100}
	return c.Do(ctx, "announce-self", rounds, nil)
}

// human executes a command of the monitor for humans and returns its text.
func (c *Client) human(ctx context.Context, line string) (string, error) {
	var text string
	err := c.Do(ctx, "human-monitor-command", map[string]string{"command-line": line}, &text)
	return text, err
}
