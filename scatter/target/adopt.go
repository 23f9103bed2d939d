package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/system"
)

// adopt takes over the guests of a receiver that ended: those that were not loaded are ended, loaded ones wait for their
// source, running ones keep their name and room.
func (r *receiver) adopt(ctx context.Context, records []handover.Record) error {
	vms, _ := handover.Histories(records)
	live := 0
	for _, h := range vms {
		if r.adoptGuest(ctx, h) {
			live++
		}
	}
	if live == 0 {
		return r.journal.Clear()
	}
	return nil
}

func (r *receiver) adoptGuest(ctx context.Context, h *handover.History) bool {
	rec := h.Last
	log := r.log.With("vm", rec.Name, "source", rec.Peer, "evacuation", rec.Evacuation)
	if rec.Kind == handover.RecPrepare && rec.PID == 0 {
		n, err := endUnrecorded(r.cfg.RunDir, rec.Name)
		if n > 0 {
			log.Warn("a QEMU was being started when the receiver was killed; it was ended", "processes", n)
		}
		if err != nil {
			log.Error("a QEMU that was being started when the receiver was killed may still wait, in vain: end it by hand", "err", err)
		}
		r.remember(rec)
		return false
	}
	if rec.Kind == handover.RecAbort || rec.PID == 0 || system.ProcessGone(rec.PID) {
		r.remember(rec)
		return false
	}
	if rec.Kind == handover.RecPrepare {
		if err := endLeftover(ctx, r.journal, rec); err != nil {
			log.Error("a QEMU that waits in vain could not be ended: end it by hand", "pid", rec.PID, "err", err)
		}
		return false
	}
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name,
		Memory: rec.Memory, VCPUs: rec.VCPUs}, nil)
	g.pid.Store(int64(rec.PID))
	g.life.rec.Paused, g.life.rec.Socket, g.life.rec.PID = rec.Paused, rec.Socket, rec.PID
	alive := running{g}
	if err := alive.retake(ctx, rec); err != nil {
		log.Error("its QEMU does not answer", "pid", rec.PID, "err", err)
		return true // still somebody's VM: its journal stays
	}
	r.mu.Lock()
	r.guests[g.key], r.names[rec.Name] = g, true
	r.room.used, r.room.cores = r.room.used+rec.Memory, r.room.cores+rec.VCPUs
	r.mu.Unlock()
	alive.watch()
	log.Info("taken over", "state", g.life.now().String())
	return true
}

// remember keeps what became of a VM that is no more, for a source that asks: what was never told to run has not run.
func (r *receiver) remember(rec handover.Record) {
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name}, nil)
	g.forgotten = true // it has neither name nor room
	switch rec.Kind {
	case handover.RecPrepare, handover.RecLoaded, handover.RecAbort:
		g.life.state = guestAborted
	default:
		g.life.state = guestEnded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[g.key] = g
}

// endUnrecorded ends the QEMUs that a receiver was starting for a VM when it was killed, and says how many there were.
func endUnrecorded(runDir, name string) (int, error) {
	pids, err := qemu.Leftovers(runDir, name)
	ended := 0
	for _, pid := range pids {
		proc, perr := system.OpenProcess(pid, "", filepath.Join(runDir, name+".log"))
		switch {
		case perr == nil:
			proc.SignalKill()
			proc.Reap()
			proc.Close()
			ended++
		case !system.NoProcess(perr):
			err = errors.Join(err, perr)
		}
	}
	return ended, err
}

// retake takes hold of a QEMU that a journal names, if it still lives and is the one that was meant. Its monitor may be
// another's.
func retake(ctx context.Context, rec handover.Record, runDir string) (*system.Process, error) {
	log := filepath.Join(runDir, rec.Name+".log")
	if !system.Exists(log) {
		log = ""
	}
	proc, err := system.OpenProcess(rec.PID, rec.Socket, log) // first, so that the answer is about what is held
	if err != nil {
		return nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	pid, err := qemu.MonitorPID(ctx, rec.Socket)
	if err == nil && pid != rec.PID {
		err = fmt.Errorf("process %d is not the one that was started (%d)", pid, rec.PID)
	}
	if err != nil {
		proc.Close()
		return nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	return proc, nil
}

// reopen is retake with the monitor.
func reopen(ctx context.Context, rec handover.Record, runDir string) (*system.Process, *qemu.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, system.QMPTimeout)
	defer cancel()
	proc, err := retake(ctx, rec, runDir)
	if err != nil {
		return nil, nil, err
	}
	client, err := qemu.Dial(ctx, rec.Socket)
	if err != nil {
		proc.Close()
		return nil, nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	return proc, client, nil
}

// endLeftover ends a QEMU that waits for pages that never come.
func endLeftover(ctx context.Context, j *journal.Journal, rec handover.Record) error {
	proc, client, err := reopen(ctx, rec, filepath.Dir(j.Path))
	if err != nil {
		return err
	}
	defer proc.Close()
	defer client.Close()
	rec.Kind, rec.Cause = handover.RecAbort, "left over"
	if err := j.Append(rec); err != nil {
		return err
	}
	proc.SignalKill()
	proc.Reap()
	return nil
}

const keepRecords = 1024 // of VMs whose QEMU has ended

// stillAsked are the last records of the VMs that a receiver or a source may have to decide: those whose QEMU lives or is being
// started, and the newest of those that were here. One that was given up is as good as one that never came.
func stillAsked(records []handover.Record) []handover.Record {
	vms, _ := handover.Histories(records)
	var kept []handover.Record
	gone := 0
	for i := len(vms) - 1; i >= 0; i-- {
		r := vms[i].Last
		switch {
		case r.Kind == handover.RecAbort:
			continue
		case r.PID != 0 && system.ProcessGone(r.PID):
			if gone++; gone > keepRecords {
				continue
			}
		}
		kept = append(kept, r)
	}
	slices.Reverse(kept)
	return kept
}
