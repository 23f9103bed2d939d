package move

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/trace"
)

// move runs the core and its drivers until every VM has reached a final state. ctx ends the evacuation, not
// the drivers: those bring each VM to a safe place first.
func (e *Evacuation) move(ctx context.Context) error {
	if err := e.OpenDataPlane(ctx); err != nil {
		return err
	}
	host, order := make([]int, len(e.VMs)), make([]int, 0, len(e.VMs))
	for i, v := range e.VMs {
		host[i] = v.Host
	}
	order = append(order, planning.Interleave(host)...)
	how := e.Cfg.CoreOptions()
	for _, v := range e.VMs {
		how.First = append(how.First, v.Mode == model.ModePost)
	}
	e.core = handover.NewCore(host, order, how)
	e.migrants = migrantsOf(e.VMs)
	for _, v := range e.migrants {
		if v.way = (preCopy{e}); v.Mode == model.ModePost {
			v.shared = postCopying{e}.sharedOf(v)
		}
	}
	if slices.Contains(how.First, true) {
		e.Share()
	}
	e.meter.sender, e.meter.control = e.Sender, &e.ControlBytes
	e.moving.Store(true)
	e.Tell(model.Event{Type: "stage", Stage: "move"})

	drivers, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { reporting{e}.progress(drivers) })
	wg.Go(func() { hurrying{e}.watchTime(drivers) })
	wg.Go(func() { watching{e}.watchSources(drivers) })
	cancelled := ctx.Done()
	e.act(drivers, &wg, e.core.Start())
	for !e.core.Done() {
		select {
		case <-cancelled:
			cancelled = nil
			e.step(drivers, &wg, handover.Event{Kind: handover.EvCancel, Err: context.Cause(ctx)})
		case <-e.Inbox.Wait():
			for _, ev := range e.Inbox.Take() {
				e.step(drivers, &wg, ev)
			}
		}
	}
	stop()
	wg.Wait()
	for i, v := range e.migrants {
		if e.Cfg.KeepSource && e.core.VMs[i].State == handover.Evacuated {
			handing{e}.restore(ctx, v)
		}
	}
	return nil
}

// step feeds the core and starts what it asks for.
func (e *Evacuation) step(ctx context.Context, wg *sync.WaitGroup, ev handover.Event) {
	if e.unplaced(ev) {
		return
	}
	actions, err := e.core.Step(ev)
	l := trace.Line{Event: ev.Kind.String(), VM: ev.VM, Host: ev.Host}
	if ev.Kind != handover.EvCancel && ev.Kind != handover.EvDeadline && ev.Kind != handover.EvTargetLost {
		l.State = e.core.VMs[ev.VM].State.String()
	}
	e.trace.Write(l, errors.Join(ev.Err, err))
	e.act(ctx, wg, actions)
}

// unplaced tells whether the event is of no VM or host of this run.
func (e *Evacuation) unplaced(ev handover.Event) bool {
	return ev.VM < 0 || ev.VM >= len(e.migrants) || ev.Host < 0 || ev.Host >= len(e.Links)
}

// act tells what has changed and starts a driver for each action. Only acFinal is done at once.
func (e *Evacuation) act(ctx context.Context, wg *sync.WaitGroup, actions []handover.Action) {
	for _, a := range actions {
		e.trace.Write(trace.Line{Action: a.Kind.String(), Record: string(a.Record), VM: a.VM}, a.Err)
	}
	e.note()
	for _, a := range actions {
		switch a.Kind {
		case handover.AcFinal:
			continue
		case handover.AcBulk:
			e.Tell(model.Event{Type: "stage", Stage: "bulk"})
		case handover.AcAbort, handover.AcForget:
			e.migrants[a.VM].Gone.Store(true)
		}
		wg.Go(func() { e.drive(ctx, a) })
	}
}

