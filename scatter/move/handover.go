package move

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/reclaim"
	"github.com/scatter-vm/scatter/scatter/standstill"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// How long the drivers of a hand-over have patience. A QEMU whose host is busy may be deaf for half a minute.
const (
	resolveFor = 40 * time.Second // both sides are asked again
	askFor     = 5 * time.Second  // one question
	runAnswer  = 60 * time.Second // the target's answer to Run
	contFor    = 10 * time.Second // the source QEMU is told again to continue, while a target's QEMU lets go of its disks
)

// run tells the target to run the VM, over a connection of its own if its link is lost, and sees that there is an answer.
func (e handing) run(ctx context.Context, v *migrant) {
	m := control.Run{VM: v.Index, State: v.standing().ToRun()}
	v.toldToRun.Store(true)
	if e.Links[v.Host].Conn.Send(m) != nil {
		e.runAnew(ctx, v, m)
	}
	if system.Pause(ctx, runAnswer) == nil { // else all is over
		e.Post(handover.Event{Kind: handover.EvSilent, VM: v.Index, Err: fmt.Errorf("target %s has not answered Run for %v", e.HostName(v.Host), runAnswer)})
	}
}

// runAnew sends Run over a new connection. What became of a Run without an answer is found out by asking.
func (e handing) runAnew(ctx context.Context, v *migrant, m control.Run) {
	ctx, cancel := context.WithTimeout(ctx, runAnswer)
	defer cancel()
	answer, err := wire.Exchange(ctx, e.Links[v.Host].Dialer, m)
	switch answer := answer.(type) {
	case control.State:
		if answer.State == control.StateRunning {
			e.FromTarget(v.Host, control.Running{VM: v.Index})
			return
		}
		err = fmt.Errorf("target %s says that the VM is %s", e.HostName(v.Host), answer.State)
	case control.Failed:
		e.FromTarget(v.Host, answer)
		return
	}
	e.Post(handover.Event{Kind: handover.EvSilent, VM: v.Index, Err: err})
}

// takeBack sees that the source has the VM as it was before, then tells the target to forget it. While the source QEMU does not
// answer the target keeps its copy: it may be the only one.
func (e handing) takeBack(ctx context.Context, v *migrant, a handover.Action) {
	off, err := v.takeBack(ctx, 0)
	if _, refused := errors.AsType[*qemu.QMPError](err); refused && !a.Away {
		e.unlock(ctx, v, a)
		off, err = v.takeBack(ctx, contFor)
	}
	if err != nil {
		e.Post(handover.Event{Kind: handover.EvSourceUnsure, VM: v.Index, Err: err})
		return
	}
	e.forget(ctx, v, a.Err)
	if off {
		e.Post(handover.Event{Kind: handover.EvPoweredOff, VM: v.Index, Err: errPoweredOff(v)})
		return
	}
	e.Post(handover.Event{Kind: handover.EvSourceRuns, VM: v.Index})
}

// unlock ends a target's QEMU that may hold locks on disks which the source QEMU needs to go on: it was told to run the VM and did not.
func (e handing) unlock(ctx context.Context, v *migrant, a handover.Action) {
	ctx, cancel := context.WithTimeout(ctx, system.KillWait)
	defer cancel()
	if _, err := wire.Exchange(ctx, e.Links[v.Host].Dialer, control.Abort{VM: v.Index, Reason: system.Text(a.Err)}); err != nil {
		e.Log.Warn("target not told", "vm", v.Name(), "err", err)
	}
}

// forget tells the target to forget the VM, and gives QEMU its settings back.
func (e handing) forget(ctx context.Context, v *migrant, why error) {
	_ = e.Links[v.Host].Conn.Send(control.Abort{VM: v.Index, Reason: system.Text(why)}) // untold looks after lost targets
	e.restore(ctx, v)
}

// restore gives QEMU its settings back, also when the evacuation is being ended.
func (e handing) restore(ctx context.Context, v *migrant) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), system.QMPTimeout)
	defer cancel()
	if err := v.Restore(ctx); err != nil {
		e.Tell(model.Event{Type: "warning", VM: v.Name(), Message: fmt.Sprintf("vm %s: its migration settings could not be put back: %v; "+
			"'scatter recover --run-dir %s' tries again", v.Name(), err, e.Cfg.RunDir)})
	}
}

// resolve asks both sides of a VM until the table of fates says what to do, or patience ends.
func (e handing) resolve(ctx context.Context, v *migrant, a handover.Action) {
	end := time.Now().Add(resolveFor)
	for {
		found, serr, terr := e.evidenceOf(ctx, v, a.Run)
		d := handover.Decide(found)
		over := time.Now().After(end) || !d.Again
		if !over && system.Pause(ctx, time.Second) == nil {
			continue
		}
		if d.Do == handover.DoQuitSource {
			e.vmRan(v)
		}
		e.Post(handover.Event{Kind: handover.EvVerdict, VM: v.Index, Verdict: d, Err: e.judgement(v, a, d, errors.Join(serr, terr))})
		return
	}
}

// judgement puts a verdict into words: what happened, what is to be done.
func (e handing) judgement(v *migrant, a handover.Action, d handover.Verdict, silent error) error {
	err := fmt.Errorf("vm %s, target %s: %s", v.Name(), e.HostName(v.Host), d.Text)
	if d.Where == model.InDoubt {
		err = fmt.Errorf("%w; 'scatter recover --run-dir %s' asks again", err, e.Cfg.RunDir)
	}
	for _, why := range []error{a.Err, silent} {
		if why != nil {
			err = fmt.Errorf("%w: %w", err, why)
		}
	}
	return err
}

// evidenceOf asks both sides of a VM, each for a bounded time.
func (e handing) evidenceOf(ctx context.Context, v *migrant, run bool) (found handover.Evidence, serr, terr error) {
	ctx, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	var asked sync.WaitGroup
	asked.Go(func() { found.Source, serr = reclaim.StatusOf(ctx, v.Source, v.Proc) })
	asked.Go(func() { found.Target, terr = e.Links[v.Host].Ask(ctx, v.Index) })
	asked.Wait()
	found.SourceKnown, found.TargetKnown = serr == nil, terr == nil
	found.Converged, found.RunLogged = true, run
	how := v.standing()
	found.Paused, found.PausedByUs = how.LeftPaused(), how.ByUs
	return found, serr, terr
}

// quitSource ends the source QEMU of a VM that lives on its target. One that does not quit is killed: it has given the VM away. There is no hurry: while
// the kernel takes back the memory, the VM would make its first steps more slowly if it had the same processors.
func (e handing) quitSource(ctx context.Context, v *migrant) {
	if !v.Proc.Alive() {
		return
	}
	_ = system.Pause(ctx, standstill.FirstSteps) // where it ends, at once
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), system.QMPTimeout)
	defer cancel()
	err := v.Quit(ctx)
	if err == nil || v.Proc.Wait(0) {
		return
	}
	what := "was killed"
	if v.Proc.SignalKill(); !v.Proc.Wait(system.KillWait) {
		v.lingers.Store(true)
		what = fmt.Sprintf("could not be killed, either; 'scatter recover --run-dir %s' tries again", e.Cfg.RunDir)
	}
	e.Tell(model.Event{Type: "warning", VM: v.Name(), Message: fmt.Sprintf("vm %s lives on %s; its source QEMU (process %d) did not quit (%v), and %s",
		v.Name(), e.HostName(v.Host), v.Facts.PID, err, what)})
}
