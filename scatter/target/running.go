package target

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// errLaunching answers a second Run while the first one is under way.
var errLaunching = errors.New("is being run already")

// running lets a VM that is complete live here, and notices its end.
type running struct{ *guest }

// run lets the VM live here, in the run state that it had on the source, and returns once its QEMU has said that it does. Called again,
// it says that again. A RefusedError means that the VM has not run. After any other error nobody knows yet: ask for its state.
func (g running) run(state string) error {
	err := g.begin(state)
	if errors.Is(err, errRuns) {
		return nil
	}
	if err == nil {
		err = g.launch(state)
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", g.p.Name, err)
	}
	return nil
}

// launch lets a VM run whose record says that it is about to, and settles what came of it.
func (g running) launch(state string) error {
	ran, err := g.letRun(state)
	_, refused := errors.AsType[hypervisor.RefusedError](err)
	proc := g.grip.process()
	gone := errors.Is(err, qemu.ErrMonitorClosed) && proc.Wait(system.KillWait)
	switch {
	case err == nil:
		g.arrived()
	case gone && ran:
		err = fmt.Errorf("has run here for a moment, then its QEMU ended: %s", proc.Tail())
		if g.disksLack() {
			g.filling()
		} else {
			g.leave()
		}
	case gone:
		tail := proc.Tail()
		g.giveUp(err, life.Launching)
		err = hypervisor.RefusedError{Err: fmt.Errorf("its QEMU ended before it ran the VM: %s", tail)}
	case refused:
		err = errors.Join(err, g.back())
	default:
		g.unseen.Store(true) // whether it runs may show later
		g.log.Error("QEMU does not say whether it runs the VM: look at it", "socket", proc.Socket, "err", err)
	}
	return err
}

// back leaves a VM whose QEMU refuses to run it loaded, whether or not that can be recorded: its last record only says that it was told to run.
func (g running) back() error {
	err := g.life.Change(life.Launching, life.Loaded, handover.RecLoaded, nil)
	if err != nil {
		_ = g.life.Change(life.Launching, life.Loaded, "", nil)
	}
	return err
}

// errRuns: there is nothing to be done any more.
var errRuns = errors.New("runs already")

// begin takes a loaded guest to launching. Its record is on disk before.
func (g running) begin(state string) error {
	err := g.life.Change(life.Loaded, life.Launching, handover.RecRun, func(rec *handover.Record) { rec.Paused = !handover.Runs(state) })
	if err == nil {
		return nil
	}
	other, ok := errors.AsType[life.StateError](err)
	switch {
	case !ok:
		return hypervisor.RefusedError{Err: err}
	case (other.Is == life.Running || other.Is == life.Filling) && g.lives():
		return errRuns
	case other.Is == life.Running || other.Is == life.Filling:
		return errors.New("has run here, and its QEMU has ended")
	case other.Is == life.Launching:
		return errLaunching
	}
	return hypervisor.RefusedError{Err: fmt.Errorf("is %s, not loaded", other.Is)}
}

// arrived: the VM lives here. Its monitor is left to others.
func (g running) arrived() {
	if g.lacking.Load() {
		g.filling()
		return
	}
	if err := g.life.Change(life.Launching, life.Running, "", nil); err != nil {
		g.log.Error("runs here, unexpectedly", "err", err)
		return
	}
	g.settle()
	g.grip.letGo()
	g.log.Info("runs here")
	if err := g.life.Change(life.Running, life.Running, handover.RecDone, nil); err != nil {
		g.log.Error("journal", "err", err)
	}
}

// settle gives a VM that has arrived the migration settings that QEMUs have.
func (g running) settle() {
	vm, _, _ := g.grip.held()
	if !(g.p.PostCopy || g.life.Record().RAM != nil) || vm == nil {
		return
	}
	ctx, cancel := context.WithTimeout(g.r.life, system.QMPTimeout)
	defer cancel()
	if err := vm.Settle(ctx); err != nil {
		g.log.Warn("its migration settings stay changed", "err", err)
	}
}

// filling: the VM lives here, and its source has a part of it.
func (g running) filling() {
	if err := g.life.Change(life.Launching, life.Filling, "", nil); err != nil {
		g.log.Error("runs here, unexpectedly", "err", err)
		return
	}
	g.log.Info("runs here, without some of its pages")
	if !g.lacking.Load() { // they have come meanwhile
		filling(g).done()
	}
}

