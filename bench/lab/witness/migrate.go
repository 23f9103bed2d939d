package witness

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/wait"
)

// Migrate tells a QEMU to migrate to uri and waits until it has. It is told how it goes meanwhile, unless look is nil.
func (m *Monitor) Migrate(ctx context.Context, uri string, look func(ctx context.Context, now MigrationInfo) error) (MigrationInfo, error) {
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
		if look != nil {
			if err := look(ctx, info); err != nil {
				return info, err
			}
		}
		if err := wait.For(ctx, 20*time.Millisecond); err != nil {
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

// AwaitStatus waits until QEMU is in a run state.
func (m *Monitor) AwaitStatus(ctx context.Context, want string) error {
	for {
		status, err := m.Status(ctx)
		if err != nil || status == want {
			return err
		}
		if err := wait.For(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("run state %s: %w", status, err)
		}
	}
}

// Quit ends a QEMU and waits until its process is gone.
func (m *Monitor) Quit(ctx context.Context, p Process) error {
	if err := m.Do(ctx, "quit", nil, nil); err != nil {
		return err
	}
	for len(p.commandLine()) > 0 {
		if err := wait.For(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("process %d: %w", p, err)
		}
	}
	return nil
}