// drive does one action and posts what came of it.
func (e *Evacuation) drive(ctx context.Context, a handover.Action) {
	v := e.migrants[a.VM]
	switch a.Kind {
	case handover.AcPrepare:
		e.answer(a.VM, v.way.Prepare(ctx, v), noEvent)
	case handover.AcBulk:
		e.RunBulk(ctx)
	case handover.AcConverge:
		err := v.way.Transfer(ctx, v)
		if !v.loaded.Load() { // from there on the VM's fate does not hang on this stream
			e.answer(a.VM, err, noEvent)
		}
	case handover.AcPause:
		e.answer(a.VM, e.pause(ctx, v), noEvent)
	case handover.AcTakeOver:
		e.answer(a.VM, postCopying{e}.hurry(ctx, v), noEvent)
	case handover.AcVerify:
		e.answer(a.VM, checking{e}.verify(ctx, v), handover.EvVerified)
	case handover.AcLog:
		e.logRecord(v, a.Record)
	case handover.AcRelease:
		e.answer(a.VM, v.way.Release(ctx, v), handover.EvCompleted)
	case handover.AcRun:
		v.way.Run(ctx, v)
	case handover.AcSweep:
		postCopying{e}.sweep(v)
	case handover.AcFill:
		postCopying{e}.fillAgain(ctx, v)
	case handover.AcResolve:
		handing{e}.resolve(ctx, v, a)
	case handover.AcAbort, handover.AcResume:
		v.way.Undo(ctx, v, a)
	case handover.AcForget:
		handing{e}.forget(ctx, v, a.Err)
	case handover.AcQuitSource:
		handing{e}.quitSource(ctx, v)
	}
}

// pause stops a VM that has no more time.
func (e *Evacuation) pause(ctx context.Context, v *migrant) error {
	return v.pause(ctx, func() error { return e.record(v, handover.RecPause) })
}

// logRecord writes a record that the core waits for.
func (e *Evacuation) logRecord(v *migrant, k handover.RecordKind) {
	if err := e.record(v, k); err != nil {
		e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Record: k, Err: err})
		return
	}
	e.Post(handover.Event{Kind: handover.EvLogged, VM: v.Index, Record: k})
}

// noEvent: success is told by somebody else.
const noEvent handover.EventKind = 255

func (e *Evacuation) answer(vm int, err error, ok handover.EventKind) {
	if err != nil {
		e.Post(handover.Event{Kind: handover.EvFailed, VM: vm, Err: err})
	} else if ok != noEvent {
		e.Post(handover.Event{Kind: ok, VM: vm})
	}
}

// note keeps the times of the VMs' stages and tells them, also of those that begin without an action.
func (e *Evacuation) note() {
	for i, v := range e.migrants {
		state, cause := e.core.VMs[i].State, e.core.VMs[i].Cause
		v.mu.Lock()
		news := len(v.stages) == 0 || v.state != state
		if news {
			e.awaitTarget(v, state)
			v.stages = append(v.stages, model.StageTime{Stage: state.String(), AtS: time.Since(e.Started).Seconds()})
		}
		v.state, v.cause = state, cause
		v.mu.Unlock()
		if news {
			e.Tell(model.Event{Type: "vm", VM: v.Name(), Host: e.HostName(v.Host), Stage: state.String(), Message: system.Text(cause)})
		}
	}
}

// patience is how long a VM may be in a state in which it waits for its target alone. How long it waits for an answer to Run, and stands
// still while nothing comes of its stream, is bounded by those who see to that (runAnswer, switchOverSilence); all else is bounded by the loss
// of a target that does not answer pings.
var patience = map[handover.State]time.Duration{handover.Preparing: 60 * time.Second, handover.Verifying: 90 * time.Second}