// launchFor bounds how long a QEMU may take to say whether it runs the VM: opening disks on storage that is busy takes its time.
const launchFor = 10 * time.Minute

// letRun has the VM run.
func (g running) letRun(state string) (ran bool, err error) {
	ctx, cancel := context.WithTimeout(g.r.life, launchFor)
	defer cancel()
	vm, _, _ := g.grip.held()
	if err := g.grip.lazily().LeadPast(ctx, vm); err != nil {
		return false, hypervisor.RefusedError{Err: fmt.Errorf("its disks, which are not all there: %w", err)}
	}
	return vm.Run(ctx, state)
}

// disksLack tells whether disks of a VM that has run here are not all there: then they come, whatever becomes of it.
func (g running) disksLack() bool { return g.lacking.Load() && !g.disks.Load() }

// watchEvery is how often a QEMU is looked after.
const watchEvery = time.Second

// watch notices the end of the QEMU: a VM that was loaded has failed then, one that ran has given its room back.
func (g running) watch() {
	proc := g.grip.process()
	g.wg.Go(func() {
		for !proc.Wait(watchEvery) || g.beingRun() {
			select {
			case <-g.closing:
				return
			case <-time.After(settleEvery):
			}
		}
		defer proc.Close()
		if g.life.Now() == life.Filling && g.disksLack() {
			g.log.Warn("has ended here; what it has not got of its disks still comes")
			if _, ram, _ := g.grip.held(); ram != nil {
				ram.Close() // what comes for it is dropped
			}
			filling(g).there(&g.ramThere)
			select {
			case <-g.full:
			case <-g.closing:
				return
			}
		}
		if s := g.life.Now(); s == life.Running || s == life.Filling || s == life.Launching {
			g.leave()
			return
		}
		if err := fmt.Errorf("its QEMU ended: %s", proc.Tail()); g.giveUp(err, life.Loaded) && g.conn != nil {
			_ = g.conn.Send(control.Failed{VM: g.key.vm, Error: err.Error()}) // a lost source asks
		}
	})
}

// settleEvery is how often the watcher of a QEMU that has ended sees whether run has found out what became of it.
const settleEvery = 10 * time.Millisecond

// beingRun tells whether run finds out what becomes of the QEMU.
func (g running) beingRun() bool { return g.life.Now() == life.Launching && !g.unseen.Load() }

// leave: a VM that lived here has ended, and gives its name and room back.
func (g running) leave() {
	if g.life.Change(life.Running, life.Ended, "", nil) != nil && g.life.Change(life.Filling, life.Ended, "", nil) != nil &&
		g.life.Change(life.Launching, life.Ended, "", nil) != nil {
		return
	}
	g.log.Info("ended here")
	g.grip.letGo()
	proc := g.grip.process()
	proc.Clean()
	proc.Close()
	g.r.forget(g.guest)
	g.r.dropUnasked(g.guest)
}

// retake takes hold of the QEMU of a guest that an earlier receiver had, and that was loaded at least.
func (g running) retake(ctx context.Context, rec handover.Record) error {
	if rec.Kind == handover.RecRun && rec.PostCopy {
		return rescuing(g).retake(ctx, rec)
	}
	arrived := rec.Kind == handover.RecDone // its monitor belongs to others by now
	proc, vm, err := g.r.host.Reopen(ctx, rec, !arrived)
	if err != nil {
		return err
	}
	g.grip.proc, g.grip.vm = proc, vm
	switch {
	case arrived:
		g.life.Resume(life.Running, rec)
		return nil
	case rec.Kind == handover.RecLoaded:
		g.life.Resume(life.Loaded, rec)
		return nil
	}
	g.life.Resume(life.Launching, rec) // it was told to run, but perhaps that never reached QEMU
	_, err = g.letRun(rec.StateToRun())
	if _, refused := errors.AsType[hypervisor.RefusedError](err); refused {
		g.log.Warn("was told to run, but does not", "err", err)
		return g.back() // the source decides
	}
	if err != nil {
		return fmt.Errorf("cont: %w", err)
	}
	g.arrived()
	return nil
}
