package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"
)

// Receive starts a QEMU for the guest on h that waits for QEMU's own migration at the address incoming, and returns a connection
// to its monitor. Its command line is the guest's, with the paths in the source's directory moved to h's.
func (g *Guest) Receive(ctx context.Context, h *Host, incoming string) (*Monitor, error) {
	argv := make([]string, 0, len(g.Argv)+2)
	for _, arg := range g.Argv {
		argv = append(argv, strings.ReplaceAll(arg, g.lab.Source.Dir+"/", h.Dir+"/"))
	}
	p, err := h.launch(g.Name, append(argv, "-incoming", incoming))
	if err != nil {
		return nil, err
	}
	if h == g.lab.Source {
		g.process = p
	}
	return p.awaitMonitor(ctx, monitorPath(h, g.Name))
}

// awaitMonitor connects to the monitor of a process that has just been started.
func (p *process) awaitMonitor(ctx context.Context, socket string) (*Monitor, error) {
	for {
		if m, err := DialMonitor(ctx, socket); err == nil {
			return m, nil
		}
		select {
		case <-p.exited:
			return nil, p.err()
		default:
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return nil, fmt.Errorf("monitor %s: %w", socket, err)
		}
	}
}

// Migrate tells a QEMU to migrate to uri and waits until it has.
func (m *Monitor) Migrate(ctx context.Context, uri string) (MigrationInfo, error) {
	if err := m.Do(ctx, "migrate", map[string]string{"uri": uri}, nil); err != nil {
		return MigrationInfo{}, err
	}
	for {
		var info MigrationInfo
		if err := m.Do(ctx, "query-migrate", nil, &info); err != nil {
			return info, err
		}
		switch info.Status {
		case "completed":
			return info, nil
		case "failed", "cancelled":
			return info, fmt.Errorf("migration to %s: %s: %s", uri, info.Status, info.Error)
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return info, fmt.Errorf("migration to %s: %s: %w", uri, info.Status, err)
		}
	}
}

// MigrationInfo is what QEMU says about its own migration. Times are in milliseconds.
type MigrationInfo struct {
	Status    string
	Error     string `json:"error-desc"`
	TotalTime int64  `json:"total-time"`
	Downtime  int64
	RAM       struct {
		Transferred, Normal, Duplicate int64
		Syncs                          int64 `json:"dirty-sync-count"`
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

func (g *Guest) moveHome(ctx context.Context, h *Host) error {
	old, pid, err := g.monitorOn(ctx, h)
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
	if err := old.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 0}, nil); err != nil {
		return err
	}
	if _, err := old.Migrate(ctx, "unix:"+socket); err != nil {
		return err
	}
	if err := home.AwaitStatus(ctx, "paused"); err != nil {
		return err
	}
	if err := home.Do(ctx, "cont", nil, nil); err != nil {
		return err
	}
	return old.Quit(ctx, pid)
}

// AwaitStatus waits until QEMU is in a run state.
func (m *Monitor) AwaitStatus(ctx context.Context, want string) error {
	for {
		status, err := m.Status(ctx)
		if err != nil || status == want {
			return err
		}
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("run state %s: %w", status, err)
		}
	}
}

// Quit ends a QEMU and waits until its process is gone.
func (m *Monitor) Quit(ctx context.Context, pid int) error {
	if err := m.Do(ctx, "quit", nil, nil); err != nil {
		return err
	}
	for len(commandLine(pid)) > 0 {
		if err := sleep(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("process %d: %w", pid, err)
		}
	}
	return nil
}

// MonitorOn connects to a monitor of the QEMU that the guest runs in on h.
func (g *Guest) MonitorOn(ctx context.Context, h *Host) (*Monitor, error) {
	m, _, err := g.monitorOn(ctx, h)
	if err != nil {
		return nil, fmt.Errorf("guest %s: %w", g.Name, err)
	}
	return m, nil
}

// monitorOn connects to a monitor of the QEMU that has the guest's name on h, and returns its process.
func (g *Guest) monitorOn(ctx context.Context, h *Host) (*Monitor, int, error) {
	pids, err := processesIn(ctx, h.Namespace)
	if err != nil {
		return nil, 0, err
	}
	for _, pid := range pids {
		if argv := commandLine(pid); guestName(argv) == g.Name {
			m, err := dialAny(ctx, monitorSockets(argv))
			return m, pid, err
		}
	}
	return nil, 0, fmt.Errorf("no QEMU on %s", h.Name)
}
