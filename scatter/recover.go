package scatter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/reclaim"
)

// Recover reads the journals of a run directory after a crash, says where each VM is, and finishes or undoes what can be
// decided. On the source it asks the QEMUs and the targets; on a target it says what waits there for the source.
// A VM that nobody can vouch for is left as it is, in doubt.
func Recover(ctx context.Context, cfg model.RecoverConfig) (*model.RecoverReport, error) {
	if cfg.RunDir == "" {
		cfg.RunDir = model.DefaultRunDir
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	out := &model.RecoverReport{VMs: []model.Recovered{}}
	sent, err := filepath.Glob(filepath.Join(cfg.RunDir, "send-*.journal"))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", cfg.RunDir, err)
	}
	if cfg.Run != "" {
		vm, err := reclaim.RunHere(ctx, cfg)
		out.VMs = append(out.VMs, vm)
		return out, err
	}
	var failed error
	for _, path := range sent {
		vms, err := reclaim.Source(ctx, cfg, path)
		out.VMs = append(out.VMs, vms...)
		failed = errors.Join(failed, err) // the others have nothing to do with it
	}
	vms, err := reclaim.Target(ctx, cfg)
	out.VMs = append(out.VMs, vms...)
	return out, errors.Join(failed, err)
}
