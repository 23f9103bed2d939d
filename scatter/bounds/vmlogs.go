package bounds

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/scatter/system"
)

// Bounds of the logs that QEMUs write into a target's run directory.
const (
	MaxVMLogs  = 256 << 20 // bytes of all, once they were tidied
	MaxVMLog   = 1 << 20   // bytes of one, as long as these are not too many
	KeepVMLog  = 64 << 10  // bytes of one that was cut
	MaxOldLogs = 256       // of VMs that are not here any more
	tidyEvery  = 30 * time.Second
)

// vmLog is the log of one QEMU.
type vmLog struct {
	path string
	name string // of its VM
	size int64
	at   time.Time // last written
}

// VMLogs are the logs of QEMUs in a run directory.
type VMLogs struct {
	Dir  string
	Here func(name string) bool // tells whether a VM of this name is here
	Log  *slog.Logger
}

// Tidy keeps QEMUs' logs within their bounds until ctx ends.
func (v *VMLogs) Tidy(ctx context.Context) {
	for system.Pause(ctx, tidyEvery) == nil {
		v.TidyOnce()
	}
}

// TidyOnce cuts logs that are too long to their ends. Of those of VMs that are not here any more, the oldest go.
func (v *VMLogs) TidyOnce() {
	all := v.List()
	most, old := int64(min(MaxVMLog, MaxVMLogs/max(1, len(all)))), 0
	for _, l := range all {
		here := v.Here(l.name)
		if !here {
			old++
		}
		switch {
		case !here && old > MaxOldLogs:
			v.tidied(os.Remove(l.path))
		case l.size > most:
			v.tidied(cutLog(l.path, min(KeepVMLog, most)))
		}
	}
}

func (v *VMLogs) tidied(err error) {
	if err != nil {
		v.Log.Warn("the log of a QEMU is too long, and stays so", "err", err)
	}
}

// Bytes is what all of them have.
func (v *VMLogs) Bytes() (n int64) {
	for _, l := range v.List() {
		n += l.size
	}
	return n
}

// List is the logs, the newest first.
func (v *VMLogs) List() (all []vmLog) {
	entries, _ := os.ReadDir(v.Dir) // one that is gone has none
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".log")
		if info, err := e.Info(); ok && err == nil && info.Mode().IsRegular() {
			all = append(all, vmLog{filepath.Join(v.Dir, e.Name()), name, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b vmLog) int { return cmp.Or(b.at.Compare(a.at), cmp.Compare(a.path, b.path)) })
	return all
}

// cutLog leaves the last bytes of a log. Its QEMU appends to it meanwhile; what it writes in that moment may get lost.
func cutLog(path string, keep int64) error {
	f, err := system.OpenPlain(path, os.O_RDWR)
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
