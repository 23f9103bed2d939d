package target

import (
	"context"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/reclaim"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
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
		n, err := r.host.EndUnrecorded(rec.Name, false)
		if n > 0 {
			log.Warn("a QEMU was being started when the receiver was killed; it was ended", "processes", n)
		}
		if err != nil {
			log.Error("a QEMU that was being started when the receiver was killed may still wait, in vain: end it by hand", "err", err)
			r.remember(rec)
			return false
		}
	}
	if rec.Kind == handover.RecPrepare && (rec.PID == 0 || system.ProcessGone(rec.PID)) {
		if err := reclaim.GiveUpDisks(r.journal, rec); err != nil {
			log.Error("disks that were made for it are left", "err", err)
		}
	}
	if rec.Kind == handover.RecAbort || rec.PID == 0 || system.ProcessGone(rec.PID) {
		r.remember(rec)
		return false
	}
	if rec.Kind == handover.RecPrepare || rec.Kind == handover.RecLoaded && rec.PostCopy { // it was never run, and its source has all of it
		if err := reclaim.EndLeftover(ctx, r.host, r.journal, rec); err != nil {
			log.Error("a QEMU that waits in vain could not be ended: end it by hand", "pid", rec.PID, "err", err)
			return false
		}
		r.remember(rec)
		return false
	}
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name,
		Memory: rec.Memory, VCPUs: rec.VCPUs}, nil)
	g.pid.Store(int64(rec.PID))
	g.life.Resume(life.Starting, rec)
	alive := running{g}
	if err := alive.retake(ctx, rec); err != nil {
		log.Error("its QEMU does not answer", "pid", rec.PID, "err", err)
		return true // still somebody's VM: its journal stays
	}
	r.mu.Lock()
	r.guests[g.key], r.names[rec.Name] = g, true
	r.room.Used, r.room.Cores = r.room.Used+rec.Memory, r.room.Cores+rec.VCPUs
	r.mu.Unlock()
	alive.watch()
	log.Info("taken over", "state", g.life.Now().String())
	return true
}

// remember keeps what became of a VM that is no more, for a source that asks: what was never told to run has not run.
func (r *receiver) remember(rec handover.Record) {
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name}, nil)
	g.forgotten = true // it has neither name nor room
	switch rec.Kind {
	case handover.RecPrepare, handover.RecLoaded, handover.RecAbort:
		g.life.Resume(life.Aborted, rec)
	default:
		g.life.Resume(life.Ended, rec)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[g.key] = g
}
