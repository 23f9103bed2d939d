package scatter

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/ledger"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// move runs the core and its drivers until every VM has reached a final state. ctx ends the evacuation, not
// the drivers: those bring each VM to a safe place first.
func (e *evacuation) move(ctx context.Context) error {
	if err := e.openDataPlane(ctx); err != nil {
		return err
	}
	host, order := make([]int, len(e.vms)), make([]int, 0, len(e.vms))
	for i, v := range e.vms {
		host[i] = v.host
	}
	order = append(order, planning.Interleave(host)...)
	e.core = handover.NewCore(host, len(e.links), order, e.cfg.coreOptions())
	e.tell(model.Event{Type: "stage", Stage: "move"})

	drivers, stop := context.WithCancel(context.Background())
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { reporting{e}.progress(drivers) })
	wg.Go(func() { watching{e}.watchSources(drivers) })
	cancelled := ctx.Done()
	e.act(drivers, &wg, e.core.Start())
	for !e.core.Done() {
		select {
		case <-cancelled:
			cancelled = nil
			e.step(drivers, &wg, handover.Event{Kind: handover.EvCancel, Err: context.Cause(ctx)})
		case <-e.inbox.wait():
			for _, ev := range e.inbox.take() {
				e.step(drivers, &wg, ev)
			}
		}
	}
	stop()
	wg.Wait()
	for i, v := range e.vms {
		if e.cfg.KeepSource && e.core.VMs[i].State == handover.Evacuated {
			handing{e}.restore(ctx, v)
		}
	}
	return nil
}

// step feeds the core and starts what it asks for.
func (e *evacuation) step(ctx context.Context, wg *sync.WaitGroup, ev handover.Event) {
	if e.unplaced(ev) {
		return
	}
	actions, err := e.core.Step(ev)
	l := traceLine{Event: ev.Kind.String(), VM: ev.VM, Host: ev.Host}
	if ev.Kind != handover.EvCancel && ev.Kind != handover.EvTargetLost {
		l.State = e.core.VMs[ev.VM].State.String()
	}
	e.trace.write(l, errors.Join(ev.Err, err))
	e.act(ctx, wg, actions)
}

// unplaced tells whether the event is of no VM or host of this run.
func (e *evacuation) unplaced(ev handover.Event) bool {
	return ev.VM < 0 || ev.VM >= len(e.vms) || ev.Host < 0 || ev.Host >= len(e.links)
}

// act tells what has changed and starts a driver for each action. Only acFinal is done at once.
func (e *evacuation) act(ctx context.Context, wg *sync.WaitGroup, actions []handover.Action) {
	for _, a := range actions {
		e.trace.write(traceLine{Action: a.Kind.String(), Record: string(a.Record), VM: a.VM}, a.Err)
	}
	e.note()
	for _, a := range actions {
		switch a.Kind {
		case handover.AcFinal:
			continue
		case handover.AcBulk:
			e.tell(model.Event{Type: "stage", Stage: "bulk"})
		case handover.AcAbort, handover.AcForget:
			e.vms[a.VM].gone.Store(true)
		}
		wg.Go(func() { e.drive(ctx, a) })
	}
}

// drive does one action and posts what came of it.
func (e *evacuation) drive(ctx context.Context, a handover.Action) {
	v := e.vms[a.VM]
	switch a.Kind {
	case handover.AcPrepare:
		e.answer(a.VM, e.askPrepare(v), NoEvent)
	case handover.AcBulk:
		e.runBulk(ctx)
	case handover.AcConverge:
		err := e.record(v, handover.RecConverge)
		if err == nil {
			err = converging{e}.converge(ctx, v)
		}
		if !v.loaded.Load() { // from there on the VM's fate does not hang on this stream
			e.answer(a.VM, err, NoEvent)
		}
	case handover.AcPause:
		e.answer(a.VM, v.pause(ctx, func() error { return e.record(v, handover.RecPause) }), NoEvent)
	case handover.AcVerify:
		e.answer(a.VM, checking{e}.verify(ctx, v), handover.EvVerified)
	case handover.AcLog:
		e.logRecord(v, a.Record)
	case handover.AcRelease:
		e.answer(a.VM, v.giveShut(ctx), handover.EvCompleted)
	case handover.AcRun:
		handing{e}.run(ctx, v)
	case handover.AcResolve:
		handing{e}.resolve(ctx, v, a)
	case handover.AcAbort, handover.AcResume:
		handing{e}.takeBack(ctx, v, a)
	case handover.AcForget:
		handing{e}.forget(ctx, v, a.Err)
	case handover.AcQuitSource:
		handing{e}.quitSource(ctx, v)
	}
}

