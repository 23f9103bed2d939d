package scatter

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

// recoverTimeout bounds what Recover spends on one VM.
const recoverTimeout = 30 * time.Second

// Recover reads the journals of a run directory after a crash, says where each VM is, and finishes or undoes what can be
// decided. On the source it asks the QEMUs and the targets; on a target it says what waits there for the source.
// A VM that nobody can vouch for is left as it is, in doubt.
func Recover(ctx context.Context, cfg RecoverConfig) (*RecoverReport, error) {
	if cfg.RunDir == "" {
		cfg.RunDir = DefaultRunDir
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	out := &RecoverReport{VMs: []Recovered{}}
	sent, err := filepath.Glob(filepath.Join(cfg.RunDir, "send-*.journal"))
	if err != nil {
		return nil, fmt.Errorf("run directory %s: %w", cfg.RunDir, err)
	}
	for _, path := range sent {
		vms, err := recoverSource(ctx, cfg, path)
		if err != nil {
			return out, err
		}
		out.VMs = append(out.VMs, vms...)
	}
	vms, err := recoverTarget(ctx, cfg)
	out.VMs = append(out.VMs, vms...)
	return out, err
}

// vmHistory is what a journal tells of one VM.
type vmHistory struct {
	last record
	seen map[recordKind]bool
}

// histories sorts records by VM, in the order of their first record.
func histories(records []record) (vms []*vmHistory, begin record) {
	type key struct {
		peer, evacuation string
		vm               int
	}
	byVM := make(map[key]*vmHistory)
	for _, r := range records {
		if r.Kind == recBegin || r.Kind == recEnd {
			begin = r
			continue
		}
		k := key{r.Peer, r.Evacuation, r.VM}
		h := byVM[k]
		if h == nil {
			h = &vmHistory{seen: make(map[recordKind]bool)}
			byVM[k] = h
			vms = append(vms, h)
		}
		h.last = r
		h.seen[r.Kind] = true
	}
	return vms, begin
}

// recoverSource decides the VMs of one broken evacuation.
func recoverSource(ctx context.Context, cfg RecoverConfig, path string) ([]Recovered, error) {
	j, records, err := openJournal(path)
	if err != nil {
		return nil, err
	}
	defer j.Close()
	vms, begin := histories(records)
	id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "send-"), ".journal")
	if _, err := hex.DecodeString(id); err != nil {
		return nil, fmt.Errorf("journal %s: its name is not that of an evacuation", path)
	}
	if cfg.TLSDir == "" {
		cfg.TLSDir = begin.TLSDir
	}
	var out []Recovered
	open := false
	for _, h := range vms {
		s := sourceRecovery{cfg: cfg, journal: j, h: h, evacuation: id}
		r := s.run(ctx)
		open = open || r.Where == InDoubt || s.untold
		out = append(out, r)
	}
	if !open && !cfg.DryRun {
		return out, j.remove()
	}
	return out, nil
}

// sourceRecovery decides one VM on the source.
type sourceRecovery struct {
	cfg        RecoverConfig
	journal    *journal
	h          *vmHistory
	evacuation string
	untold     bool // the target may hold the VM and could not be told to forget it
}

func (s *sourceRecovery) run(ctx context.Context) Recovered {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	out := Recovered{VM: s.h.last.Name, Host: s.h.last.Host}
	switch {
	case s.h.seen[recDone]:
		out.Where, out.Action = OnTarget, "had arrived"
		return out
	case s.h.last.Kind == recStayed && s.h.last.Untold:
		out.Where, out.Action = OnSource, "had stayed, the target forgets it"
		if s.cfg.DryRun {
			return out
		}
		s.forget(ctx)
		return s.told(out, s.stayed())
	case s.h.last.Kind == recStayed:
		out.Where, out.Action = OnSource, "had stayed"
		return out
	}
	source, client, serr := s.sourceStatus(ctx)
	if client != nil {
		defer client.Close()
	}
	target, terr := s.targetState(ctx)
	act := decide(evidence{source: source, sourceKnown: serr == nil, target: target, targetKnown: terr == nil,
		paused: s.h.last.Paused, runLogged: s.h.seen[recRun], pausedByUs: s.h.seen[recPause]})
	out.Where, out.Action = act.where, act.text
	if s.cfg.DryRun || act.do == doNothing {
		if act.where == InDoubt {
			out.Action = fmt.Sprintf("%s (source: %s; target: %s)", act.text, orError(string(source), serr), orError(string(target), terr))
		}
		return out
	}
	return s.told(out, s.do(ctx, act.do, client))
}

