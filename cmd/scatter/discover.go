package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/scatter"
)

// findVMs puts the sockets that match glob into cfg; an empty glob changes nothing.
func findVMs(ctx context.Context, cfg *scatter.SendConfig, glob string, tell func(scatter.Event)) error {
	if glob == "" {
		return nil
	}
	pattern := glob
	if err := absolute(&pattern); err != nil {
		return err
	}
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return usagef("--discover %q: %w", glob, err)
	}
	for _, p := range paths {
		switch alive, err := listens(ctx, p); {
		case err != nil:
			tell(scatter.Event{Type: "warning", Time: time.Now(), Message: p + ": passed over: " + err.Error()})
		case alive:
			cfg.VMs = append(cfg.VMs, p)
		}
	}
	if len(cfg.VMs) == 0 {
		return &scatter.BlockedError{Blockers: []scatter.Blocker{{
			Problem: "no running VM found by --discover " + glob,
			Remedy:  "check the pattern; it must match the QMP sockets themselves",
		}}}
	}
	return nil
}

var errNobody = errors.New("nobody listens: left over from a QEMU that is gone")

// listens tells whether path is a socket that somebody serves. Other files are passed over without a word, a
// dead socket with errNobody; a live one that may not be dialled counts, so that preflight says why.
func listens(ctx context.Context, path string) (bool, error) {
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSocket == 0 {
		return false, nil
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return false, errNobody
	}
	if err == nil {
		c.Close()
	}
	return true, nil
}

// names lists VMs or hosts in a message.
func names(list []string) string { return strings.Join(list, ", ") }