// logRecord writes a record that the core waits for.
func (e *evacuation) logRecord(v *sourceVM, k handover.RecordKind) {
	if err := e.record(v, k); err != nil {
		e.post(handover.Event{Kind: handover.EvFailed, VM: v.index, Record: k, Err: err})
		return
	}
	e.post(handover.Event{Kind: handover.EvLogged, VM: v.index, Record: k})
}

// NoEvent: success is told by somebody else.
const NoEvent handover.EventKind = 255

func (e *evacuation) answer(vm int, err error, ok handover.EventKind) {
	if err != nil {
		e.post(handover.Event{Kind: handover.EvFailed, VM: vm, Err: err})
	} else if ok != NoEvent {
		e.post(handover.Event{Kind: ok, VM: vm})
	}
}

// note keeps the times of the VMs' stages and tells them, also of those that begin without an action.
func (e *evacuation) note() {
	for i, v := range e.vms {
		state, cause := e.core.VMs[i].State, e.core.VMs[i].Cause
		v.mu.Lock()
		news := len(v.stages) == 0 || v.state != state
		if news {
			e.awaitTarget(v, state)
			v.stages = append(v.stages, model.StageTime{Stage: state.String(), AtS: time.Since(e.started).Seconds()})
		}
		v.state, v.cause = state, cause
		v.mu.Unlock()
		if news {
			e.tell(model.Event{Type: "vm", VM: v.name(), Host: e.hostName(v), Stage: state.String(), Message: system.Text(cause)})
		}
	}
}

// patience is how long a VM may be in a state in which it waits for its target alone. How long it waits for an answer to Run, and stands
// still while nothing comes of its stream, is bounded by those who see to that (runAnswer, switchOverSilence); all else is bounded by the loss
// of a target that does not answer pings.
var patience = map[handover.State]time.Duration{handover.Preparing: 60 * time.Second, handover.Verifying: 90 * time.Second}

// awaitTarget begins to wait for what a state waits for; v's mutex is held.
func (e *evacuation) awaitTarget(v *sourceVM, state handover.State) {
	if v.overdue != nil {
		v.overdue.Stop()
	}
	if d, ok := patience[state]; ok {
		late := handover.Event{Kind: handover.EvOverdue, VM: v.index, State: state, Err: fmt.Errorf("vm %s: target %s has not answered for %v (%s)", v.name(), e.hostName(v), d, state)}
		v.overdue = time.AfterFunc(d, func() { e.post(late) })
	}
}

func (e *party) hostName(v *sourceVM) string {
	if v.host < 0 {
		return ""
	}
	return e.links[v.host].Welcome.Name
}

func (e *evacuation) askPrepare(v *sourceVM) error {
	if err := e.record(v, handover.RecPrepare); err != nil {
		return err
	}
	return e.links[v.host].Conn.Send(v.prepareMessage())
}

// openDataPlane hands out the key and learns where the targets take datagrams.
func (e *carriage) openDataPlane(ctx context.Context) error {
	local, err := wire.LocalAddr(e.cfg.Interface, e.cfg.Local, e.cfg.GroupBase, e.links)
	if err != nil {
		return err
	}
	conf := multicast.SenderConfig{
		Interface: e.cfg.Interface, Local: local, Evacuation: e.id, Pacer: e.pacer, Window: model.WindowBytes,
		SlowRatio: e.cfg.SlowRatio, MTU: e.cfg.MTU, DSCP: e.cfg.DSCP, Plain: e.cfg.NoGSO,
		Log:     slog.New(warnHandler{slog.DiscardHandler, e.tell}),
		Control: e.multicastTo, Unreachable: e.unreachable,
	}
	rand.Read(conf.Key[:])
	host := make([]int, len(e.vms))
	for i, v := range e.vms {
		host[i] = v.host
	}
	e.tracker = ledger.NewTracker(host, e.layout, e.held, func(vm int) { e.post(handover.Event{Kind: handover.EvBulkDone, VM: vm}) })
	conf.Confirmed, conf.Left = e.tracker.Confirmed, e.tooSlow
	if e.sender, err = multicast.NewSender(conf); err != nil {
		return err
	}
	e.tracker.Sender = e.sender
	e.toTargets.Store(e.sender)
	for i, l := range e.links {
		if err := begun(ctx, l, e.sender, control.Begin{Key: conf.Key[:], Source: local, Window: model.WindowBytes}); err != nil {
			e.LinkLost(i, err)
		}
	}
	return nil
}

