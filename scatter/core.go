package scatter

import (
	"errors"
	"fmt"
)

// vmState is where one VM is on its way. The diagram shows the way forward; every
// state above the line goes back through aborting, and after Run was sent there is no
// way back, only forward or doubt.
//
//	planned -> preparing -> prepared -> ready -> converging -> switching -> verifying -> committing
//	                                                                                          |
//	   stays <- aborting <- (failure, target lost, cancel, stall)                             v
//	   stays <- reverting <- (target lost before Run) <--------------------- starting <- released
//	                                                                          |
//	   doubt <- resolving <- (target lost after Run) <------------------- running? -> evacuated
type vmState uint8

const (
	planned    vmState = iota // in the plan, its target was not asked yet
	preparing                 // the target makes room and starts its QEMU
	prepared                  // the target's QEMU waits; bulk runs or is about to
	ready                     // bulk is confirmed; waits for a converge slot
	converging                // QEMU's stream runs through the filter
	switching                 // the source VM is paused, its last bytes are on their way
	verifying                 // both sides compare the VM's disks, and digests of its RAM if that is wanted
	committing                // the commit record is being written
	released                  // the source QEMU was told that the target has it all
	starting                  // the run record is being written
	launched                  // Run was sent
	resolving                 // Run was sent, then the target was lost: asking it
	aborting                  // the source takes the VM back before commit
	undoing                   // the abort record is being written, after commit
	reverting                 // the source is told to run again, after commit, before Run
	evacuated                 // final: runs on the target
	stays                     // final: runs on the source
	doubt                     // final: the operator must look
)

var vmStateNames = [...]string{"planned", "preparing", "bulk", "ready", "converge", "switch-over", "verify", "commit",
	"released", "starting", "run", "resolving", "aborting", "undoing", "reverting", "evacuated", "on-source", "in-doubt"}

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
	evStopped                       // source VM is paused
	evLoaded                        // target's QEMU has loaded everything
	evVerified                      // both sides have the same
	evLogged                        // the record of the last log action is on disk
	evCompleted                     // source QEMU reports completed
	evRunning                       // target says that the VM runs
	evRefused                       // target says that it has not run the VM and never will
	evSourceRuns                    // source VM is known to run (or to be as it was found)
	evSourceUnsure                  // the source QEMU does not answer
	evFailed                        // this VM cannot go on; err says why
	evStalled                       // it dirties memory faster than the link can carry
	evTargetLost                    // host is lost
	evTargetHolds                   // asked again, target holds the VM loaded: Run did not arrive
	evTargetSilent                  // asked again, target could not say
	evCancel                        // the operator, or the time-out
)

var eventNames = [...]string{"prepared", "bulk-done", "stopped", "loaded", "verified", "logged", "completed", "running",
	"refused", "source-runs", "source-unsure", "failed", "stalled", "target-lost", "target-holds", "target-silent", "cancel"}

func (k eventKind) String() string { return eventNames[k] }

type event struct {
	kind eventKind
	vm   int   // all but evTargetLost and evCancel
	host int   // evTargetLost
	err  error // why, where something went wrong
}

// actionKind is what the core asks of the drivers.
type actionKind uint8

const (
	acPrepare    actionKind = iota // ask the target to make room
	acBulk                         // all targets stand: send the contents (once, no VM)
	acConverge                     // start QEMU's migration through the filter
	acPause                        // stop the source VM so that it converges
	acVerify                       // compare both sides
	acLog                          // write record to the journal, answer evLogged or evFailed
	acRelease                      // give SHUT(0) to the source QEMU
	acRun                          // send Run to the target
	acResolve                      // reach the target again and ask
	acAbort                        // cancel the migration, tell the target, see that the source runs
	acResume                       // cont on the completed source, tell the target to forget it
	acQuitSource                   // the VM lives on the target: end the source QEMU
	acFinal                        // the VM has reached a final state
)

var actionNames = [...]string{"prepare", "bulk", "converge", "pause", "verify", "log", "release", "run", "resolve",
	"abort", "resume", "quit-source", "final"}

func (k actionKind) String() string { return actionNames[k] }

