package scatter

import (
	"errors"
	"fmt"
)

// vmState is where one VM is on its way. The diagram shows the way forward; every state above the line goes back through aborting.
// Whatever goes wrong once the target may have all of it is resolved: both sides are asked, and the table (decide) says what to do.
//
//	planned -> preparing -> prepared -> ready -> converging -> switching -> verifying -> committing
//	                                                                                       |
//	   stays, ended <- aborting <- (failure, target lost, cancel, stall)                    v
//	   stays <- reverting <- undoing <- (target lost before Run, refusal) <- starting <- released
//	                                                                            |
//	   any of these, doubt <- resolving <- (a side is silent or gone)           v
//	                                                                         launched -> arriving -> evacuated
type vmState uint8

const (
	planned    vmState = iota // in the plan, its target was not asked yet
	preparing                 // the target makes room and starts its QEMU
	prepared                  // the target's QEMU waits; bulk runs or is about to
	ready                     // bulk is confirmed; waits for a converge slot
	converging                // QEMU's stream runs through the filter
	switching                 // the source VM is stopped for the switch-over, its last bytes are on their way
	verifying                 // both sides compare the VM's disks and, if wanted, digest its RAM
	committing                // the commit record is being written
	released                  // the source QEMU was told that the target has it all
	starting                  // the run record is being written
	launched                  // Run was sent
	arriving                  // it runs on the target; the record of that is being written
	resolving                 // one side is silent or gone: both are asked
	aborting                  // the source takes the VM back before commit
	undoing                   // the abort record is being written, after commit
	reverting                 // the source is told to run again, after commit
	evacuated                 // final: runs on the target
	stays                     // final: is on the source
	ended                     // final: runs nowhere, it has ended by itself
	doubt                     // final: the operator must look
)

var vmStateNames = [...]string{"planned", "preparing", "bulk", "ready", "converge", "switch-over", "verify", "commit",
	"released", "starting", "run", "arriving", "resolving", "aborting", "undoing", "reverting", "evacuated", "on-source", "ended", "in-doubt"}

