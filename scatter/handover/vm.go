package handover

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/scatter/model"
)

// coreVM is the state machine of one VM: an event in, actions out. It knows nothing of other VMs. That its source QEMU has ended, or its
// target is lost, is noted in every state and never taken back; a state that has no answer to it leaves that to the next step.
type coreVM struct {
	index int
	host  int // -1: nowhere, it stays
	how   *CoreOptions
	first bool // it switches over before bulk

	State    State
	Cause    error // first reason why it does not move
	Lost     error // why its target is lost; nil: it is not
	gone     bool  // the source QEMU's process has ended
	lacks    bool  // the target does not have all of it: the source has the rest
	run      bool  // Run may have been sent
	hurried  bool  // it was told that the deadline is near
	resolves int   // how often both sides were asked
}

// maxResolves bounds how often one VM is resolved: what both sides say may not come true.
const maxResolves = 4

// step takes an event that is the VM's own.
func (v *coreVM) step(e Event) ([]Action, error) {
	switch {
	case e.Kind == EvSourceGone && (!v.State.final() || v.State == Stays):
		return v.sourceGone(e.Err), nil
	case e.Kind == EvPoweredOff && v.State <= Switching:
		return v.abort(e.Err), nil
	case e.Kind == EvFailed && v.State.retreats():
		return v.abort(e.Err), nil
	case e.Kind == EvFailed && e.Record != "":
		return v.notLogged(e)
	case e.Kind == EvFilled:
		return v.filled(), nil
	case e.Kind == EvFailed && (v.State == Released || v.State == Launched), e.Kind == EvSilent && v.State == Launched, e.Kind == EvUnfilled && v.State == Filling:
		return v.resolve(e.Err), nil
	case e.Kind == EvSourceUnsure && (v.State == Aborting || v.State == Reverting):
		return v.resolve(e.Err), nil
	case e.Kind == EvOverdue && v.State == e.State && v.State.retreats():
		return v.abort(e.Err), nil
	case e.Kind == EvStalled && v.State == Converging:
		return v.stalled(e.Err), nil
	case e.Kind == EvLogged:
		return v.logged(e)
	}
	return v.forward(e)
}

// forward handles what the state waits for.
func (v *coreVM) forward(e Event) ([]Action, error) {
	type pair struct {
		s State
		k EventKind
	}
	switch (pair{v.State, e.Kind}) {
	case pair{Preparing, EvPrepared}:
		v.State = Prepared
	case pair{Prepared, EvBulkDone}:
		v.State = Ready
	case pair{Filling, EvBulkDone}:
		return []Action{{Kind: AcSweep, VM: v.index}}, nil
	case pair{Converging, EvStopped}:
		v.State = Switching
	case pair{Converging, EvLoaded}, pair{Switching, EvLoaded}:
		v.lacks = e.Lacks
		return v.loaded(), nil
	case pair{Verifying, EvVerified}:
		return v.log(Committing), nil
	case pair{Released, EvCompleted}:
		return v.completed(), nil
	case pair{Launched, EvRunning}, pair{Resolving, EvRunning}:
		return v.runs(), nil
	case pair{Launched, EvRefused}, pair{Resolving, EvRefused}:
		return v.takeBack(e.Err), nil
	case pair{Resolving, EvVerdict}:
		return v.judged(e.Verdict, e.Err), nil
	case pair{Aborting, EvSourceRuns}, pair{Reverting, EvSourceRuns}:
		return v.finish(map[bool]State{false: Stays, true: Ended}[v.gone], nil), nil // the target has been told to forget it
	case pair{Aborting, EvPoweredOff}:
		return v.finish(Ended, e.Err), nil
	default:
		return nil, misfit(e, v.State)
	}
	return nil, nil
}

// misfit says that the VM's state does not wait for an event.
func misfit(e Event, s State) error {
	return fmt.Errorf("vm %d: %s in %s: %w", e.VM, e.Kind, s, errIllegal)
}

// recordOf is the record that a state waits for.
var recordOf = map[State]RecordKind{Committing: RecCommit, Starting: RecRun, Arriving: RecDone, Undoing: RecAbort}

