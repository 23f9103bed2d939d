package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
)

// crowd is processes that compute beside a transfer, as guests do: each wants a processor for itself.
type crowd struct {
	stop    []io.Closer
	members []*exec.Cmd
}

// resize makes the crowd one of n.
func (c *crowd) resize(own string, n int) error {
	if n < len(c.members) {
		if err := c.close(); err != nil {
			return err
		}
	}
	for len(c.members) < n {
		cmd := exec.Command(own, "busy")
		stop, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return err
		}
		c.stop, c.members = append(c.stop, stop), append(c.members, cmd)
	}
	return nil
}

func (c *crowd) close() error {
	var errs []error
	for i, cmd := range c.members {
		errs = append(errs, c.stop[i].Close(), cmd.Wait())
	}
	*c = crowd{}
	return errors.Join(errs...)
}

// busyRole computes until its input ends, and so does not outlive who has started it.
func busyRole(ctx context.Context, _ []string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the input, and with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	for ctx.Err() == nil {
	}
	return nil
}