func (s vmState) String() string {
	if int(s) < len(vmStateNames) {
		return vmStateNames[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

func (s vmState) final() bool { return s >= evacuated }

// inConverge tells whether a VM in this state takes one of the converge slots.
func (s vmState) inConverge() bool { return s >= converging && s <= reverting }

// retreats tells whether a failure in this state is answered by aborting: commit
// was not logged, so the source QEMU goes on by itself.
func (s vmState) retreats() bool { return s <= verifying }

// eventKind is what a driver tells the core.
type eventKind uint8

const (
	evPrepared     eventKind = iota // target's QEMU waits
	evBulkDone                      // target has confirmed all its blocks
	evStopped                       // source VM is stopped for its switch-over
	evLoaded                        // target's QEMU has loaded everything
	evVerified                      // both sides have the same disks, and the same RAM if that was digested
	evLogged                        // the record that the event names is on disk
	evCompleted                     // source QEMU reports completed
	evRunning                       // target says that its QEMU runs the VM
	evRefused                       // target says that it has not run the VM; it holds it still, unless its QEMU has ended
	evSourceRuns                    // the source has the VM, as it was before
	evSourceUnsure                  // the source QEMU does not answer, or is gone
	evSourceGone                    // the source QEMU's process has ended
	evPoweredOff                    // the guest has powered itself off, its QEMU is there
	evFailed                        // this VM cannot go on; err says why
	evStalled                       // it dirties memory faster than the link can carry
	evTargetLost                    // host is lost
	evSilent                        // the target has not answered Run
	evOverdue                       // what the event's state waits for has not come
	evVerdict                       // both sides were asked
	evCancel                        // the operator, or the time-out
)

var eventNames = [...]string{"prepared", "bulk-done", "stopped", "loaded", "verified", "logged", "completed", "running",
	"refused", "source-runs", "source-unsure", "source-gone", "powered-off", "failed", "stalled", "target-lost", "silent", "overdue", "verdict", "cancel"}

func (k eventKind) String() string { return eventNames[k] }

type event struct {
	kind    eventKind
	vm      int        // all but evTargetLost and evCancel
	host    int        // evTargetLost
	record  recordKind // evLogged, and evFailed where a record could not be written
	state   vmState    // evOverdue
	verdict verdict    // evVerdict
	err     error      // why, where something went wrong
}

// actionKind is what the core asks of the drivers.
type actionKind uint8

const (
	acPrepare    actionKind = iota // ask the target to make room
	acBulk                         // all targets stand: send the contents (once, no VM)
	acConverge                     // start QEMU's migration through the filter
	acPause                        // stop the source VM so that it converges
	acVerify                       // compare disks, and digest if wanted, on both sides
	acLog                          // write record to the journal, answer evLogged or evFailed
	acRelease                      // give SHUT(0) to the source QEMU
	acRun                          // send Run to the target
	acResolve                      // ask both sides, answer evVerdict
	acAbort                        // cancel the migration, see that the source has the VM, then tell the target to forget it
	acForget                       // tell the target to forget a VM that has ended
	acResume                       // cont on the completed source, then tell the target to forget it
	acQuitSource                   // the VM lives on the target: end the source QEMU
	acFinal                        // the VM has reached a final state
)

var actionNames = [...]string{"prepare", "bulk", "converge", "pause", "verify", "log", "release", "run", "resolve",
	"abort", "forget", "resume", "quit-source", "final"}

func (k actionKind) String() string { return actionNames[k] }

type action struct {
	kind   actionKind
	vm     int
	record recordKind // acLog
	run    bool       // acResolve: Run may have been sent
	away   bool       // acResume: the target is lost
	err    error      // acAbort, acResume, acFinal: why
}

// coreVM is the core's view of one VM.
type coreVM struct {
	host     int
	state    vmState
	cause    error // first reason why it does not move
	gone     bool  // the source QEMU's process has ended
	run      bool  // Run may have been sent
	resolves int   // how often both sides were asked
}

// maxResolves bounds how often one VM is resolved: what both sides say may not come true.
const maxResolves = 4

// core decides. It is a pure step function: no clock, no I/O, no goroutine.
type core struct {
	vms       []coreVM
	lost      []error // by host
	parallel  int
	onStall   OnStall
	keep      bool // leave the source QEMU
	cancelled error
	bulk      bool // acBulk was given
	order     []int
	out       []action
}

// errUnplaced is why a VM stays that the plan has put nowhere.
var errUnplaced = errors.New("no target has room for it")

// newCore makes a core for VMs placed on hosts (host[vm], -1 = it stays); order is the order in which
// ready VMs take converge slots.
func newCore(host []int, hosts int, order []int, cfg SendConfig) *core {
	c := &core{lost: make([]error, hosts), parallel: max(1, cfg.Parallel), onStall: cfg.OnStall, keep: cfg.KeepSource, order: order}
	for _, h := range host {
		c.vms = append(c.vms, coreVM{host: h})
	}
	return c
}

// start gives the first actions.
func (c *core) start() []action {
	c.out = nil
	for i := range c.vms {
		if c.vms[i].host < 0 {
			c.finish(i, stays, errUnplaced)
			continue
		}
		c.vms[i].state = preparing
		c.do(action{kind: acPrepare, vm: i})
	}
	return c.out
}

// done tells whether every VM has reached a final state.
func (c *core) done() bool {
	for _, v := range c.vms {
		if !v.state.final() {
			return false
		}
	}
	return true
}

var errIllegal = errors.New("event does not fit the state")

// step takes one event and returns what is to be done. An event that does not fit its VM's state
// changes nothing and is an error for the trace: late words of a target that was given up are normal.
func (c *core) step(e event) ([]action, error) {
	c.out = nil
	var err error
	switch e.kind {
	case evCancel:
		c.cancel(e.err)
	case evTargetLost:
		c.targetLost(e.host, e.err)
	default:
		if e.vm < 0 || e.vm >= len(c.vms) {
			return nil, fmt.Errorf("vm %d: %w", e.vm, errIllegal)
		}
		err = c.stepVM(e)
	}
	c.schedule()
	return c.out, err
}

func (c *core) do(a action) { c.out = append(c.out, a) }

func (c *core) stepVM(e event) error {
	v := &c.vms[e.vm]
	switch {
	case e.kind == evSourceGone && (!v.state.final() || v.state == stays):
		c.sourceGone(e.vm, e.err)
	case e.kind == evPoweredOff && v.state <= switching:
		c.abort(e.vm, e.err)
	case e.kind == evFailed && v.state.retreats():
		c.abort(e.vm, e.err)
	case e.kind == evFailed && e.record != "":
		return c.notLogged(e, v)
	case e.kind == evFailed && (v.state == released || v.state == launched), e.kind == evSilent && v.state == launched:
		c.resolve(e.vm, e.err)
	case e.kind == evSourceUnsure && (v.state == aborting || v.state == reverting):
		c.resolve(e.vm, e.err)
	case e.kind == evOverdue && v.state == e.state && v.state.retreats():
		c.abort(e.vm, e.err)
	case e.kind == evStalled && v.state == converging:
		c.stalled(e.vm, e.err)
	case e.kind == evLogged:
		return c.logged(e, v)
	default:
		return c.forward(e, v)
	}
	return nil
}

// forward handles what a VM's state waits for.
func (c *core) forward(e event, v *coreVM) error {
	type pair struct {
		s vmState
		k eventKind
	}
	switch (pair{v.state, e.kind}) {
	case pair{preparing, evPrepared}:
		v.state = prepared
	case pair{prepared, evBulkDone}:
		v.state = ready
	case pair{converging, evStopped}:
		v.state = switching
	case pair{converging, evLoaded}, pair{switching, evLoaded}:
		c.loaded(e.vm)
	case pair{verifying, evVerified}:
		c.commit(e.vm)
	case pair{released, evCompleted}:
		c.completed(e.vm)
	case pair{launched, evRunning}, pair{resolving, evRunning}:
		c.arrived(e.vm)
	case pair{launched, evRefused}, pair{resolving, evRefused}:
		c.refused(e.vm, e.err)
	case pair{resolving, evVerdict}:
		c.judged(e)
	case pair{aborting, evSourceRuns}, pair{reverting, evSourceRuns}:
		c.stay(e.vm)
	case pair{aborting, evPoweredOff}:
		c.finish(e.vm, ended, e.err)
	default:
		return c.misfit(e, v)
	}
	return nil
}

func (c *core) misfit(e event, v *coreVM) error {
	return fmt.Errorf("vm %d: %s in %s: %w", e.vm, e.kind, v.state, errIllegal)
}

// recordOf is the record that a state waits for.
var recordOf = map[vmState]recordKind{committing: recCommit, starting: recRun, arriving: recDone, undoing: recAbort}

// logged: the record that the state waits for is on disk.
func (c *core) logged(e event, v *coreVM) error {
	if recordOf[v.state] != e.record || e.record == "" {
		return c.misfit(e, v)
	}
	switch v.state {
	case committing:
		c.release(e.vm)
	case starting:
		c.launch(e.vm)
	case arriving:
		c.arrive(e.vm)
	case undoing:
		c.revert(e.vm)
	}
	return nil
}

// notLogged: the record could not be written, for a full disk perhaps.
func (c *core) notLogged(e event, v *coreVM) error {
	if recordOf[v.state] != e.record {
		return c.misfit(e, v)
	}
	switch {
	case v.state == committing && v.gone:
		c.completed(e.vm) // the target's is the only copy: what the record is for cannot happen any more
	case v.state == committing:
		c.abort(e.vm, e.err)
	case v.state == starting && v.gone:
		c.launch(e.vm)
	case v.state == starting:
		c.undo(e.vm, e.err)
	case v.state == arriving:
		c.arrive(e.vm) // recovery finds out by asking
	case v.state == undoing:
		c.revert(e.vm) // the record only helps a later recovery; the VM must not wait for a full disk
	}
	return nil
}

// sourceGone: before the switch-over the VM has ended with its QEMU. In the switch-over the target's word decides, which has all of it
// or not. From then on the target's is the only copy, and nothing but forward is of use.
func (c *core) sourceGone(vm int, err error) {
	v := &c.vms[vm]
	v.gone = true
	switch {
	case v.state < switching:
		c.abort(vm, err)
	case v.state == verifying:
		c.commit(vm)
	case v.state == released:
		c.completed(vm)
	case v.state == stays:
		v.cause = nil // why it stayed does not matter any more
		c.finish(vm, ended, err)
	}
	// The others: decided at their next step.
}

// stay: the source has the VM, and the target has been told to forget it.
func (c *core) stay(vm int) {
	if c.vms[vm].gone {
		c.finish(vm, ended, nil)
		return
	}
	c.finish(vm, stays, nil)
}

// loaded: the target has all of it.
func (c *core) loaded(vm int) {
	if c.vms[vm].gone {
		c.commit(vm)
		return
	}
	c.vms[vm].state = verifying
	c.do(action{kind: acVerify, vm: vm})
}

func (c *core) commit(vm int) { c.log(vm, committing, recCommit) }

// log asks for the record that a state waits for.
func (c *core) log(vm int, s vmState, k recordKind) {
	c.vms[vm].state = s
	c.do(action{kind: acLog, vm: vm, record: k})
}

// release gives SHUT(0), unless one side was lost while the record was being written.
func (c *core) release(vm int) {
	v := &c.vms[vm]
	switch err := c.lost[v.host]; {
	case v.gone:
		c.completed(vm)
	case err != nil:
		c.abort(vm, err)
	default:
		v.state = released
		c.do(action{kind: acRelease, vm: vm})
	}
}

// completed: the source QEMU has given the VM away, or is gone, and the target waits for Run. If the target was
// lost meanwhile, Run was never sent, so the source may take the VM back.
func (c *core) completed(vm int) {
	if !c.targetAway(vm) {
		c.log(vm, starting, recRun)
	}
}

// launch sends Run, unless the target was lost while the record was being written. After this
// the source never runs the VM again unless the target says that it has not run it.
func (c *core) launch(vm int) {
	if !c.targetAway(vm) {
		c.sendRun(vm)
	}
}

func (c *core) sendRun(vm int) {
	c.vms[vm].state, c.vms[vm].run = launched, true
	c.do(action{kind: acRun, vm: vm})
}

// targetAway takes a VM back whose target was lost before Run was sent.
func (c *core) targetAway(vm int) bool {
	v := &c.vms[vm]
	err := c.lost[v.host]
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
func (c *core) refused(vm int, err error) {
	if c.vms[vm].gone {
		c.resolve(vm, err)
		return
	}
	c.undo(vm, err)
}

func (c *core) revert(vm int) {
	v := &c.vms[vm]
	if v.gone {
		c.resolve(vm, v.cause) // there is nothing left to go back to
		return
	}
	v.state = reverting
	c.do(action{kind: acResume, vm: vm, away: c.lost[v.host] != nil, err: v.cause})
}

// arrived: the VM runs on the target. The record of it comes before the source QEMU's end.
func (c *core) arrived(vm int) { c.log(vm, arriving, recDone) }

func (c *core) arrive(vm int) {
	if !c.keep {
		c.do(action{kind: acQuitSource, vm: vm})
	}
	c.finish(vm, evacuated, nil)
}

func (c *core) stalled(vm int, err error) {
	if c.onStall == StallPause {
		c.do(action{kind: acPause, vm: vm})
		return
	}
	c.abort(vm, err)
}

// abort gives a VM up before commit.
func (c *core) abort(vm int, err error) {
	v := &c.vms[vm]
	v.state = aborting
	c.blame(vm, err)
	c.do(action{kind: acAbort, vm: vm, err: err})
}

// undo gives a VM up after commit was logged and before Run can have had an effect. The abort record
// comes first, so that a crash between the two never sends Run to a VM that the source runs.
func (c *core) undo(vm int, err error) {
	c.blame(vm, err)
	c.log(vm, undoing, recAbort)
}

// resolve has both sides asked.
func (c *core) resolve(vm int, err error) {
	v := &c.vms[vm]
	c.blame(vm, err)
	if v.resolves++; v.resolves > maxResolves {
		c.finish(vm, doubt, err)
		return
	}
	v.state = resolving
	c.do(action{kind: acResolve, vm: vm, run: v.run, err: err})
}

// judged does what the table says of a VM, both of whose sides were asked.
func (c *core) judged(e event) {
	v := &c.vms[e.vm]
	switch d := e.verdict; d.do {
	case doRun:
		c.log(e.vm, starting, recRun)
	case doQuitSource:
		c.arrived(e.vm)
	case doCont:
		c.undo(e.vm, e.err)
	case doAbort:
		if d.where == Ended {
			c.do(action{kind: acForget, vm: e.vm, err: v.cause})
			c.finish(e.vm, ended, e.err)
			return
		}
		c.abort(e.vm, e.err)
	default:
		final := map[Where]vmState{OnSource: stays, OnTarget: evacuated, Ended: ended}
		if s, ok := final[d.where]; ok {
			c.finish(e.vm, s, e.err)
			return
		}
		v.cause = e.err // what to do is worth more than what began it, which it names
		c.finish(e.vm, doubt, e.err)
	}
}

func (c *core) finish(vm int, s vmState, err error) {
	c.vms[vm].state = s
	c.blame(vm, err)
	c.do(action{kind: acFinal, vm: vm, err: c.vms[vm].cause})
}

func (c *core) blame(vm int, err error) {
	if v := &c.vms[vm]; v.cause == nil {
		v.cause = err
	}
}

func (c *core) cancel(err error) {
	if c.cancelled != nil {
		return
	}
	c.cancelled = err
	for i, v := range c.vms {
		if v.state.retreats() && !v.gone {
			c.abort(i, err)
		}
	}
}

func (c *core) targetLost(host int, err error) {
	if host < 0 || host >= len(c.lost) || c.lost[host] != nil {
		return
	}
	c.lost[host] = err
	for i, v := range c.vms {
		switch {
		case v.host != host:
		case v.state.retreats():
			c.abort(i, err)
		case v.state == launched:
			c.resolve(i, err)
		}
		// committing, released, starting: decided at their next step, by release, completed and launch.
	}
}

// schedule starts bulk once every target has answered, and fills free converge slots.
func (c *core) schedule() {
	if !c.bulk && !c.anyIn(planned, preparing) && c.anyIn(prepared) {
		c.bulk = true
		c.do(action{kind: acBulk})
	}
	busy := 0
	for _, v := range c.vms {
		if v.state.inConverge() {
			busy++
		}
	}
	for _, i := range c.order {
		if busy < c.parallel && c.vms[i].state == ready {
			c.vms[i].state = converging
			c.do(action{kind: acConverge, vm: i})
			busy++
		}
	}
}

func (c *core) anyIn(states ...vmState) bool {
	for _, v := range c.vms {
		for _, s := range states {
			if v.state == s {
				return true
			}
		}
	}
	return false
}
