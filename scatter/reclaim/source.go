// Package reclaim decides the VMs of evacuations that were broken off, on the host that they were to leave and on those that they were to go to, by the
// journals there and by what both sides say.
package reclaim

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/fill"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// StatusOf tells how a source QEMU stands, once its migration is over. An error means that it does not say.
func StatusOf(ctx context.Context, vm hypervisor.Source, proc *system.Process) (handover.SourceState, error) {
	if !proc.Alive() {
		return handover.SourceGone, nil
	}
	for {
		info, err := vm.QueryMigrate(ctx)
		if err == nil && info.Status.PostCopy() {
			return handover.SourceCompleted, nil
		}
		if err == nil && info.Status == qemu.MigrationPreSwitchover {
			return handover.SourceStill, nil // it does not notice that its stream is gone
		}
		if err == nil && info.Status.Idle() {
			break
		}
		if err == nil {
			err = fmt.Errorf("its migration is %s", info.Status)
		}
		if !proc.Alive() {
			return handover.SourceGone, nil
		}
		if system.Pause(ctx, 10*time.Millisecond) != nil || vm.Err() != nil {
			return "", fmt.Errorf("source QEMU: %w", err)
		}
	}
	status, err := vm.Status(ctx)
	if err != nil {
		return "", fmt.Errorf("source QEMU: %w", err)
	}
	switch {
	case handover.Runs(status.Status):
		return handover.SourceRuns, nil
	case status.Status == "postmigrate":
		return handover.SourceCompleted, nil
	case status.Status == "shutdown":
		return handover.SourceGone, nil
	case status.Status == "finish-migrate":
		return "", errors.New("source QEMU: is about to end its migration")
	}
	return handover.SourcePaused, nil
}

// recoverTimeout bounds what Recover spends on one VM.
const recoverTimeout = 30 * time.Second

// Source decides the VMs of one broken evacuation.
func Source(ctx context.Context, cfg model.RecoverConfig, path string) ([]model.Recovered, error) {
	j, records, err := journal.Open(path)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	vms, begin := handover.Histories(records)
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "send-"), ".journal")
	if _, err := hex.DecodeString(id); err != nil {
		return nil, fmt.Errorf("journal %s: its name is not that of an evacuation", path)
	}
	if cfg.TLSDir == "" {
		cfg.TLSDir = begin.TLSDir
	}
	var out []model.Recovered
	open := false
	for _, h := range vms {
		s := sourceRecovery{cfg: cfg, journal: j, h: h, evacuation: id}
		r := s.run(ctx)
		open = open || r.Where == model.InDoubt || s.untold || s.lingers
		if h.Begun() || r.Where == model.InDoubt {
			out = append(out, r)
		}
	}
	if !open && !cfg.DryRun {
		return out, j.Remove()
	}
	return out, nil
}

// sourceRecovery decides one VM on the source.
type sourceRecovery struct {
	cfg        model.RecoverConfig
	journal    *journal.Journal
	h          *handover.History
	evacuation string
	untold     bool            // the target may hold the VM and could not be told to forget it
	whole      context.Context // of the recovery, for what takes as long as its bytes do
	lingers    bool            // the VM lives on its target, and its source QEMU could not be ended
}

func (s *sourceRecovery) run(ctx context.Context) model.Recovered {
	s.whole = ctx
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	out := model.Recovered{VM: s.h.Last.Name, Host: s.h.Last.Host}
	switch {
	case s.h.Seen[handover.RecDone]:
		out.Where, out.Action = model.OnTarget, "had arrived"
		return s.leftOver(ctx, out)
	case s.h.Last.Kind == handover.RecEnded:
		out.Where, out.Action = model.Ended, "had ended by itself"
		if s.cfg.DryRun || !s.h.Last.Untold {
			return out
		}
		s.forget(ctx)
		r := s.h.Last
		r.Untold = s.untold
		return s.told(out, s.journal.Append(r))
	case s.h.Last.Kind == handover.RecStayed && s.h.Last.Untold:
		out.Where, out.Action = model.OnSource, "had stayed, the target forgets it"
		if s.cfg.DryRun {
			return out
		}
		s.forget(ctx)
		return s.told(out, s.stayed())
	case s.h.Last.Kind == handover.RecStayed:
		out.Where, out.Action = model.OnSource, "had stayed"
		return out
	}
	source, vm, serr := s.sourceStatus(ctx)
	if vm != nil {
		defer vm.Close()
	}
	if !s.h.Begun() {
		return s.untouched(ctx, out, source, vm, serr)
	}
	target, terr := s.targetState(ctx)
	act := handover.Decide(handover.Evidence{Source: source, SourceKnown: serr == nil, Target: target, TargetKnown: terr == nil, Converged: s.h.Converged(),
		Paused: s.h.Standing().LeftPaused(), RunLogged: s.h.Seen[handover.RecRun], PausedByUs: s.h.Seen[handover.RecPause]})
	out.Where, out.Action = act.Where, act.Text
	if !s.cfg.DryRun && terr == nil && (target == control.StateEnded || target == control.StateUnknown) && act.Where == model.InDoubt && vm != nil {
		_ = vm.EndMigration(ctx) // whoever continues it by hand can: nobody is going to get its pages
	}
	if s.cfg.DryRun || act.Do == handover.DoNothing {
		if act.Where == model.InDoubt {
			out.Action = fmt.Sprintf("%s (source: %s; target: %s)", act.Text, orError(string(source), serr), orError(string(target), terr))
		}
		return out
	}
	return s.told(out, s.do(ctx, act, vm))
}

