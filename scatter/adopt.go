package scatter

import (
	"context"
	"errors"

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
	proc, client, err := reopen(ctx, rec, r.cfg.RunDir)
	if err != nil {
		log.Error("its QEMU does not answer", "pid", rec.PID, "err", err)
		return true // still somebody's VM: its journal stays
	}
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name, Paused: rec.Paused,
		Memory: rec.Memory, VCPUs: rec.VCPUs}, nil)
	g.proc = proc
	if rec.Kind == recLoaded {
		g.state, g.client = guestLoaded, client
	} else {
		g.state = guestRunning
		client.Close()
	}
	r.mu.Lock()
	r.guests[g.key], r.names[rec.Name] = g, true
	r.room.used, r.room.cores = r.room.used+rec.Memory, r.room.cores+rec.VCPUs
	r.mu.Unlock()
	g.watchProcess()
	log.Info("taken over", "state", g.state.String())
	return true
}

// clear empties a journal that speaks of nothing that still lives.
func (j *journal) clear() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end = 0
	return errors.Join(j.f.Truncate(0), j.f.Sync())
}
