package scatter

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
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
	if cfg.Run != "" {
		vm, err := runHere(ctx, cfg)
		out.VMs = append(out.VMs, vm)
		return out, err
	}
	var failed error
	for _, path := range sent {
		vms, err := recoverSource(ctx, cfg, path)
		out.VMs = append(out.VMs, vms...)
		failed = errors.Join(failed, err) // the others have nothing to do with it
	}
	vms, err := recoverTarget(ctx, cfg)
	out.VMs = append(out.VMs, vms...)
	return out, errors.Join(failed, err)
}

// vmHistory is what a journal tells of one VM.
type vmHistory struct {
	last     record
	seen     map[recordKind]bool
	state    string // run state at the switch-over; "" before
	settings record // with the migration settings that QEMU had; of kind "" if they were not changed
}

// open tells whether the journal of a source says that the VM may be on its way still, or has other settings than it had.
func (h *vmHistory) open() bool {
	switch h.last.Kind {
	case recDone:
		return false
	case recEnded, recStayed:
		return h.last.Untold
	}
	return true
}

// begun tells whether more has been done to the VM than to look at it.
func (h *vmHistory) begun() bool { return h.last.Kind != recSettings }

// converged tells whether its stream may have begun: a target may hold all of it.
func (h *vmHistory) converged() bool {
	return h.seen[recConverge] || h.seen[recCommit] || h.seen[recRun]
}

// leftPaused tells whether others than scatter had stopped the VM.
func (h *vmHistory) leftPaused() bool {
	if h.state != "" {
		return !runs(h.state) && !h.seen[recPause]
	}
	return h.last.Paused && !h.seen[recPause]
}

// stateToRun is the run state that the VM is to have on its target.
func (h *vmHistory) stateToRun() string {
	if h.leftPaused() {
		return cmp.Or(h.state, "paused")
	}
	return "running"
}