// awaitTarget begins to wait for what a state waits for; v's mutex is held.
func (e *Evacuation) awaitTarget(v *migrant, state handover.State) {
	if v.overdue != nil {
		v.overdue.Stop()
	}
	if d, ok := patience[state]; ok {
		late := handover.Event{Kind: handover.EvOverdue, VM: v.Index, State: state, Err: fmt.Errorf("vm %s: target %s has not answered for %v (%s)", v.Name(), e.HostName(v.Host), d, state)}
		v.overdue = time.AfterFunc(d, func() { e.Post(late) })
	}
}

func (e *Evacuation) askPrepare(v *migrant) error {
	if err := e.record(v, handover.RecPrepare); err != nil {
		return err
	}
	return e.Links[v.Host].Conn.Send(v.PrepareMessage())
}

// FromTarget turns a target's message into an event. Only a VM's own target is listened to.
func (e *Evacuation) FromTarget(host int, m control.Message) {
	if x, ok := m.(control.Examined); ok {
		e.Examined(host, x)
		return
	}
	if !e.moving.Load() { // which VMs move is not decided yet
		e.Log.Warn("message out of turn", "host", e.Links[host].Welcome.Name, "message", m.Type().String())
		return
	}
	mine := func(vm int) *migrant {
		if vm < 0 || vm >= len(e.migrants) || e.migrants[vm].Host != host {
			e.Log.Warn("message about a VM of another target", "host", e.Links[host].Welcome.Name, "message", m.Type().String())
			return nil
		}
		return e.migrants[vm]
	}
	switch m := m.(type) {
	case control.Prepared:
		if v := mine(m.VM); v != nil && v.zero == nil {
			v.zero = make([]bool, len(v.Blocks))
			copy(v.zero, m.Zero)
			e.Post(mirroring{e}.prepared(v, m.DisksFirst))
		}
	case control.Loaded:
		if v := mine(m.VM); v != nil && !v.tailBegun.Load() {
			e.Post(handover.Event{Kind: handover.EvFailed, VM: m.VM, Err: fmt.Errorf("target %s says that it has loaded vm %s, which was not sent", e.HostName(v.Host), v.Name())})
		} else if v != nil {
			v.disks.Store(&m)
			v.loaded.Store(true)
			e.Post(handover.Event{Kind: handover.EvLoaded, VM: m.VM, Lacks: v.tookOver.Load()})
		}
	case control.Synced:
		if v := mine(m.VM); v != nil {
			select {
			case v.synced <- struct{}{}:
			default: // nobody has asked
			}
		}
	case control.Running:
		if v := mine(m.VM); v != nil && !v.toldToRun.Load() {
			e.Log.Warn("a VM runs that was not told to", "vm", v.Name(), "host", e.HostName(v.Host))
		} else if v != nil {
			e.vmRan(v)
			e.Post(handover.Event{Kind: handover.EvRunning, VM: m.VM})
		}
	case control.Digested:
		if mine(m.VM) != nil {
			checking{e}.digested(m)
		}
	case control.Failed:
		if mine(m.VM) != nil {
			e.targetFailed(m)
		}
	default:
		e.Log.Warn("unexpected message", "host", e.Links[host].Welcome.Name, "message", m.Type().String())
	}
}

// targetFailed: only the answer to Run says that it had no effect. Any other word may have been on its way when Run was sent.
func (e *Evacuation) targetFailed(m control.Failed) {
	kind := handover.EvFailed
	if m.Refused {
		kind = handover.EvRefused
	}
	e.Post(handover.Event{Kind: kind, VM: m.VM, Err: fmt.Errorf("target: %s", m.Error)})
}

func (e *Evacuation) vmStopped(v *migrant, at time.Time) {
	v.mu.Lock()
	if v.stopped.IsZero() {
		v.stopped = at
		v.throttled.set(at, 0)
		e.standstill.Begin(v.Index)
	}
	v.mu.Unlock()
	e.Post(handover.Event{Kind: handover.EvStopped, VM: v.Index})
}

func (e *Evacuation) vmRan(v *migrant) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ran.IsZero() {
		v.ran = time.Now()
		e.standstill.End(v.Index)
	}
}
