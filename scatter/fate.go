package scatter

import "github.com/scatter-vm/scatter/scatter/control"

// sourceState is how the source QEMU of a VM stands.
type sourceState string

const (
	sourceRuns      sourceState = "running"    // or suspended by its guest
	sourcePaused    sourceState = "paused"     // it has the VM, which does not run
	sourceCompleted sourceState = "given away" // postmigrate: SHUT(0) had reached it
	sourceGone      sourceState = "gone"       // its process has ended, or its guest has powered itself off
)

// evidence is what can be known of a VM that is not where it should be: live, when something went wrong, and after a crash.
type evidence struct {
	source      sourceState
	sourceKnown bool
	target      control.VMState
	targetKnown bool
	paused      bool // it is not to run: others than scatter had paused it
	pausedByUs  bool // scatter was about to stop it
	converged   bool // its stream had begun: a target that does not answer may hold all of it
	runLogged   bool // Run may have been sent
}

// recoverAct is what is to be done about a VM.
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
	again bool // nothing is decided, but to ask again may help
}

// decide is the one table that says where a VM may run, for live failures and for recovery alike. The source QEMU's own state is
// the best witness: it runs unless it got SHUT(0), and it got that only after the commit record; a completed source never runs by
// itself, and one whose process has ended never runs again. A complete copy is given up only when the source is known to have the VM.
func decide(e evidence) verdict {
	switch {
	case e.targetKnown && e.target == control.StateRunning:
		return e.runsThere()
	case !e.sourceKnown:
		return verdict{InDoubt, doNothing, "the source QEMU does not answer: look at it, then recover again", true}
	case e.source == sourceGone:
		return e.sourceIsGone()
	case e.source == sourceRuns:
		return verdict{OnSource, doAbort, "runs on the source, the target forgets it", false}
	case e.targetKnown && (e.target == control.StateLaunching || e.target == control.StateEnded):
		return e.wasToldToRun()
	case e.source == sourcePaused:
		return e.sourceIsPaused()
	}
	return e.sourceHasGivenItAway()
}

func (e evidence) runsThere() verdict {
	switch {
	case e.sourceKnown && e.source == sourceRuns:
		return verdict{InDoubt, doNothing, "both sides say that it runs: stop the wrong one by hand, now", false}
	case !e.sourceKnown:
		return verdict{OnTarget, doNothing, "runs on the target; the source QEMU does not answer: end it by hand", true}
	}
	return verdict{OnTarget, doQuitSource, "runs on the target, the source QEMU was ended", false}
}

// sourceIsGone: nothing is left on the source, so a complete copy must run, and no other copy is of use.
func (e evidence) sourceIsGone() verdict {
	switch {
	case !e.targetKnown && !e.converged:
		return verdict{Ended, doNothing, "ended on the source before its migration had begun", false}
	case !e.targetKnown:
		return verdict{InDoubt, doNothing, "the source QEMU is gone and the target does not answer: reach the target, then recover again", true}
	}
	switch e.target {
	case control.StateLoaded:
		return verdict{OnTarget, doRun, "the source QEMU is gone; was complete on the target, which runs it now", false}
	case control.StateLoading, control.StateLaunching:
		return verdict{InDoubt, doNothing, "the source QEMU is gone, the target is about to have the VM: recover again", true}
	case control.StateEnded:
		return verdict{Ended, doNothing, "ran on the target and has ended there; the source QEMU is gone", false}
	case control.StateUnknown:
		if e.runLogged {
			return verdict{InDoubt, doNothing, "the source QEMU is gone and the target, which was told to run the VM, knows nothing of it: look there", false}
		}
	}
	return verdict{Ended, doAbort, "ended on the source before the target had all of it", false}
}

// wasToldToRun: the target's QEMU was continued, or is being.
func (e evidence) wasToldToRun() verdict {
	if e.target == control.StateLaunching {
		return verdict{InDoubt, doNothing, "the target was told to run it and does not know yet whether it does: recover again", true}
	}
	return verdict{InDoubt, doNothing, "ran on the target and has ended there: if it was to end, 'quit' on the source's QMP socket; " +
		"if not, 'cont' there brings back its state at the switch-over, though not that of its disks", false}
}

// sourceIsPaused: the source has the VM, but it does not run.
func (e evidence) sourceIsPaused() verdict {
	switch {
	case e.paused:
		return verdict{OnSource, doAbort, "is paused on the source, as it was found; the target forgets it", false}
	case e.runLogged && (!e.targetKnown || e.target == control.StateUnknown):
		return verdict{InDoubt, doNothing, "is paused on the source, and the target may run it: see there, then 'cont' on the source's QMP socket if it does not", true}
	case e.pausedByUs:
		return verdict{OnSource, doCont, "runs on the source again, the target forgets it", false}
	}
	return verdict{OnSource, doAbort, "is paused on the source, not by scatter; the target forgets it", false}
}

// sourceHasGivenItAway: the source QEMU has completed, so the target's copy is as good as its own.
func (e evidence) sourceHasGivenItAway() verdict {
	switch {
	case e.targetKnown && e.target == control.StateLoaded:
		return verdict{OnTarget, doRun, "was complete on the target, which runs it now", false}
	case e.targetKnown && (!e.runLogged || e.target == control.StateAborted):
		return verdict{OnSource, doCont, "the target has lost it and never ran it; runs on the source again", false}
	case e.targetKnown:
		return verdict{InDoubt, doNothing, "the target may have run it and has it no more: 'cont' on the source's QMP socket brings back its state at the switch-over", false}
	case !e.runLogged:
		return verdict{OnSource, doCont, "the target does not answer, and was never told to run it; runs on the source again", false}
	}
	return verdict{InDoubt, doNothing, "the target does not answer and may run it: reach the target, then recover again", true}
}