// told completes what is said of a VM once that was tried.
func (s *sourceRecovery) told(out Recovered, err error) Recovered {
	switch {
	case err != nil:
		out.Where, out.Action = InDoubt, fmt.Sprintf("%s: did not succeed: %v", out.Action, err)
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

// sourceState is how a source QEMU stands after a crash of scatter.
type sourceState string

const (
	sourceRuns      sourceState = "running"
	sourcePaused    sourceState = "paused"
	sourceCompleted sourceState = "given away" // postmigrate: SHUT(0) had reached it
	sourceGone      sourceState = "gone"
)

func (s *sourceRecovery) sourceStatus(ctx context.Context) (sourceState, *qemu.Client, error) {
	vm, client, err := qemu.Discover(ctx, s.h.last.Socket)
	if err != nil {
		if processGone(s.h.last.PID) {
			return sourceGone, nil, nil
		}
		return "", nil, err
	}
	if vm.PID != s.h.last.PID {
		client.Close()
		return sourceGone, nil, nil
	}
	// A migration whose socket has just been closed by our crash needs a moment to fail.
	v := &sourceVM{vm: vm, client: client}
	if err := v.await(ctx, func(i qemu.MigrationInfo) (bool, error) { return idle(i.Status), nil }); err != nil {
		return "", client, err
	}
	status, err := client.Status(ctx)
	switch {
	case err != nil:
		return "", client, err
	case status.Running:
		return sourceRuns, client, nil
	case status.Status == "postmigrate":
		return sourceCompleted, client, nil
	}
	return sourcePaused, client, nil
}

func (s *sourceRecovery) dialer() (dialer, error) {
	t, err := parseTarget(s.h.last.Address)
	return dialer{target: t, tlsDir: s.cfg.TLSDir, evacuation: s.evacuation, sent: new(atomic.Int64)}, err
}

func (s *sourceRecovery) targetState(ctx context.Context) (control.VMState, error) {
	if s.h.last.Address == "" {
		return control.StateUnknown, nil
	}
	d, err := s.dialer()
	if err != nil {
		return "", err
	}
	return askState(ctx, d, s.h.last.VM)
}

// parseTarget reads what TargetAddr.String wrote.
func parseTarget(s string) (TargetAddr, error) {
	name, addr, ok := strings.Cut(s, "=")
	if !ok {
		name, addr = "", s
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return TargetAddr{}, fmt.Errorf("target %q: %w", s, err)
	}
	return TargetAddr{Name: name, Addr: a}, nil
}

// evidence is what can be known of a VM after a crash.
type evidence struct {
	source      sourceState
	sourceKnown bool
	target      control.VMState
	targetKnown bool
	paused      bool // it was paused when the evacuation found it
	pausedByUs  bool // scatter was about to stop it
	runLogged   bool // Run may have been sent
}

type recoverAct uint8

const (
	doNothing    recoverAct = iota
	doAbort                 // the target forgets it
	doCont                  // the source runs again, the target forgets it
	doRun                   // the target runs it, then the source quits
	doQuitSource            // the target runs it already
)

// verdict is where a VM is, what to do about it, and how to say so.
type verdict struct {
	where Where
	do    recoverAct
	text  string
}

// decide is the table of recovery. The source QEMU's own state is the best witness: it runs unless it got SHUT(0), and it got
// that only after the commit record; a completed source never runs by itself.
func decide(e evidence) verdict {
	switch {
	case e.targetKnown && e.target == control.StateRunning && e.sourceKnown && e.source == sourceRuns:
		return verdict{InDoubt, doNothing, "both sides say that it runs: stop the wrong one by hand, now"}
	case e.targetKnown && e.target == control.StateRunning && !e.sourceKnown:
		return verdict{OnTarget, doNothing, "runs on the target; the source QEMU does not answer: end it by hand"}
	case e.targetKnown && e.target == control.StateRunning:
		return verdict{OnTarget, doQuitSource, "runs on the target, the source QEMU was ended"}
	case !e.sourceKnown:
		return verdict{InDoubt, doNothing, "the source QEMU does not answer: look at it, then recover again"}
	case e.source == sourceRuns:
		return verdict{OnSource, doAbort, "runs on the source, the target forgets it"}
	case e.source == sourcePaused && e.paused:
		return verdict{OnSource, doAbort, "is paused on the source, as it was found; the target forgets it"}
	case e.source == sourcePaused && e.runLogged && (!e.targetKnown || e.target == control.StateUnknown):
		return verdict{InDoubt, doNothing, "is paused on the source, and the target may run it: see there, then 'cont' on the source's QMP socket if it does not"}
	case e.source == sourcePaused && e.pausedByUs:
		return verdict{OnSource, doCont, "runs on the source again, the target forgets it"}
	case e.source == sourcePaused:
		return verdict{OnSource, doAbort, "is paused on the source, not by scatter; the target forgets it"}
	case e.source == sourceCompleted && e.targetKnown && e.target == control.StateLoaded:
		return verdict{OnTarget, doRun, "was complete on the target, which runs it now"}
	case e.source == sourceCompleted && e.targetKnown && (!e.runLogged || e.target == control.StateAborted):
		return verdict{OnSource, doCont, "the target has lost it and never ran it; runs on the source again"}
	case e.source == sourceCompleted && e.targetKnown:
		return verdict{InDoubt, doNothing, "the target may have run it and has it no more: 'cont' on the source's QMP socket brings back its state at the switch-over"}
	case e.source == sourceCompleted && !e.runLogged:
		return verdict{OnSource, doCont, "the target does not answer, and was never told to run it; runs on the source again"}
	case e.source == sourceCompleted:
		return verdict{InDoubt, doNothing, "the target does not answer and may run it: reach the target, then recover again"}
	case e.targetKnown && e.target == control.StateLoaded:
		return verdict{InDoubt, doNothing, "the source QEMU is gone, the target holds the VM complete and paused: 'cont' on its QMP socket runs it"}
	}
	if !e.targetKnown {
		return verdict{InDoubt, doNothing, "the source QEMU is gone and the target does not answer: reach the target, then recover again"}
	}
	return verdict{InDoubt, doNothing, "the source QEMU is gone and the target does not have the VM"}
}

// do carries a decision out. Its record is on disk before.
func (s *sourceRecovery) do(ctx context.Context, a recoverAct, client *qemu.Client) error {
	switch a {
	case doAbort:
		s.forget(ctx)
		return s.stayed()
	case doCont:
		if err := s.note(recAbort); err != nil {
			return err
		}
		s.forget(ctx)
		if !s.h.last.Paused {
			if err := client.Cont(ctx); err != nil {
				return err
			}
		}
		return s.stayed()
	case doRun:
		return s.runOnTarget(ctx, client)
	case doQuitSource:
		if err := s.note(recDone); err != nil {
			return err
		}
		if client != nil {
			return client.Quit(ctx)
		}
	}
	return nil
}

func (s *sourceRecovery) runOnTarget(ctx context.Context, client *qemu.Client) error {
	if err := s.note(recRun); err != nil {
		return err
	}
	d, err := s.dialer()
	if err != nil {
		return err
	}
	m, err := exchange(ctx, d, control.Run{VM: s.h.last.VM})
	if err != nil {
		return err
	}
	if st, ok := m.(control.State); !ok || st.State != control.StateRunning {
		return fmt.Errorf("target answered %+v to run", m)
	}
	if err := s.note(recDone); err != nil {
		return err
	}
	return client.Quit(ctx)
}

// forget tells the target to forget the VM. A target that does not hear it keeps the VM paused, if it holds it, and asks nobody
// to run it; the next recovery tells it.
func (s *sourceRecovery) forget(ctx context.Context) {
	d, err := s.dialer()
	if err == nil {
		_, err = exchange(ctx, d, control.Abort{VM: s.h.last.VM, Reason: "recovered on the source"})
	}
	if err != nil {
		s.cfg.Log.Warn("target not told", "vm", s.h.last.Name, "err", err)
	}
	s.untold = err != nil && s.h.seen[recConverge]
}

// stayed records that the VM is here. Until then the next recovery looks at it again.
func (s *sourceRecovery) stayed() error {
	r := s.h.last
	r.Kind, r.Untold = recStayed, s.untold
	return s.journal.Append(r)
}

func (s *sourceRecovery) note(k recordKind) error {
	r := s.h.last
	r.Kind = k
	return s.journal.Append(r)
}

// recoverTarget says what a target's journal holds. A receiver that runs takes care of its guests by itself; without one, QEMUs
// that wait in vain are ended.
func recoverTarget(ctx context.Context, cfg RecoverConfig) ([]Recovered, error) {
	path := filepath.Join(cfg.RunDir, "recv.journal")
	if !exists(path) {
		return nil, nil
	}
	j, records, err := openJournal(path)
	if errors.Is(err, ErrJournalBusy) {
		cfg.Log.Info("a receiver is running on this host and looks after its VMs")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer j.Close()
	vms, _ := histories(records)
	var out []Recovered
	for _, h := range vms {
		if r, ok := recoverGuest(ctx, cfg, j, h); ok {
			out = append(out, r)
		}
	}
	return out, nil
}

// recoverGuest decides one VM on a target without a receiver. Nothing is to be said of VMs that are gone.
func recoverGuest(ctx context.Context, cfg RecoverConfig, j *journal, h *vmHistory) (Recovered, bool) {
	out := Recovered{VM: h.last.Name, Host: h.last.Peer}
	alive := h.last.PID != 0 && !processGone(h.last.PID)
	switch {
	case h.last.Kind == recAbort || !alive && h.last.Kind != recLoaded:
		return out, false
	case h.last.Kind == recDone || h.last.Kind == recRun && cfg.DryRun:
		out.Where, out.Action = OnTarget, "runs here"
	case h.last.Kind == recRun:
		out.Where, out.Action = OnTarget, "runs here"
		if err := finishRun(ctx, j, h.last); err != nil {
			out.Where, out.Action = InDoubt, "was told to run here: see whether it does: "+err.Error()
		}
	case h.last.Kind == recLoaded && alive:
		out.Where, out.Action = InDoubt, "complete and paused here: start 'scatter recv' again, then 'scatter recover' on "+h.last.Peer
	case h.last.Kind == recLoaded:
		out.Where, out.Action = InDoubt, "its QEMU here is gone; 'scatter recover' on "+h.last.Peer+" decides"
	default:
		out.Where, out.Action = OnSource, "was not complete here, its QEMU was ended"
		if !cfg.DryRun {
			if err := endLeftover(ctx, j, h.last); err != nil {
				out.Action = "was not complete here; its QEMU could not be ended: " + err.Error()
			}
		}
	}
	return out, true
}

// finishRun makes sure that a VM runs that was told to: the word may never have reached its QEMU.
func finishRun(ctx context.Context, j *journal, rec record) error {
	proc, client, err := reopen(ctx, rec, filepath.Dir(j.path))
	if err != nil {
		return err
	}
	defer proc.close()
	defer client.Close()
	if !rec.Paused {
		if err := client.Cont(ctx); err != nil {
			return err
		}
	}
	rec.Kind = recDone
	return j.Append(rec)
}
