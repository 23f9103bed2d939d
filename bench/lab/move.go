package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// Receive starts a QEMU for the guest on h that waits for QEMU's own migration at the address incoming, and returns a connection
// to its monitor. Its command line is the guest's, with the paths in the source's directory moved to h's.
func (g *Guest) Receive(ctx context.Context, h *lan.Host, incoming string) (*witness.Monitor, error) {
	argv := make([]string, 0, len(g.Argv)+2)
	for _, arg := range g.Argv {
		argv = append(argv, strings.ReplaceAll(arg, g.lab.Source.Dir+"/", h.Dir+"/"))
	}
	p, err := g.lab.launch(h, g.Name, append(argv, "-incoming", incoming))
	if err != nil {
		return nil, err
	}
	if h == g.lab.Source {
		g.process = p
	}
	return p.awaitMonitor(ctx, monitorPath(h, g.Name))
}

// awaitMonitor connects to the monitor of a process that has just been started.
func (p *process) awaitMonitor(ctx context.Context, socket string) (*witness.Monitor, error) {
	for {
		if m, err := witness.Dial(ctx, socket); err == nil {
			return m, nil
		}
		select {
		case <-p.exited:
			return nil, p.err()
		default:
		}
		if err := wait.For(ctx, 5*time.Millisecond); err != nil {
			return nil, fmt.Errorf("monitor %s: %w", socket, err)
		}
	}
}

// MoveHome brings a guest back to the source, past the network: the QEMU it runs in is stopped, hands its state to a new one on
// the source, and ends. Afterwards everything is as if the guest had never left, except for what its serial lines remember.
func (g *Guest) MoveHome(ctx context.Context) error {
	h, err := g.lab.Where(ctx, g)
	if err != nil || h == g.lab.Source {
		return err
	}
	if err := g.moveHome(ctx, h); err != nil {
		return fmt.Errorf("guest %s: from %s back to the source: %w", g.Name, h.Name, err)
	}
	return nil
}

func (g *Guest) moveHome(ctx context.Context, h *lan.Host) error {
	p, err := g.processOn(ctx, h)
	if err != nil {
		return err
	}
	old, err := p.Monitor(ctx)
	if err != nil {
		return err
	}
	defer old.Close()
	socket := filepath.Join(g.lab.Source.Dir, g.Name+".incoming")
	home, err := g.Receive(ctx, g.lab.Source, "unix:"+socket)
	if err != nil {
		return err
	}
	defer home.Close()
	if err := old.Do(ctx, "stop", nil, nil); err != nil {
		return err
	}
	off := []any{map[string]any{"capability": "postcopy-preempt", "state": false}, map[string]any{"capability": "postcopy-ram", "state": false}}
	if err := old.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": off}, nil); err != nil { // QEMU's own post-copy leaves them on
		return err
	}
	if err := old.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 0}, nil); err != nil {
		return err
	}
	if _, err := old.Migrate(ctx, "unix:"+socket, nil); err != nil {
		return err
	}
	if err := home.AwaitStatus(ctx, "paused"); err != nil {
		return err
	}
	if err := home.Do(ctx, "cont", nil, nil); err != nil {
		return err
	}
	return old.Quit(ctx, p)
}

// MonitorOn connects to a monitor of the QEMU that the guest runs in on h.
func (g *Guest) MonitorOn(ctx context.Context, h *lan.Host) (*witness.Monitor, error) {
	p, err := g.processOn(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	m, err := p.Monitor(ctx)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return m, nil
}

// OpenRAM opens the memory of the guest's QEMU on h.
func (g *Guest) OpenRAM(ctx context.Context, h *lan.Host) (*witness.RAM, error) {
	p, err := g.processOn(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	ram, err := p.RAM(ctx)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return ram, nil
}

// processOn returns the QEMU that has the guest's name on h.
func (g *Guest) processOn(ctx context.Context, h *lan.Host) (witness.Process, error) {
	found, err := namedOn(ctx, h, g.Name)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("no QEMU on %s", h.Name)
	}
	if err != nil {
		return 0, err
	}
	return found[0], nil
}