type action struct {
	kind   actionKind
	vm     int
	record recordKind // acLog
	err    error      // acAbort, acResume, acFinal: why
}

// coreVM is the core's view of one VM.
type coreVM struct {
	host  int
	state vmState
	cause error // first reason why it does not move
}

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
	c := &core{lost: make([]error, hosts), parallel: max(1, cfg.Parallel), onStall: cfg.OnStall,
		keep: cfg.KeepSource, order: order}
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
	case e.kind == evFailed && v.state.retreats():
		c.abort(e.vm, e.err)
	case e.kind == evFailed && (v.state == committing || v.state == released):
		// The journal could not be written, or the source QEMU failed to complete: either way it runs by itself.
		c.abort(e.vm, e.err)
	case e.kind == evFailed && v.state == starting:
		c.undo(e.vm, e.err)
	case e.kind == evFailed && v.state == undoing:
		c.revert(e.vm) // the record only helps a later recovery; the VM must not wait for a full disk
	case e.kind == evStalled && (v.state == converging):
		c.stalled(e.vm, e.err)
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
	case pair{committing, evLogged}:
		c.release(e.vm)
	case pair{released, evCompleted}:
		c.completed(e.vm)
	case pair{starting, evLogged}:
		c.launch(e.vm)
	case pair{launched, evRunning}, pair{resolving, evRunning}:
		c.running(e.vm)
	case pair{launched, evRefused}, pair{resolving, evRefused}:
		c.undo(e.vm, e.err)
	case pair{resolving, evTargetHolds}:
		v.state = launched
		c.do(action{kind: acRun, vm: e.vm})
	case pair{resolving, evTargetSilent}:
		c.finish(e.vm, doubt, e.err)
	case pair{undoing, evLogged}:
		c.revert(e.vm)
	case pair{aborting, evSourceRuns}, pair{reverting, evSourceRuns}:
		c.finish(e.vm, stays, nil)
	case pair{aborting, evSourceUnsure}, pair{reverting, evSourceUnsure}:
		c.finish(e.vm, doubt, e.err)
	default:
		return fmt.Errorf("vm %d: %s in %s: %w", e.vm, e.kind, v.state, errIllegal)
	}
	return nil
}

// loaded: before commit both sides compare the VM's disks, and its RAM if that is wanted.
func (c *core) loaded(vm int) {
	c.vms[vm].state = verifying
	c.do(action{kind: acVerify, vm: vm})
}

func (c *core) commit(vm int) {
	c.vms[vm].state = committing
	c.do(action{kind: acLog, vm: vm, record: recCommit})
}

// release gives SHUT(0), unless the target was lost while the record was being written.
func (c *core) release(vm int) {
	v := &c.vms[vm]
	if err := c.lost[v.host]; err != nil {
		c.abort(vm, err)
		return
	}
	v.state = released
	c.do(action{kind: acRelease, vm: vm})
}

// launch sends Run, unless the target was lost while the record was being written. After this
// the source never runs the VM again unless the target says that it has not run it.
func (c *core) launch(vm int) {
	v := &c.vms[vm]
	if err := c.lost[v.host]; err != nil {
		c.undo(vm, err)
		return
	}
	v.state = launched
	c.do(action{kind: acRun, vm: vm})
}

func (c *core) revert(vm int) {
	c.vms[vm].state = reverting
	c.do(action{kind: acResume, vm: vm, err: c.vms[vm].cause})
}

// completed: the source QEMU has given the VM away, the target waits for Run. If the target was
// lost meanwhile, Run was never sent, so the source may take the VM back.
func (c *core) completed(vm int) {
	v := &c.vms[vm]
	if err := c.lost[v.host]; err != nil {
		c.undo(vm, err)
		return
	}
	v.state = starting
	c.do(action{kind: acLog, vm: vm, record: recRun})
}

func (c *core) running(vm int) {
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
	c.vms[vm].state = undoing
	c.blame(vm, err)
	c.do(action{kind: acLog, vm: vm, record: recAbort})
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
		if v.state.retreats() {
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
			c.vms[i].state = resolving
			c.do(action{kind: acResolve, vm: i, err: err})
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