// begun opens the data plane to one target.
func begun(ctx context.Context, l *wire.Link, s *multicast.Sender, m control.Begin) error {
	if err := l.Conn.Send(m); err != nil {
		return err
	}
	select {
	case b := <-l.Begun:
		return s.AddTarget(l.Welcome.Name, b.Datagram)
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(wire.HelloTimeout):
		return fmt.Errorf("target %s did not answer", l.Welcome.Name)
	}
}

func (e *carriage) runBulk(ctx context.Context) {
	b := &bulk{e: e, schedule: e.schedule, tracker: e.tracker}
	err := b.run(ctx)
	if err == nil || ctx.Err() != nil {
		return
	}
	// Bulk is an accelerator: what it could not send, converge will, for VMs that are not done yet.
	e.tell(model.Event{Type: "warning", Message: err.Error()})
	for _, v := range e.vms {
		e.goBlind(v)
	}
}

// goBlind: nothing is known of what the target holds of this VM. Its bulk is over, converge sends all.
func (e *carriage) goBlind(v *sourceVM) {
	v.blind.Store(true)
	e.tracker.GiveUp(v.index)
}

// unreachable is multicast's word that no datagram reaches a target.
func (e *carriage) unreachable(target string, err error) {
	e.tell(model.Event{Type: "warning", Host: target, Message: fmt.Sprintf("datagrams do not reach target %s, its VMs go over the control path: %v", target, err)})
	for _, v := range e.vms {
		if e.hostName(v) == target {
			e.goBlind(v)
		}
	}
}

// tooSlow is multicast's word that a target has left a channel whose group was too fast for it.
func (e *carriage) tooSlow(ch multicast.ChannelID, target string, lacks []uint64, next uint64) {
	if host := slices.IndexFunc(e.links, func(l *wire.Link) bool { return l.Name() == target }); host >= 0 {
		e.tracker.Leave(ch, host, lacks, next)
	}
}

func (e *carriage) multicastTo(target string, msg []byte) error {
	for _, l := range e.links {
		if l.Welcome.Name == target {
			return l.Conn.Send(control.Multicast{Body: msg})
		}
	}
	return fmt.Errorf("target %s: unknown", target)
}

func (e *carriage) MulticastFrom(host int, body []byte) {
	s := e.toTargets.Load()
	if s == nil {
		return
	}
	if err := s.HandleControl(e.links[host].Welcome.Name, body); err != nil {
		e.log.Warn("report not understood", "host", e.links[host].Welcome.Name, "err", err) // if it is for that, it is ejected
	}
}

// LinkLost is called once per link, when its target is lost.
func (e *carriage) LinkLost(host int, err error) {
	e.tell(model.Event{Type: "warning", Host: e.links[host].Welcome.Name, Message: err.Error()})
	if s := e.toTargets.Load(); s != nil {
		s.Eject(e.links[host].Welcome.Name, err)
	}
	e.refused.hostLost(host, err)
	e.post(handover.Event{Kind: handover.EvTargetLost, Host: host, Err: err})
}

