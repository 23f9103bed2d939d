// Package handover decides where a VM may run. Core is a pure step function: events in, actions out, no clock, socket or goroutine; Decide is
// the one table for what went wrong, for live failures and for recovery alike; a History is what a journal's records tell of one VM.
package handover

import (
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/scatter/model"
)

// State is where one VM is on its way. The diagram shows the way forward; every state above the line goes back through aborting.
// Whatever goes wrong once the target may have all of it is resolved: both sides are asked, and the table (decide) says what to do.
//
//	planned -> preparing -> prepared -> ready -> converging -> switching -> verifying -> committing
//	                                                                                       |
//	   stays, ended <- aborting <- (failure, target lost, cancel, stall)                    v
//	   stays <- reverting <- undoing <- (target lost before Run, refusal) <- starting <- released
//	                                                                            |
//	   any of these, doubt <- resolving <- (a side is silent or gone)           v
//	                                                                         launched -> arriving -> evacuated
type State uint8

const (
	Planned    State = iota // in the plan, its target was not asked yet
	Preparing               // the target makes room and starts its QEMU
	Prepared                // the target's QEMU waits; bulk runs or is about to
	Ready                   // bulk is confirmed; waits for a converge slot
	Converging              // QEMU's stream runs through the filter
	Switching               // the source VM is stopped for the switch-over, its last bytes are on their way
	Verifying               // both sides compare the VM's disks and, if wanted, digest its RAM
	Committing              // the commit record is being written
	Released                // the source QEMU was told that the target has it all
	Starting                // the run record is being written
	Launched                // Run was sent
	Arriving                // it runs on the target; the record of that is being written
	Resolving               // one side is silent or gone: both are asked
	Aborting                // the source takes the VM back before commit
	Undoing                 // the abort record is being written, after commit
	Reverting               // the source is told to run again, after commit
	Evacuated               // final: runs on the target
	Stays                   // final: is on the source
	Ended                   // final: runs nowhere, it has ended by itself
	Doubt                   // final: the operator must look
)

var vmStateNames = [...]string{"planned", "preparing", "bulk", "ready", "converge", "switch-over", "verify", "commit",
	"released", "starting", "run", "arriving", "resolving", "aborting", "undoing", "reverting", "evacuated", "on-source", "ended", "in-doubt"}

