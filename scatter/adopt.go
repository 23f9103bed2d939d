package scatter

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/scatter-vm/scatter/qemu"
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
	log := r.log.With("vm", rec.Name, "source", rec.Peer, "evacuation", rec.Evacuation)
	if rec.Kind == recPrepare && rec.PID == 0 {
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
	if rec.Kind == recAbort || rec.PID == 0 || processGone(rec.PID) {
		r.remember(rec)
		return false
	}
	if rec.Kind == recPrepare {
		if err := endLeftover(ctx, r.journal, rec); err != nil {
			log.Error("a QEMU that waits in vain could not be ended: end it by hand", "pid", rec.PID, "err", err)
		}
		return false
	}
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name,
		Memory: rec.Memory, VCPUs: rec.VCPUs}, nil)
	g.paused = rec.Paused
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

// remember keeps what became of a VM that is no more, for a source that asks: what was never told to run has not run.
func (r *receiver) remember(rec record) {
	g := newGuest(r, guestKey{sessionKey{rec.Peer, rec.Evacuation}, rec.VM}, control.Prepare{VM: rec.VM, Name: rec.Name}, nil)
	g.forgotten = true // it has neither name nor room
	switch rec.Kind {
	case recPrepare, recLoaded, recAbort:
		g.state = guestAborted
	default:
		g.state = guestEnded
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests[g.key] = g
}

// retake takes hold of the QEMU of a guest that was loaded at least.
func (g *guest) retake(ctx context.Context, rec record) (err error) {
	g.state = guestRunning
	g.pid.Store(int64(rec.PID))
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
	err = g.letRun(rec.stateToRun())
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, refused := errors.AsType[refusedError](err); refused {
		g.state = guestLoaded // the source decides
		g.log.Warn("was told to run, but does not", "err", err)
		return g.recordLocked(recLoaded)
	}
	if err != nil {
		return fmt.Errorf("cont: %w", err)
	}
	g.arrived()
	return nil
}

// endUnrecorded ends the QEMUs that a receiver was starting for a VM when it was killed, and says how many there were.
func endUnrecorded(runDir, name string) (int, error) {
	pids, err := qemu.Leftovers(runDir, name)
	ended := 0
	for _, pid := range pids {
		proc, perr := openProcess(pid, "", filepath.Join(runDir, name+".log"))
		switch {
		case perr == nil:
			proc.signalKill()
			proc.reap()
			proc.close()
			ended++
		case !noProcess(perr):
			err = errors.Join(err, perr)
		}
	}
	return ended, err
}

// stateToRun is the run state that a target's record of Run asks for.
func (r record) stateToRun() string {
	if r.Paused {
		return "paused"
	}
	return "running"
}

// clear empties a journal that speaks of nothing that still lives.
func (j *journal) clear() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.end = 0
	return errors.Join(j.f.Truncate(0), j.f.Sync())
}
