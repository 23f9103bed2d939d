package scatter

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Bounds of the logs that QEMUs write into a target's run directory.
const (
	maxVMLogs  = 256 << 20 // bytes of all, once they were tidied
	maxVMLog   = 1 << 20   // bytes of one, as long as these are not too many
	keepVMLog  = 64 << 10  // bytes of one that was cut
	maxOldLogs = 256       // of VMs that are not here any more
	tidyEvery  = 30 * time.Second
)

// vmLog is the log of one QEMU.
type vmLog struct {
	path string
	name string // of its VM
	size int64
	at   time.Time // last written
}

// tidyLogs keeps QEMUs' logs within their bounds until ctx ends.
func (r *receiver) tidyLogs(ctx context.Context) {
	for system.Pause(ctx, tidyEvery) == nil {
		r.tidyLogsOnce()
	}
}

// tidyLogsOnce cuts logs that are too long to their ends. Of those of VMs that are not here any more, the oldest go.
func (r *receiver) tidyLogsOnce() {
	all := vmLogs(r.cfg.RunDir)
	most, old := int64(min(maxVMLog, maxVMLogs/max(1, len(all)))), 0
	for _, l := range all {
		here := r.here(l.name)
		if !here {
			old++
		}
		switch {
		case !here && old > maxOldLogs:
			r.tidied(os.Remove(l.path))
		case l.size > most:
			r.tidied(cutLog(l.path, min(keepVMLog, most)))
		}
	}
}

func (r *receiver) tidied(err error) {
	if err != nil {
		r.log.Warn("the log of a QEMU is too long, and stays so", "err", err)
	}
}

// here tells whether a VM of this name is here.
func (r *receiver) here(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name]
}

// vmLogs are the logs in a run directory, the newest first.
func vmLogs(dir string) (all []vmLog) {
	entries, _ := os.ReadDir(dir) // one that is gone has none
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if info, err := e.Info(); ok && err == nil && info.Mode().IsRegular() {
			all = append(all, vmLog{filepath.Join(dir, e.Name()), name, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b vmLog) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.path, b.path)) })
	return all
}

// cutLog leaves the last bytes of a log. Its QEMU appends to it meanwhile; what it writes in that moment may get lost.
func cutLog(path string, keep int64) error {
	f, err := journal.OpenPlain(path, os.O_RDWR)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	end := make([]byte, min(info.Size(), keep))
	if _, err := f.ReadAt(end, info.Size()-int64(len(end))); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(end, 0)
	return err
}