// histories sorts records by VM, in the order of their first record. The source knows a VM by its name: numbers are
// given anew when others leave the evacuation.
func histories(records []record) (vms []*vmHistory, begin record) {
	type key struct {
		peer, evacuation, name string
		vm                     int // of a target's record, or one without a name
	}
	byVM := make(map[key]*vmHistory)
	for _, r := range records {
		if r.Kind == recBegin || r.Kind == recEnd {
			begin = r
			continue
		}
		k := key{r.Peer, r.Evacuation, r.Name, 0}
		if r.Name == "" || r.Peer != "" {
			k.name, k.vm = "", r.VM
		}
		h := byVM[k]
		if h == nil {
			h = &vmHistory{seen: make(map[recordKind]bool)}
			byVM[k] = h
			vms = append(vms, h)
		}
		h.last = r
		h.seen[r.Kind] = true
		h.state = cmp.Or(r.State, h.state)
		if r.Kind == recSettings {
			h.settings = r
		}
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
		open = open || r.Where == InDoubt || s.untold || s.lingers
		if h.begun() || r.Where == InDoubt {
			out = append(out, r)
		}
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
	lingers    bool // the VM lives on its target, and its source QEMU could not be ended
}

func (s *sourceRecovery) run(ctx context.Context) Recovered {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	out := Recovered{VM: s.h.last.Name, Host: s.h.last.Host}
	switch {
	case s.h.seen[recDone]:
		out.Where, out.Action = OnTarget, "had arrived"
		return s.leftOver(ctx, out)
	case s.h.last.Kind == recEnded:
		out.Where, out.Action = Ended, "had ended by itself"
		if s.cfg.DryRun || !s.h.last.Untold {
			return out
		}
		s.forget(ctx)
		r := s.h.last
		r.Untold = s.untold
		return s.told(out, s.journal.Append(r))
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
	if !s.h.begun() {
		return s.untouched(ctx, out, source, client, serr)
	}
	target, terr := s.targetState(ctx)
	act := decide(evidence{source: source, sourceKnown: serr == nil, target: target, targetKnown: terr == nil, converged: s.h.converged(),
		paused: s.h.leftPaused(), runLogged: s.h.seen[recRun], pausedByUs: s.h.seen[recPause]})
	out.Where, out.Action = act.where, act.text
	if s.cfg.DryRun || act.do == doNothing {
		if act.where == InDoubt {
			out.Action = fmt.Sprintf("%s (source: %s; target: %s)", act.text, orError(string(source), serr), orError(string(target), terr))
		}
		return out
	}
	return s.told(out, s.do(ctx, act, client))
}

// leftOver ends the source QEMU of a VM that had arrived, if it is there still and was not to be kept. One that does not answer keeps the
// journal open.
func (s *sourceRecovery) leftOver(ctx context.Context, out Recovered) Recovered {
	if s.h.last.Keep {
		return out
	}
	source, client, err := s.sourceStatus(ctx)
	if client != nil {
		defer client.Close()
	}
	if err == nil && source == sourceCompleted {
		out.Action = "had arrived, its source QEMU was ended"
		if !s.cfg.DryRun {
			err = client.Quit(ctx)
		}
	}
	if err != nil {
		s.lingers = true
		out.Action = "had arrived, but its source QEMU could not be ended: recover again: " + err.Error()
	}
	return out
}

// untouched is a VM that was only looked at.
func (s *sourceRecovery) untouched(ctx context.Context, out Recovered, source sourceState, client *qemu.Client, err error) Recovered {
	switch {
	case source == sourceGone:
		out.Where, out.Action = Ended, "ended on the source; its move had not begun"
	case err != nil:
		out.Where, out.Action = InDoubt, "its move had not begun; its QEMU does not answer, and keeps changed migration settings: "+err.Error()
	default:
		out.Where, out.Action = OnSource, "its move had not begun; its migration settings were put back"
	}
	if s.cfg.DryRun || source != sourceGone && err != nil {
		return out
	}
	if source == sourceGone {
		return s.told(out, s.note(recEnded))
	}
	return s.told(out, errors.Join(s.restore(ctx, client), s.stayed()))
}

// restore gives a QEMU back the migration settings that it had.
func (s *sourceRecovery) restore(ctx context.Context, client *qemu.Client) error {
	if s.h.settings.Kind == "" || s.h.settings.Params == nil || client == nil {
		return nil
	}
	return restoreSettings(ctx, client, s.h.settings.Caps, *s.h.settings.Params)
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

// sourceStatus tells how the QEMU stands that the journal names; another process of its pid is not it.
func (s *sourceRecovery) sourceStatus(ctx context.Context) (sourceState, *qemu.Client, error) {
	rec := s.h.last
	proc, err := openProcess(rec.PID, rec.Socket, "") // first, so that the answers are about what is held
	if noProcess(err) {
		return sourceGone, nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	defer proc.close()
	if !proc.alive() {
		return sourceGone, nil, nil
	}
	if start, err := qemu.StartTime(rec.PID); err == nil && rec.Start != 0 && start != rec.Start {
		return sourceGone, nil, nil
	}
	client, err := qemu.Dial(ctx, rec.Socket)
	if err != nil {
		if !proc.alive() {
			return sourceGone, nil, nil
		}
		return "", nil, err
	}
	if client.PID() != rec.PID {
		client.Close()
		if rec.Start == 0 {
			return sourceGone, nil, nil // another process may have its number
		}
		return "", nil, fmt.Errorf("process %d lives, but its QMP socket %s is that of process %d", rec.PID, rec.Socket, client.PID())
	}
	// A migration whose socket has just been closed by our crash needs a moment to fail.
	state, err := statusOf(ctx, client, proc)
	return state, client, err
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

// do carries a decision out. Its record is on disk before.
func (s *sourceRecovery) do(ctx context.Context, d verdict, client *qemu.Client) error {
	switch d.do {
	case doAbort:
		s.forget(ctx)
		if d.where == Ended {
			if s.untold {
				return nil // the journal stays for it
			}
			return errors.Join(s.restore(ctx, client), s.note(recEnded))
		}
		return errors.Join(s.restore(ctx, client), s.stayed())
	case doCont:
		if err := s.note(recAbort); err != nil {
			return err
		}
		s.forget(ctx)
		if !s.h.leftPaused() {
			if err := client.Cont(ctx); err != nil {
				return err
			}
		}
		return errors.Join(s.restore(ctx, client), s.stayed())
	case doRun:
		return s.runOnTarget(ctx, client)
	case doQuitSource:
		return s.arrived(ctx, client)
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
	m, err := exchange(ctx, d, control.Run{VM: s.h.last.VM, State: s.h.stateToRun()})
	if err != nil {
		return err
	}
	if st, ok := m.(control.State); !ok || st.State != control.StateRunning {
		return fmt.Errorf("target answered %+v to run", m)
	}
	return s.arrived(ctx, client)
}

// arrived: the VM runs on the target; its source QEMU ends, if it is there still.
func (s *sourceRecovery) arrived(ctx context.Context, client *qemu.Client) error {
	if err := s.note(recDone); err != nil {
		return err
	}
	if client == nil {
		return nil
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
	starting := h.last.Kind == recPrepare && h.last.PID == 0
	switch {
	case h.last.Kind == recAbort || !alive && !starting && h.last.Kind != recLoaded:
		return out, false
	case h.last.Kind == recDone || h.last.Kind == recRun && cfg.DryRun:
		out.Where, out.Action = OnTarget, "runs here"
	case h.last.Kind == recRun:
		out.Where, out.Action = OnTarget, "runs here"
		if err := finishRun(ctx, j, h.last); err != nil {
			out.Where, out.Action = InDoubt, "was told to run here: see whether it does: "+err.Error()
		}
	case h.last.Kind == recLoaded && alive:
		out.Where, out.Action = InDoubt, "complete and paused here: start 'scatter recv' again, then 'scatter recover' on "+h.last.Peer+
			". Only if that host is dead for good, or the VM's QEMU there is: 'scatter recover --run "+h.last.Name+"' here; if the source has the VM it would run twice"
	case h.last.Kind == recLoaded:
		out.Where, out.Action = InDoubt, "its QEMU here is gone; 'scatter recover' on "+h.last.Peer+" decides"
	case starting:
		return out, endStarting(cfg, h.last, &out)
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

// endStarting ends a QEMU that was being started when the receiver was killed, and tells whether there was one.
func endStarting(cfg RecoverConfig, rec record, out *Recovered) bool {
	pids, err := qemu.Leftovers(cfg.RunDir, rec.Name)
	if err == nil && len(pids) > 0 && !cfg.DryRun {
		_, err = endUnrecorded(cfg.RunDir, rec.Name)
	}
	out.Where, out.Action = OnSource, "was not complete here, its QEMU was ended"
	if err != nil {
		out.Action = "was not complete here; its QEMU could not be ended: " + err.Error()
	}
	return err != nil || len(pids) > 0
}

// finishRun makes sure that a VM runs that was told to: the word may never have reached its QEMU.
func finishRun(ctx context.Context, j *journal, rec record) error {
	proc, client, err := reopen(ctx, rec, filepath.Dir(j.path))
	if err != nil {
		return err
	}
	defer proc.close()
	defer client.Close()
	if err := continueVM(ctx, client, rec.stateToRun()); err != nil {
		return err
	}
	if err := client.AnnounceSelf(ctx); err != nil {
		return fmt.Errorf("runs, but was not announced to the network: %w", err)
	}
	rec.Kind = recDone
	return j.Append(rec)
}

// runHere runs a VM that is complete on this target, on the operator's word that its source will not: that host is dead, or its QEMU is.
func runHere(ctx context.Context, cfg RecoverConfig) (Recovered, error) {
	out := Recovered{VM: cfg.Run, Where: InDoubt}
	j, records, err := openJournal(filepath.Join(cfg.RunDir, "recv.journal"))
	if errors.Is(err, ErrJournalBusy) {
		out.Action = "a receiver holds it: stop 'scatter recv' here, which leaves complete VMs as they are, do this again, and start it again"
		return out, fmt.Errorf("vm %s: %s: %w", cfg.Run, out.Action, err)
	}
	if err != nil {
		return out, err
	}
	defer j.Close()
	vms, _ := histories(records)
	for _, h := range slices.Backward(vms) {
		if h.last.Name != cfg.Run || h.last.Kind != recLoaded && h.last.Kind != recRun {
			continue
		}
		out.Host = h.last.Peer
		if cfg.DryRun {
			out.Action = "would be run here"
			return out, nil
		}
		rec := h.last
		rec.Kind = recRun
		if err := errors.Join(j.Append(rec), finishRun(ctx, j, rec)); err != nil {
			out.Action = "could not be run here: " + err.Error()
			return out, fmt.Errorf("vm %s: %w", cfg.Run, err)
		}
		out.Where, out.Action = OnTarget, "runs here now; its source must never run it again"
		return out, nil
	}
	out.Action = "is not complete and paused here"
	return out, fmt.Errorf("vm %s: is not complete and paused here: nothing was done", cfg.Run)
}