// leftOver ends the source QEMU of a VM that had arrived, if it is there still and was not to be kept. One that does not answer keeps the
// journal open.
func (s *sourceRecovery) leftOver(ctx context.Context, out model.Recovered) model.Recovered {
	if s.h.Last.Keep {
		return out
	}
	source, vm, err := s.sourceStatus(ctx)
	if vm != nil {
		defer vm.Close()
	}
	if err == nil && source == handover.SourceCompleted {
		out.Action = "had arrived, its source QEMU was ended"
		if !s.cfg.DryRun {
			err = vm.Quit(ctx)
		}
	}
	if err != nil {
		s.lingers = true
		out.Action = "had arrived, but its source QEMU could not be ended: recover again: " + err.Error()
	}
	return out
}

// untouched is a VM that was only looked at.
func (s *sourceRecovery) untouched(ctx context.Context, out model.Recovered, source handover.SourceState, vm hypervisor.Source, err error) model.Recovered {
	switch {
	case source == handover.SourceGone:
		out.Where, out.Action = model.Ended, "ended on the source; its move had not begun"
	case err != nil:
		out.Where, out.Action = model.InDoubt, "its move had not begun; its QEMU does not answer, and keeps changed migration settings: "+err.Error()
	default:
		out.Where, out.Action = model.OnSource, "its move had not begun; its migration settings were put back"
	}
	if s.cfg.DryRun || source != handover.SourceGone && err != nil {
		return out
	}
	if source == handover.SourceGone {
		return s.told(out, s.note(handover.RecEnded))
	}
	return s.told(out, errors.Join(s.restore(ctx, vm), s.stayed()))
}

// restore gives a VM back the migration settings that it had.
func (s *sourceRecovery) restore(ctx context.Context, vm hypervisor.Source) error {
	if vm == nil {
		return nil
	}
	if _, err := s.settings(); err != nil {
		return err
	}
	return vm.Restore(ctx)
}

// settings are those that the journal says the VM had; none where they were not changed.
func (s *sourceRecovery) settings() (had hypervisor.Settings, err error) {
	if s.h.Settings.Kind == "" || s.h.Settings.Params == nil {
		return had, nil
	}
	if err := json.Unmarshal(s.h.Settings.Params, &had.Params); err != nil {
		return had, fmt.Errorf("vm %s: its settings in the journal: %w", s.h.Last.Name, err)
	}
	if had.Caps = s.h.Settings.Caps; had.Caps == nil {
		had.Caps = make(map[string]bool)
	}
	return had, nil
}

// told completes what is said of a VM once that was tried.
func (s *sourceRecovery) told(out model.Recovered, err error) model.Recovered {
	switch {
	case err != nil:
		out.Where, out.Action = model.InDoubt, fmt.Sprintf("%s: did not succeed: %v", out.Action, err)
	case s.untold:
		out.Action += "; but the target was not reached and may hold it, paused: recover again when it is back"
	}
	return out
}

func orError(s string, err error) string {
	if err != nil {
		return err.Error()
	}
	return s
}

