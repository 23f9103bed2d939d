package scatter

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/scatter/control"
)

// adopt takes over the guests of a receiver that ended: those that were not loaded are ended, loaded ones wait for their
// source, running ones keep their name and room.
func (r *receiver) adopt(ctx context.Context, records []record) error {
	vms, _ := histories(records)
	live := 0
	for _, h := range vms {
		if r.adoptGuest(ctx, h) {
			live++
		}
	}
	if live == 0 {
		return r.journal.clear()
	}
	return nil
}

func (r *receiver) adoptGuest(ctx context.Context, h *vmHistory) bool {
	rec := h.last
	if rec.Kind == recAbort || rec.PID == 0 || processGone(rec.PID) {
		return false
	}
	log := r.log.With("vm", rec.Name, "source", rec.Peer, "evacuation", rec.Evacuation)
	if rec.Kind == recPrepare {
		if err := endLeftover(ctx, r.journal, rec); err != nil {
			log.Error("a QEMU that waits in vain could not be ended: end it by hand", "pid", rec.PID, "err", err)
		}
		return false
	}
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name, Paused: rec.Paused,
		Memory: rec.Memory, VCPUs: rec.VCPUs}, nil)
	err := g.retake(ctx, rec)
	if err != nil {
		log.Error("its QEMU does not answer", "pid", rec.PID, "err", err)
		return true // still somebody's VM: its journal stays
	}
	r.mu.Lock()
	r.guests[g.key], r.names[rec.Name] = g, true
	r.room.used, r.room.cores = r.room.used+rec.Memory, r.room.cores+rec.VCPUs
	r.mu.Unlock()
	g.watchProcess()
	log.Info("taken over", "state", g.state.String())
	return true
}

// retake takes hold of the QEMU of a guest that was loaded at least.
func (g *guest) retake(ctx context.Context, rec record) (err error) {
	g.state = guestRunning
	if rec.Kind == recDone {
		g.proc, err = retake(ctx, rec, g.r.cfg.RunDir) // its monitor belongs to others by now
		return err
	}
	g.proc, g.client, err = reopen(ctx, rec, g.r.cfg.RunDir)
	if err != nil {
		return err
	}
	if rec.Kind == recLoaded {
		g.state = guestLoaded
		return nil
	}
	// It was told to run, but perhaps that never reached QEMU.
	if err := g.letRun(ctx); err != nil {
		return fmt.Errorf("cont: %w", err)
	}
	return g.recordLocked(recDone)
}

// clear empties a journal that speaks of nothing that still lives.
func (j *journal) clear() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end = 0
	return errors.Join(j.f.Truncate(0), j.f.Sync())
}
