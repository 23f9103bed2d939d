// Package discover finds the running VMs of this host by their QMP sockets.
package discover

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

// VMs puts the sockets that match glob, and whose VMs run here, into cfg; an empty glob changes nothing. A VM that another client holds is put into
// cfg.Held. What is passed over for another reason is told. A glob that is none is a usage.Error; if no VM is left, the error is a
// scatter.BlockedError.
func VMs(ctx context.Context, cfg *scatter.SendConfig, glob string, tell func(scatter.Event)) error {
	if glob == "" {
		return nil
	}
	pattern, err := filepath.Abs(glob)
	if err != nil {
		return &usage.Error{Err: err}
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return usage.Errorf("--discover %q: %w", glob, err)
	}
	for i, err := range passOver(ctx, paths) {
		switch p := paths[i]; {
		case errors.Is(err, errNoSocket):
		case errors.Is(err, scatter.ErrHeld):
			cfg.Held = append(cfg.Held, scatter.Blocker{VM: p, Problem: err.Error(), Remedy: "let that client leave it, and name the VM again"})
		case err != nil:
			tell(scatter.Event{Type: "warning", Time: time.Now(), Message: p + ": passed over: " + err.Error()})
		default:
			cfg.VMs = append(cfg.VMs, p)
		}
	}
	if len(cfg.VMs) == 0 && len(cfg.Held) > 0 {
		return &scatter.BlockedError{Blockers: cfg.Held}
	}
	if len(cfg.VMs) == 0 {
		return &scatter.BlockedError{Blockers: []scatter.Blocker{{
			Problem: "no running VM found by --discover " + glob,
			Remedy:  "check the pattern; it must match the QMP sockets themselves",
		}}}
	}
	return nil
}

// dials bounds the sockets that are looked at at one time.
const dials = 64

// passOver tells of each path why it is no socket of a VM to move.
func passOver(ctx context.Context, paths []string) []error {
	why := make([]error, len(paths))
	var wg sync.WaitGroup
	slots := make(chan struct{}, dials)
	for i, p := range paths {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if why[i] = errNoSocket; isSocket(p) {
				why[i] = scatter.PassOver(ctx, p)
			}
		})
	}
	wg.Wait()
	return why
}

var errNoSocket = errors.New("not a socket")

func isSocket(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode()&fs.ModeSocket != 0
}
