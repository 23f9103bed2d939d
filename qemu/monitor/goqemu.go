package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/digitalocean/go-qemu/qmp"
)

// A Conn can be used where go-qemu's Monitor is asked for.
var _ qmp.Monitor = (*Conn)(nil)

// Connect is there for qmp.Monitor: a Conn is connected by Dial. It returns why the connection ended, if it did.
func (c *Conn) Connect() error { return c.Err() }

// Disconnect is Close, for qmp.Monitor.
func (c *Conn) Disconnect() error { return c.Close() }

// Run executes a command in JSON, {"execute": ..., "arguments": ...}, and returns the whole reply, {"return": ...},
// for qmp.Monitor. It waits as long as the connection lives; Do has a context.
func (c *Conn) Run(command []byte) ([]byte, error) {
	var req struct {
		Execute   string          `json:"execute"`
		ExecOOB   string          `json:"exec-oob"`
		Arguments json.RawMessage `json:"arguments"`
	}
	if err := json.Unmarshal(command, &req); err != nil {
		return nil, fmt.Errorf("qmp command: %w", err)
	}
	if (req.Execute == "") == (req.ExecOOB == "") {
		return nil, errors.New("qmp command: must have one of execute and exec-oob")
	}
	r := request{Execute: req.Execute, ExecOOB: req.ExecOOB}
	if req.Arguments != nil {
		r.Arguments = req.Arguments
	}
	result, err := c.run(context.Background(), r, nil)
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"return":%s}`, result), nil
}

// Events delivers events until ctx ends or the connection does, for qmp.Monitor. Nothing is lost until 1024 wait to
// be read.
func (c *Conn) Events(ctx context.Context) (<-chan qmp.Event, error) {
	s, out := c.Subscribe(1024), make(chan qmp.Event)
	c.mu.Lock() // Close must not wait for goroutines before this one is counted
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	c.wg.Go(func() {
		defer close(out)
		defer s.Close()
		s.forward(ctx, c.done, out)
	})
	return out, nil
}

// forward passes events on until one of the ends is gone.
func (s *Subscription) forward(ctx context.Context, done <-chan struct{}, out chan<- qmp.Event) {
	for {
		select {
		case ev, ok := <-s.C:
			if !ok {
				return
			}
			select {
			case out <- ev:
			case <-ctx.Done():
				return
			case <-done:
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