// FromTarget turns a target's message into an event. Only a VM's own target is listened to.
func (e *evacuation) FromTarget(host int, m control.Message) {
	if x, ok := m.(control.Examined); ok {
		var err error
		if x.Error != "" {
			err = &refusalError{host: e.links[host].Name(), why: x.Error, off: x.Off}
		}
		if x.Untried != "" && err == nil {
			e.refused.note(question{host, x.VM}, x.Untried)
		}
		e.refused.answer(question{host, x.VM}, err)
		return
	}
	if !e.placed.Load() { // which VMs move is not decided yet
		e.log.Warn("message out of turn", "host", e.links[host].Welcome.Name, "message", m.Type().String())
		return
	}
	mine := func(vm int) *sourceVM {
		if vm < 0 || vm >= len(e.vms) || e.vms[vm].host != host {
			e.log.Warn("message about a VM of another target", "host", e.links[host].Welcome.Name, "message", m.Type().String())
			return nil
		}
		return e.vms[vm]
	}
	switch m := m.(type) {
	case control.Prepared:
		if v := mine(m.VM); v != nil && v.zero == nil {
			v.zero = make([]bool, len(v.blocks))
			copy(v.zero, m.Zero)
			e.post(handover.Event{Kind: handover.EvPrepared, VM: m.VM})
		}
	case control.Loaded:
		if v := mine(m.VM); v != nil && !v.tailBegun.Load() {
			e.post(handover.Event{Kind: handover.EvFailed, VM: m.VM, Err: fmt.Errorf("target %s says that it has loaded vm %s, which was not sent", e.hostName(v), v.name())})
		} else if v != nil {
			v.disks.Store(&m)
			v.loaded.Store(true)
			e.post(handover.Event{Kind: handover.EvLoaded, VM: m.VM})
		}
	case control.Running:
		if v := mine(m.VM); v != nil && !v.toldToRun.Load() {
			e.log.Warn("a VM runs that was not told to", "vm", v.name(), "host", e.hostName(v))
		} else if v != nil {
			e.vmRan(v)
			e.post(handover.Event{Kind: handover.EvRunning, VM: m.VM})
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
		e.log.Warn("unexpected message", "host", e.links[host].Welcome.Name, "message", m.Type().String())
	}
}

// targetFailed: only the answer to Run says that it had no effect. Any other word may have been on its way when Run was sent.
func (e *evacuation) targetFailed(m control.Failed) {
	kind := handover.EvFailed
	if m.Refused {
		kind = handover.EvRefused
	}
	e.post(handover.Event{Kind: kind, VM: m.VM, Err: fmt.Errorf("target: %s", m.Error)})
}

func (e *evacuation) vmStopped(v *sourceVM, at time.Time) {
	v.mu.Lock()
	if v.stopped.IsZero() {
		v.stopped = at
		e.standstill.begin(v.index)
	}
	v.mu.Unlock()
	e.post(handover.Event{Kind: handover.EvStopped, VM: v.index})
}

func (e *evacuation) vmRan(v *sourceVM) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.ran.IsZero() {
		v.ran = time.Now()
		e.standstill.end(v.index)
	}
}

// verify compares the stopped VM on both sides: its disks always, all of its RAM if that is wanted.
func (e checking) verify(ctx context.Context, v *sourceVM) error {
	if err := e.compareDisks(ctx, v); err != nil || !e.cfg.Verify {
		return err
	}
	answer := make(chan control.Digested, 1)
	e.digestMu.Lock()
	e.digestOf[v.index] = answer
	e.digestMu.Unlock()
	leftOut := e.writtenByLoad(ctx, v)
	if err := e.links[v.host].Conn.Send(control.Digest{VM: v.index, Skip: spansOf(leftOut)}); err != nil {
		return err
	}
	ours, err := system.DigestRAM(ctx, v.mem, v.blocks, spansOf(leftOut))
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(time.Minute):
		return fmt.Errorf("vm %s: target sent no digest", v.name())
	case theirs := <-answer:
		if err := system.CompareDigests(v.name(), v.blocks, ours, theirs); err != nil {
			return err
		}
		v.mu.Lock()
		v.digest, v.leftOut = true, e.reportLeftOut(v, leftOut)
		v.mu.Unlock()
		return nil
	}
}

func (e checking) digested(m control.Digested) {
	e.digestMu.Lock()
	defer e.digestMu.Unlock()
	if c := e.digestOf[m.VM]; c != nil {
		c <- m
		delete(e.digestOf, m.VM)
	}
}
