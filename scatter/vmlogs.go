package scatter

import (
	"cmp"
	"context"
	"log/slog"
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

// vmLogs are the logs of QEMUs in a run directory.
type vmLogs struct {
	dir  string
	here func(name string) bool // tells whether a VM of this name is here
	log  *slog.Logger
}

// tidy keeps QEMUs' logs within their bounds until ctx ends.
func (v *vmLogs) tidy(ctx context.Context) {
	for system.Pause(ctx, tidyEvery) == nil {
		v.tidyOnce()
	}
}

// tidyOnce cuts logs that are too long to their ends. Of those of VMs that are not here any more, the oldest go.
func (v *vmLogs) tidyOnce() {
	all := v.list()
	most, old := int64(min(maxVMLog, maxVMLogs/max(1, len(all)))), 0
	for _, l := range all {
		here := v.here(l.name)
		if !here {
			old++
		}
		switch {
		case !here && old > maxOldLogs:
			v.tidied(os.Remove(l.path))
		case l.size > most:
			v.tidied(cutLog(l.path, min(keepVMLog, most)))
		}
	}
}

func (v *vmLogs) tidied(err error) {
	if err != nil {
		v.log.Warn("the log of a QEMU is too long, and stays so", "err", err)
	}
}

// bytes is what all of them have.
func (v *vmLogs) bytes() (n int64) {
	for _, l := range v.list() {
		n += l.size
	}
	return n
}

// list is the logs, the newest first.
func (v *vmLogs) list() (all []vmLog) {
	entries, _ := os.ReadDir(v.dir) // one that is gone has none
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if info, err := e.Info(); ok && err == nil && info.Mode().IsRegular() {
			all = append(all, vmLog{filepath.Join(v.dir, e.Name()), name, info.Size(), info.ModTime()})
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
