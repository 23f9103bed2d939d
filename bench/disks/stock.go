package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// The ports of a target: for disks, and for memory, of the first guest.
const (
	diskPort   = 10800
	memoryPort = 10900
)

// pollEvery is how often QEMU is asked how far it is.
const pollEvery = 20 * time.Millisecond

// byQEMU moves all guests at once: disks by block jobs into NBD servers of their targets, then memory.
func (m *measurement) byQEMU(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, g := range m.guests {
		h := m.lab.Targets[i%len(m.lab.Targets)]
		group.Go(func() error {
			if err := stockMove(ctx, g, h, i); err != nil {
				return fmt.Errorf("%s: %w", g.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// stockMove moves one guest.
func stockMove(ctx context.Context, g *lab.Guest, h *lan.Host, n int) error {
	memory := fmt.Sprintf("tcp:%v:%d", h.Addr, memoryPort+n)
	to, err := openTarget(ctx, g, h, n, memory)
	if err != nil {
		return err
	}
	defer to.Close()
	from, err := g.Monitor(ctx)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := mirror(ctx, from, h, n); err != nil {
		return err
	}
	on := []any{map[string]any{"capability": "pause-before-switchover", "state": true}}
	if err := from.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": on}, nil); err != nil {
		return err
	}
	if err := from.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 0}, nil); err != nil {
		return err
	}
	handed := false
	_, err = from.Migrate(ctx, memory, func(ctx context.Context, now witness.MigrationInfo) error {
		if handed || now.Status != "pre-switchover" {
			return nil
		}
		handed = true
		return handDisk(ctx, from, to)
	})
	if err != nil {
		return err
	}
	return to.AwaitStatus(ctx, "running")
}

// openTarget starts the guest's QEMU on its target, with an empty disk that others may write to.
func openTarget(ctx context.Context, g *lab.Guest, h *lan.Host, n int, memory string) (*witness.Monitor, error) {
	if err := g.Config.MakeDisk(h); err != nil {
		return nil, err
	}
	to, err := g.Receive(ctx, h, memory)
	if err != nil {
		return nil, err
	}
	address := map[string]any{"type": "inet", "data": map[string]string{"host": h.Addr.String(), "port": fmt.Sprint(diskPort + n)}}
	if err := to.Do(ctx, "nbd-server-start", map[string]any{"addr": address}, nil); err != nil {
		return nil, err
	}
	return to, to.Do(ctx, "block-export-add", map[string]any{"type": "nbd", "id": "disk", "node-name": "disk0", "name": "disk", "writable": true}, nil)
}

// mirror returns when the disk is on the target, and each write goes there as well.
func mirror(ctx context.Context, from *witness.Monitor, h *lan.Host, n int) error {
	server := map[string]string{"type": "inet", "host": h.Addr.String(), "port": fmt.Sprint(diskPort + n)}
	if err := from.Do(ctx, "blockdev-add", map[string]any{"driver": "nbd", "node-name": "there", "server": server, "export": "disk"}, nil); err != nil {
		return err
	}
	if err := from.Do(ctx, "blockdev-mirror", map[string]any{"job-id": "move", "device": "disk0", "target": "there", "sync": "full"}, nil); err != nil {
		return err
	}
	for {
		jobs, err := jobsOf(ctx, from)
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			return fmt.Errorf("its disk's job has ended")
		}
		if jobs[0].Ready {
			return nil
		}
		if err := wait.For(ctx, pollEvery); err != nil {
			return err
		}
	}
}

// job is a block job.
type job struct{ Ready bool }

func jobsOf(ctx context.Context, m *witness.Monitor) (jobs []job, err error) {
	return jobs, m.Do(ctx, "query-block-jobs", nil, &jobs)
}

// handDisk ends the job of a guest that stands still, and lets it go on to its target.
func handDisk(ctx context.Context, from, to *witness.Monitor) error {
	jobs, err := jobsOf(ctx, from)
	if err == nil && len(jobs) > 0 {
		err = from.Do(ctx, "block-job-cancel", map[string]string{"device": "move"}, nil)
	}
	for err == nil && len(jobs) > 0 {
		if err = wait.For(ctx, time.Millisecond); err == nil {
			jobs, err = jobsOf(ctx, from)
		}
	}
	if err != nil {
		return err
	}
	if err := to.Do(ctx, "nbd-server-stop", nil, nil); err != nil {
		return err
	}
	return from.Do(ctx, "migrate-continue", map[string]string{"state": "pre-switchover"}, nil)
}
