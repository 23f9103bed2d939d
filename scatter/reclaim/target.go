package reclaim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Target says what a target's journal holds. A receiver that runs takes care of its guests by itself; without one, QEMUs
// that wait in vain are ended.
func Target(ctx context.Context, cfg model.RecoverConfig) ([]model.Recovered, error) {
	path := filepath.Join(cfg.RunDir, "recv.journal")
	if !system.Exists(path) {
		return nil, nil
	}
	j, records, err := journal.Open(path)
	if errors.Is(err, journal.ErrBusy) {
		cfg.Log.Info("a receiver is running on this host and looks after its VMs")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer j.Close()
	vms, _ := handover.Histories(records)
	var out []model.Recovered
	for _, h := range vms {
		if r, ok := recoverGuest(ctx, cfg, j, h); ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// hostOf is this host, without a receiver.
func hostOf(cfg model.RecoverConfig) hypervisor.Host {
	return &qmp.Host{RunDir: cfg.RunDir, Log: cmp.Or(cfg.Log, slog.New(slog.DiscardHandler))}
}

// recoverGuest decides one VM on a target without a receiver. Nothing is to be said of VMs that are gone.
func recoverGuest(ctx context.Context, cfg model.RecoverConfig, j *journal.Journal, h *handover.History) (model.Recovered, bool) {
	out := model.Recovered{VM: h.Last.Name, Host: h.Last.Peer}
	alive := h.Last.PID != 0 && !system.ProcessGone(h.Last.PID)
	starting := h.Last.Kind == handover.RecPrepare && h.Last.PID == 0
	switch {
	case h.Last.Kind == handover.RecAbort || !alive && !starting && h.Last.Kind != handover.RecLoaded:
		return out, false
	case h.Last.Kind == handover.RecRun && h.Last.PostCopy:
		out.Where, out.Action = model.InDoubt, "runs here, and lacks pages that its source has: start 'scatter recv' again, then 'scatter recover' on "+h.Last.Peer+"; end neither of its QEMUs"
	case h.Last.Kind == handover.RecDone || h.Last.Kind == handover.RecRun && cfg.DryRun:
		out.Where, out.Action = model.OnTarget, "runs here"
	case h.Last.Kind == handover.RecRun:
		out.Where, out.Action = model.OnTarget, "runs here"
		if err := finishRun(ctx, hostOf(cfg), j, h.Last); err != nil {
			out.Where, out.Action = model.InDoubt, "was told to run here: see whether it does: "+err.Error()
		}
	case h.Last.Kind == handover.RecLoaded && alive && !h.Last.PostCopy:
		out.Where, out.Action = model.InDoubt, "complete and paused here: start 'scatter recv' again, then 'scatter recover' on "+h.Last.Peer+
			". Only if that host is dead for good, or the VM's QEMU there is: 'scatter recover --run "+h.Last.Name+"' here; if the source has the VM it would run twice"
	case h.Last.Kind == handover.RecLoaded && !alive:
		out.Where, out.Action = model.InDoubt, "its QEMU here is gone; 'scatter recover' on "+h.Last.Peer+" decides"
	case starting:
		return out, endStarting(cfg, h.Last, &out)
	default:
		out.Where, out.Action = model.OnSource, "was not complete here, its QEMU was ended"
		if !cfg.DryRun {
			if err := EndLeftover(ctx, hostOf(cfg), j, h.Last); err != nil {
				out.Action = "was not complete here; its QEMU could not be ended: " + err.Error()
			}
		}
	}
	return out, true
}

// endStarting ends a QEMU that was being started when the receiver was killed, and tells whether there was one.
func endStarting(cfg model.RecoverConfig, rec handover.Record, out *model.Recovered) bool {
	n, err := hostOf(cfg).EndUnrecorded(rec.Name, cfg.DryRun)
	out.Where, out.Action = model.OnSource, "was not complete here, its QEMU was ended"
	if err != nil {
		out.Action = "was not complete here; its QEMU could not be ended: " + err.Error()
	}
	return err != nil || n > 0
}

// finishRun makes sure that a VM runs that was told to: the word may never have reached its QEMU.
func finishRun(ctx context.Context, host hypervisor.Host, j *journal.Journal, rec handover.Record) error {
	proc, vm, err := host.Reopen(ctx, rec, true)
	if err != nil {
		return err
	}
	defer proc.Close()
	defer vm.Close()
	if _, err := vm.Run(ctx, rec.StateToRun()); err != nil {
		return err
	}
	rec.Kind = handover.RecDone
	return j.Append(rec)
}

// RunHere runs a VM that is complete on this target, on the operator's word that its source will not: that host is dead, or its QEMU is.
func RunHere(ctx context.Context, cfg model.RecoverConfig) (model.Recovered, error) {
	out := model.Recovered{VM: cfg.Run, Where: model.InDoubt}
	j, records, err := journal.Open(filepath.Join(cfg.RunDir, "recv.journal"))
	if errors.Is(err, journal.ErrBusy) {
		out.Action = "a receiver holds it: stop 'scatter recv' here, which leaves complete VMs as they are, do this again, and start it again"
		return out, fmt.Errorf("vm %s: %s: %w", cfg.Run, out.Action, err)
	}
	if err != nil {
		return out, err
	}
	defer j.Close()
	vms, _ := handover.Histories(records)
	for _, h := range slices.Backward(vms) {
		if h.Last.Name != cfg.Run || h.Last.PostCopy || h.Last.Kind != handover.RecLoaded && h.Last.Kind != handover.RecRun {
			continue
		}
		out.Host = h.Last.Peer
		if cfg.DryRun {
			out.Action = "would be run here"
			return out, nil
		}
		rec := h.Last
		rec.Kind = handover.RecRun
		if err := errors.Join(j.Append(rec), finishRun(ctx, hostOf(cfg), j, rec)); err != nil {
			out.Action = "could not be run here: " + err.Error()
			return out, fmt.Errorf("vm %s: %w", cfg.Run, err)
		}
		out.Where, out.Action = model.OnTarget, "runs here now; its source must never run it again"
		return out, nil
	}
	out.Action = "is not complete and paused here"
	return out, fmt.Errorf("vm %s: is not complete and paused here: nothing was done", cfg.Run)
}

// EndLeftover ends a QEMU that waits for pages that never come.
func EndLeftover(ctx context.Context, host hypervisor.Host, j *journal.Journal, rec handover.Record) error {
	proc, vm, err := host.Reopen(ctx, rec, true)
	if err != nil {
		return err
	}
	defer proc.Close()
	defer vm.Close()
	rec.Kind, rec.Cause = handover.RecAbort, "left over"
	if err := j.Append(rec); err != nil {
		return err
	}
	proc.SignalKill()
	proc.Reap()
	return RemoveDisks(rec)
}

// GiveUpDisks is RemoveDisks for a VM of which an earlier receiver has no more to say. The journal is told, lest it be done again to what is in their place
// then.
func GiveUpDisks(j *journal.Journal, rec handover.Record) error {
	if len(rec.Disks) == 0 {
		return nil
	}
	err := RemoveDisks(rec)
	rec.Kind, rec.Cause = handover.RecAbort, "left over"
	return errors.Join(err, j.Append(rec))
}

// RemoveDisks removes the images that were made for a VM which has never run here. Its QEMU is gone, or was never there. What lies in the place of one
// by now is left alone, and so is one of which it is not known whether it was made: that is an error.
func RemoveDisks(rec handover.Record) (err error) {
	if rec.Marks != "" {
		_ = os.Remove(rec.Marks) // the next VM of that name makes it anew
	}
	for _, d := range rec.Disks {
		info, serr := os.Lstat(d.Path)
		if serr != nil {
			continue
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		switch {
		case d.Inode == 0:
			err = errors.Join(err, fmt.Errorf("disk %s may have been made for vm %s, which is not here: if it was, remove it", d.Path, rec.Name))
		case ok && st.Ino == d.Inode:
			err = errors.Join(err, os.Remove(d.Path))
		}
	}
	return err
}

const KeepRecords = 1024 // of VMs whose QEMU has ended

// StillAsked are the last records of the VMs that a receiver or a source may have to decide: those whose QEMU lives or is being
// started, and the newest of those that were here. One that was given up is as good as one that never came.
func StillAsked(records []handover.Record) []handover.Record {
	vms, _ := handover.Histories(records)
	var kept []handover.Record
	gone := 0
	for i := len(vms) - 1; i >= 0; i-- {
		r := vms[i].Last
		switch {
		case r.Kind == handover.RecAbort:
			continue
		case r.PID != 0 && system.ProcessGone(r.PID):
			if gone++; gone > KeepRecords {
				continue
			}
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	return kept
}
