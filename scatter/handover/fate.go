package handover

import (
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// SourceState is how the source QEMU of a VM stands.
type SourceState string

const (
	SourceRuns      SourceState = "running"        // or suspended by its guest
	SourcePaused    SourceState = "paused"         // it has the VM, which does not run
	SourceStill     SourceState = "standing still" // for its switch-over, which waits for somebody: pre-switchover
	SourceCompleted SourceState = "given away"     // postmigrate: SHUT(0) had reached it
	SourceGone      SourceState = "gone"           // its process has ended, or its guest has powered itself off
)

// Evidence is what can be known of a VM that is not where it should be: live, when something went wrong, and after a crash.
type Evidence struct {
	Source      SourceState
	SourceKnown bool
	Target      control.VMState
	TargetKnown bool
	Paused      bool // it is not to run: others than scatter had paused it
	PausedByUs  bool // scatter was about to stop it
	Converged   bool // its stream had begun: a target that does not answer may hold all of it
	RunLogged   bool // Run may have been sent
}

// Act is what is to be done about a VM.
type Act uint8

const (
	DoNothing    Act = iota
	DoAbort          // the target forgets it
	DoCont           // the source runs again, the target forgets it
	DoRun            // the target runs it, then the source quits
	DoQuitSource     // the target runs it already
	DoFill           // the target runs it already, and gets what it lacks; then the source quits
)

// Verdict is where a VM is, what to do about it, and how to say so.
type Verdict struct {
	Where model.Where
	Do    Act
	Text  string
	Again bool // nothing is decided, but to ask again may help
}

// Decide is the one table that says where a VM may run, for live failures and for recovery alike. The source QEMU's own state is
// the best witness: it runs unless it got SHUT(0), and it got that only after the commit record; a completed source never runs by
// itself, and one whose process has ended never runs again. A complete copy is given up only when the source is known to have the VM.
func Decide(e Evidence) Verdict {
	switch {
	case e.TargetKnown && e.Target == control.StateRunning:
		return e.runsThere()
	case e.TargetKnown && e.Target == control.StateFilling:
		return e.runsOnBoth()
	case !e.SourceKnown:
		return Verdict{model.InDoubt, DoNothing, "the source QEMU does not answer: look at it, then recover again", true}
	case e.Source == SourceGone:
		return e.sourceIsGone()
	case e.Source == SourceRuns:
		return Verdict{model.OnSource, DoAbort, "runs on the source, the target forgets it", false}
	case e.TargetKnown && (e.Target == control.StateLaunching || e.Target == control.StateEnded):
		return e.wasToldToRun()
	case e.Source == SourcePaused:
		return e.sourceIsPaused()
	case e.Source == SourceStill:
		return e.sourceStandsStill()
	}
	return e.sourceHasGivenItAway()
}

func (e Evidence) runsThere() Verdict {
	switch {
	case e.SourceKnown && (e.Source == SourceRuns || e.Source == SourceStill):
		return Verdict{model.InDoubt, DoNothing, "both sides say that it runs: stop the wrong one by hand, now", false}
	case !e.SourceKnown:
		return Verdict{model.OnTarget, DoNothing, "runs on the target; the source QEMU does not answer: end it by hand", true}
	}
	return Verdict{model.OnTarget, DoQuitSource, "runs on the target, the source QEMU was ended", false}
}

// runsOnBoth: what the target lacks is on the source, which is a part of the VM until the target has it.
func (e Evidence) runsOnBoth() Verdict {
	switch {
	case !e.SourceKnown:
		return Verdict{model.InDoubt, DoNothing, "runs on the target, which lacks pages that the source QEMU has; that does not answer: do not end it, recover again", true}
	case e.Source == SourceRuns:
		return Verdict{model.InDoubt, DoNothing, "both sides say that it runs: stop the wrong one by hand, now", false}
	case e.Source == SourceGone:
		return Verdict{model.InDoubt, DoNothing, "runs on the target, which lacks pages that only the source QEMU had, and that is gone: it stands still where it needs one of these", false}
	}
	return Verdict{model.OnTarget, DoFill, "runs on the target, which got what it lacked; the source QEMU was ended", false}
}

// sourceIsGone: nothing is left on the source, so a complete copy must run, and no other copy is of use.
func (e Evidence) sourceIsGone() Verdict {
	switch {
	case !e.TargetKnown && !e.Converged:
		return Verdict{model.Ended, DoNothing, "ended on the source before its migration had begun", false}
	case !e.TargetKnown:
		return Verdict{model.InDoubt, DoNothing, "the source QEMU is gone and the target does not answer: reach the target, then recover again", true}
	}
	switch e.Target {
	case control.StateLoaded:
		return Verdict{model.OnTarget, DoRun, "the source QEMU is gone; was complete on the target, which runs it now", false}
	case control.StateLoading, control.StateLaunching:
		return Verdict{model.InDoubt, DoNothing, "the source QEMU is gone, the target is about to have the VM: recover again", true}
	case control.StateEnded:
		return Verdict{model.Ended, DoNothing, "ran on the target and has ended there; the source QEMU is gone", false}
	case control.StateUnknown:
		if e.RunLogged {
			return Verdict{model.InDoubt, DoNothing, "the source QEMU is gone and the target, which was told to run the VM, knows nothing of it: look there", false}
		}
	}
	return Verdict{model.Ended, DoAbort, "ended on the source before the target had all of it", false}
}

// wasToldToRun: the target's QEMU was continued, or is being.
func (e Evidence) wasToldToRun() Verdict {
	if e.Target == control.StateLaunching {
		return Verdict{model.InDoubt, DoNothing, "the target was told to run it and does not know yet whether it does: recover again", true}
	}
	return Verdict{model.InDoubt, DoNothing, "ran on the target and has ended there: if it was to end, 'quit' on the source's QMP socket; " +
		"if not, 'cont' there brings back its state at the switch-over, though not that of its disks", false}
}

// sourceIsPaused: the source has the VM, but it does not run.
func (e Evidence) sourceIsPaused() Verdict {
	switch {
	case e.Paused:
		return Verdict{model.OnSource, DoAbort, "is paused on the source, as it was found; the target forgets it", false}
	case e.RunLogged && (!e.TargetKnown || e.Target == control.StateUnknown):
		return Verdict{model.InDoubt, DoNothing, "is paused on the source, and the target may run it: see there, then 'cont' on the source's QMP socket if it does not", true}
	case e.PausedByUs:
		return Verdict{model.OnSource, DoCont, "runs on the source again, the target forgets it", false}
	}
	return Verdict{model.OnSource, DoAbort, "is paused on the source, not by scatter; the target forgets it", false}
}

// sourceStandsStill: the source QEMU has stopped the VM and sent nothing of its devices yet, so nobody else can have it.
func (e Evidence) sourceStandsStill() Verdict {
	if e.RunLogged && (!e.TargetKnown || e.Target == control.StateUnknown) {
		return Verdict{model.InDoubt, DoNothing, "stands still on the source, and the target may run it: see there, then 'migrate_cancel' on the source's QMP socket if it does not", true}
	}
	return Verdict{model.OnSource, DoCont, "stood still on the source, before its switch-over; goes on there as before, the target forgets it", false}
}

// sourceHasGivenItAway: the source QEMU has completed, so the target's copy is as good as its own.
func (e Evidence) sourceHasGivenItAway() Verdict {
	switch {
	case e.TargetKnown && e.Target == control.StateLoaded:
		return Verdict{model.OnTarget, DoRun, "was complete on the target, which runs it now", false}
	case e.TargetKnown && e.RunLogged && e.Target == control.StateLacking:
		return Verdict{model.OnTarget, DoRun, "was on the target but for some pages; it runs there now, which got what it lacked", false}
	case e.TargetKnown && (!e.RunLogged || e.Target == control.StateAborted):
		return Verdict{model.OnSource, DoCont, "the target has lost it and never ran it; runs on the source again", false}
	case e.TargetKnown:
		return Verdict{model.InDoubt, DoNothing, "the target may have run it and has it no more: 'cont' on the source's QMP socket brings back its state at the switch-over", false}
	case !e.RunLogged:
		return Verdict{model.OnSource, DoCont, "the target does not answer, and was never told to run it; runs on the source again", false}
	}
	return Verdict{model.InDoubt, DoNothing, "the target does not answer and may run it: reach the target, then recover again", true}
}