// log enters a state that waits for its record to be on disk, and asks for that.
func (v *coreVM) log(s State) []Action {
	v.State = s
	return []Action{{Kind: AcLog, VM: v.index, Record: recordOf[s]}}
}

// logged: the record that the state waits for is on disk.
func (v *coreVM) logged(e Event) ([]Action, error) {
	if recordOf[v.State] != e.Record || e.Record == "" {
		return nil, misfit(e, v.State)
	}
	switch v.State {
	case Committing:
		return v.release(), nil
	case Starting:
		return v.launch(), nil
	case Arriving:
		return v.arrive(), nil
	case Undoing:
		return v.revert(), nil
	}
	return nil, nil
}

// notLogged: the record could not be written, for a full disk perhaps.
func (v *coreVM) notLogged(e Event) ([]Action, error) {
	if recordOf[v.State] != e.Record {
		return nil, misfit(e, v.State)
	}
	switch {
	case v.State == Committing && v.lost():
		return v.resolve(e.Err), nil
	case v.State == Committing && v.gone:
		return v.completed(), nil // the target's is the only copy: what the record is for cannot happen any more
	case v.State == Committing:
		return v.abort(e.Err), nil
	case v.State == Starting && v.gone:
		return v.launch(), nil
	case v.State == Starting:
		return v.undo(e.Err), nil
	case v.State == Arriving:
		return v.arrive(), nil // recovery finds out by asking
	case v.State == Undoing:
		return v.revert(), nil // the record only helps a later recovery; the VM must not wait for a full disk
	}
	return nil, nil
}

// sourceGone: before the switch-over the VM has ended with its QEMU. In the switch-over the target's word decides, which has all of it
// or not. From then on the target's is the only copy, and nothing but forward is of use.
func (v *coreVM) sourceGone(err error) []Action {
	v.gone = true
	switch {
	case v.State < Switching:
		return v.abort(err)
	case v.lacks && (v.State == Verifying || v.State == Filling):
		return v.resolve(err)
	case v.State == Verifying:
		return v.log(Committing)
	case v.State == Released:
		return v.completed()
	case v.State == Stays:
		v.Cause = nil // why it stayed does not matter any more
		return v.finish(Ended, err)
	}
	return nil // decided at its next step
}

// targetLost: nothing comes from there any more.
func (v *coreVM) targetLost(err error) []Action {
	if v.Lost != nil {
		return nil
	}
	v.Lost = err
	switch {
	case v.State.retreats():
		return v.abort(err)
	case v.State == Launched:
		return v.resolve(err)
	}
	return nil // committing, released, starting: decided at its next step, by release, completed and launch
}

// stalled: it will not converge by itself.
func (v *coreVM) stalled(err error) []Action {
	switch {
	case v.hurried:
		return nil // it stops or takes over
	case v.how.OnStall == model.StallPause:
		return []Action{{Kind: AcPause, VM: v.index}}
	}
	return v.abort(err)
}

// lost tells whether no side has all of the VM, nor will.
func (v *coreVM) lost() bool { return v.gone && v.lacks }

// errLost is why a VM is asked for of which no side has all.
var errLost = errors.New("the source QEMU has ended before the target had all pages")

// filled: the target lacks nothing any more, which may be before it runs the VM.
func (v *coreVM) filled() []Action {
	v.lacks = false
	if v.State == Filling {
		return v.log(Arriving)
	}
	return nil
}

// runs: the target runs it, with or without all of its pages.
func (v *coreVM) runs() []Action {
	switch {
	case v.lost():
		return v.resolve(errLost)
	case v.lacks:
		return v.enter(Filling, AcFill)
	}
	return v.log(Arriving)
}

// loaded: the target has all of it, or all but some pages.
func (v *coreVM) loaded() []Action {
	switch {
	case v.lost():
		return v.resolve(errLost)
	case v.gone:
		return v.log(Committing)
	}
	return v.enter(Verifying, AcVerify)
}

// release gives SHUT(0), unless one side was lost while the record was being written.
func (v *coreVM) release() []Action {
	switch {
	case v.lost():
		return v.resolve(errLost)
	case v.gone:
		return v.completed()
	case v.Lost != nil:
		return v.abort(v.Lost)
	}
	return v.enter(Released, AcRelease)
}