func (s State) String() string {
	if int(s) < len(vmStateNames) {
		return vmStateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

func (s State) final() bool { return s >= Evacuated }

// inConverge tells whether a VM in this state takes one of the converge slots.
func (s State) inConverge() bool { return s >= Converging && s <= Reverting }

// retreats tells whether a failure in this state is answered by aborting: commit
// was not logged, so the source QEMU goes on by itself.
func (s State) retreats() bool { return s <= Verifying }

// EventKind is what a driver tells the core.
type EventKind uint8

const (
	EvPrepared     EventKind = iota // target's QEMU waits
	EvBulkDone                      // target has confirmed all its blocks
	EvStopped                       // source VM is stopped for its switch-over
	EvLoaded                        // target's QEMU has loaded everything
	EvVerified                      // both sides have the same disks, and the same RAM if that was digested
	EvLogged                        // the record that the event names is on disk
	EvCompleted                     // source QEMU reports completed
	EvRunning                       // target says that its QEMU runs the VM
	EvRefused                       // target says that it has not run the VM; it holds it still, unless its QEMU has ended
	EvSourceRuns                    // the source has the VM, as it was before
	EvSourceUnsure                  // the source QEMU does not answer, or is gone
	EvSourceGone                    // the source QEMU's process has ended
	EvPoweredOff                    // the guest has powered itself off, its QEMU is there
	EvFailed                        // this VM cannot go on; err says why
	EvStalled                       // it dirties memory faster than the link can carry
	EvTargetLost                    // host is lost
	EvSilent                        // the target has not answered Run
	EvOverdue                       // what the event's state waits for has not come
	EvVerdict                       // both sides were asked
	EvCancel                        // the operator, or the time-out
)

var eventNames = [...]string{"prepared", "bulk-done", "stopped", "loaded", "verified", "logged", "completed", "running",
	"refused", "source-runs", "source-unsure", "source-gone", "powered-off", "failed", "stalled", "target-lost", "silent", "overdue", "verdict", "cancel"}

func (k EventKind) String() string { return eventNames[k] }

// Event is what a driver tells the core.
type Event struct {
	Kind    EventKind
	VM      int        // all but evTargetLost and evCancel
	Host    int        // evTargetLost
	Record  RecordKind // evLogged, and evFailed where a record could not be written
	State   State      // evOverdue
	Verdict Verdict    // evVerdict
	Err     error      // why, where something went wrong
}

// actionKind is what the core asks of the drivers.
type actionKind uint8

const (
	AcPrepare    actionKind = iota // ask the target to make room
	AcBulk                         // all targets stand: send the contents (once, no VM)
	AcConverge                     // start QEMU's migration through the filter
	AcPause                        // stop the source VM so that it converges
	AcVerify                       // compare disks, and digest if wanted, on both sides
	AcLog                          // write record to the journal, answer evLogged or evFailed
	AcRelease                      // give SHUT(0) to the source QEMU
	AcRun                          // send Run to the target
	AcResolve                      // ask both sides, answer evVerdict
	AcAbort                        // cancel the migration, see that the source has the VM, then tell the target to forget it
	AcForget                       // tell the target to forget a VM that has ended
	AcResume                       // cont on the completed source, then tell the target to forget it
	AcQuitSource                   // the VM lives on the target: end the source QEMU
	AcFinal                        // the VM has reached a final state
)

var actionNames = [...]string{"prepare", "bulk", "converge", "pause", "verify", "log", "release", "run", "resolve",
	"abort", "forget", "resume", "quit-source", "final"}

func (k actionKind) String() string { return actionNames[k] }

// Action is what the core asks of a driver.
type Action struct {
	Kind   actionKind
	VM     int
	Record RecordKind // acLog
	Run    bool       // acResolve: Run may have been sent
	Away   bool       // AcResume: the target is lost
	Err    error      // acAbort, acResume, acFinal: why
}

// coreVM is the core's view of one VM.
type coreVM struct {
	host     int
	State    State
	Cause    error // first reason why it does not move
	gone     bool  // the source QEMU's process has ended
	run      bool  // Run may have been sent
	resolves int   // how often both sides were asked
}

// maxResolves bounds how often one VM is resolved: what both sides say may not come true.
const maxResolves = 4

// Core decides. It is a pure step function: no clock, no I/O, no goroutine.
type Core struct {
	VMs       []coreVM
	Lost      []error // by host
	parallel  int
	onStall   model.OnStall
	keep      bool // leave the source QEMU
	cancelled error
	bulk      bool // acBulk was given
	order     []int
	out       []Action
}

// errUnplaced is why a VM stays that the plan has put nowhere.
var errUnplaced = errors.New("no target has room for it")

// CoreOptions is what the operator has said of it.
type CoreOptions struct {
	Parallel   int           // VMs that converge at one time
	OnStall    model.OnStall // what becomes of a VM that does not converge
	KeepSource bool          // leave the source QEMU
}

// NewCore makes a core for VMs placed on hosts (host[vm], -1 = it stays); order is the order in which
// ready VMs take converge slots.
func NewCore(host []int, hosts int, order []int, how CoreOptions) *Core {
	c := &Core{Lost: make([]error, hosts), parallel: max(1, how.Parallel), onStall: how.OnStall, keep: how.KeepSource, order: order}
	for _, h := range host {
		c.VMs = append(c.VMs, coreVM{host: h})
	}
	return c
}

// Start gives the first actions.
func (c *Core) Start() []Action {
	c.out = nil
	for i := range c.VMs {
		if c.VMs[i].host < 0 {
			c.finish(i, Stays, errUnplaced)
			continue
		}
		c.VMs[i].State = Preparing
		c.do(Action{Kind: AcPrepare, VM: i})
	}
	return c.out
}

// Done tells whether every VM has reached a final state.
func (c *Core) Done() bool {
	for _, v := range c.VMs {
		if !v.State.final() {
			return false
		}
	}
	return true
}

var errIllegal = errors.New("event does not fit the state")

// Step takes one event and returns what is to be done. An event that does not fit its VM's state
// changes nothing and is an error for the trace: late words of a target that was given up are normal.
func (c *Core) Step(e Event) ([]Action, error) {
	c.out = nil
	var err error
	switch e.Kind {
	case EvCancel:
		c.cancel(e.Err)
	case EvTargetLost:
		c.targetLost(e.Host, e.Err)
	default:
		if e.VM < 0 || e.VM >= len(c.VMs) {
			return nil, fmt.Errorf("vm %d: %w", e.VM, errIllegal)
		}
		err = c.stepVM(e)
	}
	c.schedule()
	return c.out, err
}

func (c *Core) do(a Action) { c.out = append(c.out, a) }

func (c *Core) stepVM(e Event) error {
	v := &c.VMs[e.VM]
	switch {
	case e.Kind == EvSourceGone && (!v.State.final() || v.State == Stays):
		c.sourceGone(e.VM, e.Err)
	case e.Kind == EvPoweredOff && v.State <= Switching:
		c.abort(e.VM, e.Err)
	case e.Kind == EvFailed && v.State.retreats():
		c.abort(e.VM, e.Err)
	case e.Kind == EvFailed && e.Record != "":
		return c.notLogged(e, v)
	case e.Kind == EvFailed && (v.State == Released || v.State == Launched), e.Kind == EvSilent && v.State == Launched:
		c.resolve(e.VM, e.Err)
	case e.Kind == EvSourceUnsure && (v.State == Aborting || v.State == Reverting):
		c.resolve(e.VM, e.Err)
	case e.Kind == EvOverdue && v.State == e.State && v.State.retreats():
		c.abort(e.VM, e.Err)
	case e.Kind == EvStalled && v.State == Converging:
		c.stalled(e.VM, e.Err)
	case e.Kind == EvLogged:
		return c.logged(e, v)
	default:
		return c.forward(e, v)
	}
	return nil
}

// forward handles what a VM's state waits for.
func (c *Core) forward(e Event, v *coreVM) error {
	type pair struct {
		s State
		k EventKind
	}
	switch (pair{v.State, e.Kind}) {
	case pair{Preparing, EvPrepared}:
		v.State = Prepared
	case pair{Prepared, EvBulkDone}:
		v.State = Ready
	case pair{Converging, EvStopped}:
		v.State = Switching
	case pair{Converging, EvLoaded}, pair{Switching, EvLoaded}:
		c.loaded(e.VM)
	case pair{Verifying, EvVerified}:
		c.commit(e.VM)
	case pair{Released, EvCompleted}:
		c.completed(e.VM)
	case pair{Launched, EvRunning}, pair{Resolving, EvRunning}:
		c.arrived(e.VM)
	case pair{Launched, EvRefused}, pair{Resolving, EvRefused}:
		c.refused(e.VM, e.Err)
	case pair{Resolving, EvVerdict}:
		c.judged(e)
	case pair{Aborting, EvSourceRuns}, pair{Reverting, EvSourceRuns}:
		c.stay(e.VM)
	case pair{Aborting, EvPoweredOff}:
		c.finish(e.VM, Ended, e.Err)
	default:
		return c.misfit(e, v)
	}
	return nil
}

func (c *Core) misfit(e Event, v *coreVM) error {
	return fmt.Errorf("vm %d: %s in %s: %w", e.VM, e.Kind, v.State, errIllegal)
}

// recordOf is the record that a state waits for.
var recordOf = map[State]RecordKind{Committing: RecCommit, Starting: RecRun, Arriving: RecDone, Undoing: RecAbort}

// logged: the record that the state waits for is on disk.
func (c *Core) logged(e Event, v *coreVM) error {
	if recordOf[v.State] != e.Record || e.Record == "" {
		return c.misfit(e, v)
	}
	switch v.State {
	case Committing:
		c.release(e.VM)
	case Starting:
		c.launch(e.VM)
	case Arriving:
		c.arrive(e.VM)
	case Undoing:
		c.revert(e.VM)
	}
	return nil
}

// notLogged: the record could not be written, for a full disk perhaps.
func (c *Core) notLogged(e Event, v *coreVM) error {
	if recordOf[v.State] != e.Record {
		return c.misfit(e, v)
	}
	switch {
	case v.State == Committing && v.gone:
		c.completed(e.VM) // the target's is the only copy: what the record is for cannot happen any more
	case v.State == Committing:
		c.abort(e.VM, e.Err)
	case v.State == Starting && v.gone:
		c.launch(e.VM)
	case v.State == Starting:
		c.undo(e.VM, e.Err)
	case v.State == Arriving:
		c.arrive(e.VM) // recovery finds out by asking
	case v.State == Undoing:
		c.revert(e.VM) // the record only helps a later recovery; the VM must not wait for a full disk
	}
	return nil
}

// sourceGone: before the switch-over the VM has ended with its QEMU. In the switch-over the target's word decides, which has all of it
// or not. From then on the target's is the only copy, and nothing but forward is of use.
func (c *Core) sourceGone(vm int, err error) {
	v := &c.VMs[vm]
	v.gone = true
	switch {
	case v.State < Switching:
		c.abort(vm, err)
	case v.State == Verifying:
		c.commit(vm)
	case v.State == Released:
		c.completed(vm)
	case v.State == Stays:
		v.Cause = nil // why it stayed does not matter any more
		c.finish(vm, Ended, err)
	}
	// The others: decided at their next step.
}

// stay: the source has the VM, and the target has been told to forget it.
func (c *Core) stay(vm int) {
	if c.VMs[vm].gone {
		c.finish(vm, Ended, nil)
		return
	}
	c.finish(vm, Stays, nil)
}

// loaded: the target has all of it.
func (c *Core) loaded(vm int) {
	if c.VMs[vm].gone {
		c.commit(vm)
		return
	}
	c.VMs[vm].State = Verifying
	c.do(Action{Kind: AcVerify, VM: vm})
}

func (c *Core) commit(vm int) { c.log(vm, Committing, RecCommit) }

// log asks for the record that a state waits for.
func (c *Core) log(vm int, s State, k RecordKind) {
	c.VMs[vm].State = s
	c.do(Action{Kind: AcLog, VM: vm, Record: k})
}

// release gives SHUT(0), unless one side was lost while the record was being written.
func (c *Core) release(vm int) {
	v := &c.VMs[vm]
	switch err := c.Lost[v.host]; {
	case v.gone:
		c.completed(vm)
	case err != nil:
		c.abort(vm, err)
	default:
		v.State = Released
		c.do(Action{Kind: AcRelease, VM: vm})
	}
}

// completed: the source QEMU has given the VM away, or is gone, and the target waits for Run. If the target was
// lost meanwhile, Run was never sent, so the source may take the VM back.
func (c *Core) completed(vm int) {
	if !c.targetAway(vm) {
		c.log(vm, Starting, RecRun)
	}
}

// launch sends Run, unless the target was lost while the record was being written. After this
// the source never runs the VM again unless the target says that it has not run it.
func (c *Core) launch(vm int) {
	if !c.targetAway(vm) {
		c.sendRun(vm)
	}
}

func (c *Core) sendRun(vm int) {
	c.VMs[vm].State, c.VMs[vm].run = Launched, true
	c.do(Action{Kind: AcRun, VM: vm})
}

// targetAway takes a VM back whose target was lost before Run was sent.
func (c *Core) targetAway(vm int) bool {
	v := &c.VMs[vm]
	err := c.Lost[v.host]
	switch {
	case err == nil || v.resolves > 0: // then the target has answered since
		return false
	case v.gone:
		c.resolve(vm, err)
	default:
		c.undo(vm, err)
	}
	return true
}

// refused: the target has not run the VM, in its QEMU's words.
func (c *Core) refused(vm int, err error) {
	if c.VMs[vm].gone {
		c.resolve(vm, err)
		return
	}
	c.undo(vm, err)
}

func (c *Core) revert(vm int) {
	v := &c.VMs[vm]
	if v.gone {
		c.resolve(vm, v.Cause) // there is nothing left to go back to
		return
	}
	v.State = Reverting
	c.do(Action{Kind: AcResume, VM: vm, Away: c.Lost[v.host] != nil, Err: v.Cause})
}

// arrived: the VM runs on the target. The record of it comes before the source QEMU's end.
func (c *Core) arrived(vm int) { c.log(vm, Arriving, RecDone) }

func (c *Core) arrive(vm int) {
	if !c.keep {
		c.do(Action{Kind: AcQuitSource, VM: vm})
	}
	c.finish(vm, Evacuated, nil)
}

func (c *Core) stalled(vm int, err error) {
	if c.onStall == model.StallPause {
		c.do(Action{Kind: AcPause, VM: vm})
		return
	}
	c.abort(vm, err)
}

// abort gives a VM up before commit.
func (c *Core) abort(vm int, err error) {
	v := &c.VMs[vm]
	v.State = Aborting
	c.blame(vm, err)
	c.do(Action{Kind: AcAbort, VM: vm, Err: err})
}

// undo gives a VM up after commit was logged and before Run can have had an effect. The abort record
// comes first, so that a crash between the two never sends Run to a VM that the source runs.
func (c *Core) undo(vm int, err error) {
	c.blame(vm, err)
	c.log(vm, Undoing, RecAbort)
}

// resolve has both sides asked.
func (c *Core) resolve(vm int, err error) {
	v := &c.VMs[vm]
	c.blame(vm, err)
	if v.resolves++; v.resolves > maxResolves {
		c.finish(vm, Doubt, err)
		return
	}
	v.State = Resolving
	c.do(Action{Kind: AcResolve, VM: vm, Run: v.run, Err: err})
}

// judged does what the table says of a VM, both of whose sides were asked.
func (c *Core) judged(e Event) {
	v := &c.VMs[e.VM]
	switch d := e.Verdict; d.Do {
	case DoRun:
		c.log(e.VM, Starting, RecRun)
	case DoQuitSource:
		c.arrived(e.VM)
	case DoCont:
		c.undo(e.VM, e.Err)
	case DoAbort:
		if d.Where == model.Ended {
			c.do(Action{Kind: AcForget, VM: e.VM, Err: v.Cause})
			c.finish(e.VM, Ended, e.Err)
			return
		}
		c.abort(e.VM, e.Err)
	default:
		final := map[model.Where]State{model.OnSource: Stays, model.OnTarget: Evacuated, model.Ended: Ended}
		if s, ok := final[d.Where]; ok {
			c.finish(e.VM, s, e.Err)
			return
		}
		v.Cause = e.Err // what to do is worth more than what began it, which it names
		c.finish(e.VM, Doubt, e.Err)
	}
}

func (c *Core) finish(vm int, s State, err error) {
	c.VMs[vm].State = s
	c.blame(vm, err)
	c.do(Action{Kind: AcFinal, VM: vm, Err: c.VMs[vm].Cause})
}

func (c *Core) blame(vm int, err error) {
	if v := &c.VMs[vm]; v.Cause == nil {
		v.Cause = err
	}
}

func (c *Core) cancel(err error) {
	if c.cancelled != nil {
		return
	}
	c.cancelled = err
	for i, v := range c.VMs {
		if v.State.retreats() && !v.gone {
			c.abort(i, err)
		}
	}
}

func (c *Core) targetLost(host int, err error) {
	if host < 0 || host >= len(c.Lost) || c.Lost[host] != nil {
		return
	}
	c.Lost[host] = err
	for i, v := range c.VMs {
		switch {
		case v.host != host:
		case v.State.retreats():
			c.abort(i, err)
		case v.State == Launched:
			c.resolve(i, err)
		}
		// committing, released, starting: decided at their next step, by release, completed and launch.
	}
}

// schedule starts bulk once every target has answered, and fills free converge slots.
func (c *Core) schedule() {
	if !c.bulk && !c.anyIn(Planned, Preparing) && c.anyIn(Prepared) {
		c.bulk = true
		c.do(Action{Kind: AcBulk})
	}
	busy := 0
	for _, v := range c.VMs {
		if v.State.inConverge() {
			busy++
		}
	}
	for _, i := range c.order {
		if busy < c.parallel && c.VMs[i].State == Ready {
			c.VMs[i].State = Converging
			c.do(Action{Kind: AcConverge, VM: i})
			busy++
		}
	}
}

func (c *Core) anyIn(states ...State) bool {
	for _, v := range c.VMs {
		for _, s := range states {
			if v.State == s {
				return true
			}
		}
	}
	return false
}