// sourceStatus tells how the QEMU stands that the journal names; another process of its pid is not it.
func (s *sourceRecovery) sourceStatus(ctx context.Context) (handover.SourceState, hypervisor.Source, error) {
	rec := s.h.Last
	proc, err := system.OpenProcess(rec.PID, rec.Socket, "") // first, so that the answers are about what is held
	if system.NoProcess(err) {
		return handover.SourceGone, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer proc.Close()
	if !proc.Alive() {
		return handover.SourceGone, nil, nil
	}
	if start, err := qemu.StartTime(rec.PID); err == nil && rec.Start != 0 && start != rec.Start {
		return handover.SourceGone, nil, nil
	}
	had, _ := s.settings() // restore says what is wrong with them
	vm, err := qmp.Reopen(ctx, rec.Name, rec.Socket, proc, had)
	if err != nil {
		if !proc.Alive() {
			return handover.SourceGone, nil, nil
		}
		return "", nil, err
	}
	if vm.PID() != rec.PID {
		vm.Close()
		if rec.Start == 0 {
			return handover.SourceGone, nil, nil // another process may have its number
		}
		return "", nil, fmt.Errorf("process %d lives, but its QMP socket %s is that of process %d", rec.PID, rec.Socket, vm.PID())
	}
	// A migration whose socket has just been closed by our crash needs a moment to fail.
	state, err := StatusOf(ctx, vm, proc)
	return state, vm, err
}

func (s *sourceRecovery) dialer() (wire.Dialer, error) {
	t, err := model.ParseTarget(s.h.Last.Address)
	return wire.Dialer{Target: t, TLSDir: s.cfg.TLSDir, Evacuation: s.evacuation, Sent: new(atomic.Int64)}, err
}

func (s *sourceRecovery) targetState(ctx context.Context) (control.VMState, error) {
	if s.h.Last.Address == "" {
		return control.StateUnknown, nil
	}
	d, err := s.dialer()
	if err != nil {
		return "", err
	}
	return wire.AskState(ctx, d, s.h.Last.VM)
}

// do carries a decision out. Its record is on disk before.
func (s *sourceRecovery) do(ctx context.Context, d handover.Verdict, vm hypervisor.Source) error {
	switch d.Do {
	case handover.DoAbort:
		s.forget(ctx)
		if d.Where == model.Ended {
			if s.untold {
				return nil // the journal stays for it
			}
			return errors.Join(s.restore(ctx, vm), s.note(handover.RecEnded))
		}
		return errors.Join(s.restore(ctx, vm), s.stayed())
	case handover.DoCont:
		if err := s.note(handover.RecAbort); err != nil {
			return err
		}
		s.forget(ctx)
		if err := vm.EndMigration(ctx); err != nil { // a post-copy that nobody goes on with
			return err
		}
		if !s.h.Standing().LeftPaused() {
			if err := vm.Cont(ctx); err != nil {
				return err
			}
		}
		return errors.Join(s.restore(ctx, vm), s.stayed())
	case handover.DoRun:
		return s.runOnTarget(ctx, vm)
	case handover.DoQuitSource:
		return s.arrived(ctx, vm)
	case handover.DoFill:
		return s.fill(vm)
	}
	return nil
}

func (s *sourceRecovery) runOnTarget(ctx context.Context, vm hypervisor.Source) error {
	if err := s.note(handover.RecRun); err != nil {
		return err
	}
	d, err := s.dialer()
	if err != nil {
		return err
	}
	m, err := wire.Exchange(ctx, d, control.Run{VM: s.h.Last.VM, State: s.h.Standing().ToRun()})
	if err != nil {
		return err
	}
	st, ok := m.(control.State)
	switch {
	case ok && st.State == control.StateFilling:
		return s.fill(vm)
	case !ok || st.State != control.StateRunning:
		return fmt.Errorf("target answered %+v to run", m)
	}
	return s.arrived(ctx, vm)
}

// fill sends a VM what it lacks that runs on its target; then it has arrived.
func (s *sourceRecovery) fill(vm hypervisor.Source) error {
	d, err := s.dialer()
	if err != nil {
		return err
	}
	f, err := fill.FromProcess(s.whole, vm, s.h.Last.PID)
	if err != nil {
		return err
	}
	defer f.Mem.Close()
	if err := f.Keep(s.whole, &d, s.h.Last.VM, recoverTimeout); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.whole, recoverTimeout)
	defer cancel()
	if err := vm.EndMigration(ctx); err != nil {
		s.cfg.Log.Warn("its migration does not end", "vm", s.h.Last.Name, "err", err)
	}
	return s.arrived(ctx, vm)
}

// arrived: the VM runs on the target; its source QEMU ends, if it is there still.
func (s *sourceRecovery) arrived(ctx context.Context, vm hypervisor.Source) error {
	if err := s.note(handover.RecDone); err != nil {
		return err
	}
	if vm == nil {
		return nil
	}
	return vm.Quit(ctx)
}

// forget tells the target to forget the VM. A target that does not hear it keeps the VM paused, if it holds it, and asks nobody
// to run it; the next recovery tells it.
func (s *sourceRecovery) forget(ctx context.Context) {
	d, err := s.dialer()
	if err == nil {
		_, err = wire.Exchange(ctx, d, control.Abort{VM: s.h.Last.VM, Reason: "recovered on the source"})
	}
	if err != nil {
		s.cfg.Log.Warn("target not told", "vm", s.h.Last.Name, "err", err)
	}
	s.untold = err != nil && s.h.Seen[handover.RecConverge]
}

// stayed records that the VM is here. Until then the next recovery looks at it again.
func (s *sourceRecovery) stayed() error {
	r := s.h.Last
	r.Kind, r.Untold = handover.RecStayed, s.untold
	return s.journal.Append(r)
}

func (s *sourceRecovery) note(k handover.RecordKind) error {
	r := s.h.Last
	r.Kind = k
	return s.journal.Append(r)
}