// completed: the source QEMU has given the VM away, or is gone, and the target waits for Run. If the target was
// lost meanwhile, Run was never sent, so the source may take the VM back.
func (v *coreVM) completed() []Action {
	switch {
	case v.lost():
		return v.resolve(errLost)
	case v.targetAway():
		return v.takeBack(v.Lost)
	}
	return v.log(Starting)
}

// launch sends Run, unless the target was lost while the record was being written. After this
// the source never runs the VM again unless the target says that it has not run it.
func (v *coreVM) launch() []Action {
	switch {
	case v.lost():
		return v.resolve(errLost)
	case v.targetAway():
		return v.takeBack(v.Lost)
	}
	v.run = true
	return v.enter(Launched, AcRun)
}

// targetAway tells whether the target was lost and has not answered since.
func (v *coreVM) targetAway() bool { return v.Lost != nil && v.resolves == 0 }

// arrive: the record that it runs on the target is made. It comes before the source QEMU's end.
func (v *coreVM) arrive() (out []Action) {
	if !v.how.KeepSource {
		out = append(out, Action{Kind: AcQuitSource, VM: v.index})
	}
	return append(out, v.finish(Evacuated, nil)...)
}

// abort gives a VM up before commit.
func (v *coreVM) abort(err error) []Action {
	v.State, v.Cause = Aborting, cmp.Or(v.Cause, err)
	return []Action{{Kind: AcAbort, VM: v.index, Err: err}}
}

// takeBack: the target has not run the VM, by its own words or because it was never told to.
func (v *coreVM) takeBack(err error) []Action {
	if v.gone {
		return v.resolve(err)
	}
	return v.undo(err)
}

// undo gives a VM up after commit was logged and before Run can have had an effect. The abort record
// comes first, so that a crash between the two never sends Run to a VM that the source runs.
func (v *coreVM) undo(err error) []Action {
	v.Cause = cmp.Or(v.Cause, err)
	return v.log(Undoing)
}

// revert has the source run the VM again.
func (v *coreVM) revert() []Action {
	if v.gone {
		return v.resolve(v.Cause) // there is nothing left to go back to
	}
	v.State = Reverting
	return []Action{{Kind: AcResume, VM: v.index, Away: v.Lost != nil, Err: v.Cause}}
}

// resolve has both sides asked.
func (v *coreVM) resolve(err error) []Action {
	v.Cause = cmp.Or(v.Cause, err)
	if v.resolves++; v.resolves > maxResolves {
		return v.finish(Doubt, err)
	}
	v.State = Resolving
	return []Action{{Kind: AcResolve, VM: v.index, Run: v.run, Err: err}}
}

// judged does what the table says of a VM, both of whose sides were asked.
func (v *coreVM) judged(d Verdict, err error) []Action {
	switch d.Do {
	case DoRun:
		return v.log(Starting)
	case DoQuitSource:
		return v.log(Arriving)
	case DoFill:
		v.lacks = true
		return v.enter(Filling, AcFill)
	case DoCont:
		return v.undo(err)
	case DoAbort:
		if d.Where == model.Ended {
			forget := Action{Kind: AcForget, VM: v.index, Err: v.Cause}
			return append([]Action{forget}, v.finish(Ended, err)...)
		}
		return v.abort(err)
	}
	final := map[model.Where]State{model.OnSource: Stays, model.OnTarget: Evacuated, model.Ended: Ended}
	if s, ok := final[d.Where]; ok {
		return v.finish(s, err)
	}
	v.Cause = err // what to do is worth more than what began it, which it names
	return v.finish(Doubt, err)
}

// finish enters a final state.
func (v *coreVM) finish(s State, err error) []Action {
	v.State, v.Cause = s, cmp.Or(v.Cause, err)
	return []Action{{Kind: AcFinal, VM: v.index, Err: v.Cause}}
}

// enter enters a state by the action that it begins with.
func (v *coreVM) enter(s State, k actionKind) []Action {
	v.State = s
	return []Action{{Kind: k, VM: v.index}}
}
