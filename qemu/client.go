package qemu

import (
	"context"
	"time"

	"github.com/scatter-vm/scatter/qemu/monitor"
	"github.com/scatter-vm/scatter/qemu/ram"
)

// Client is all that can be asked of one QEMU, and told to it, over one connection to its monitor. Its methods may be called from many
// goroutines at once.
type Client struct {
	*monitor.Conn
	monitor.RunControl
	monitor.Migration
	monitor.Processor
	ram.Layout
}

// Dial connects to a QMP unix socket and negotiates, with out-of-band commands if QEMU offers them. It waits for
// another client to leave until ctx ends, or for DialTimeout: then ErrMonitorBusy is in the error's chain.
func Dial(ctx context.Context, socket string) (*Client, error) {
	conn, err := monitor.Dial(ctx, socket)
	if err != nil {
		return nil, err
	}
	return &Client{conn, monitor.RunControlOf(conn), monitor.MigrationOf(conn), monitor.ProcessorOf(conn), ram.LayoutOf(conn)}, nil
}

// bounded is ctx, with a deadline if it has none.
func bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}
