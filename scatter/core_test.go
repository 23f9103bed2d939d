package scatter

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/control"
)

// world is a model of what the drivers, QEMU and the targets do. It answers actions with
// the events that the real ones could answer, in any order, and knows for each VM who runs it.
type world struct {
	t       *rapid.T
	c       *core
	vms     []modelVM
	lost    []bool // host is unreachable for good
	pending []event
	trace   []string
}

type modelVM struct {
	src       string // runs, held, completed, off (its guest has powered it off), dead (its process has ended), gone (it was told to quit)
	deaf      bool   // the source QEMU does not answer any more
	dst       string // none, waits, loaded, runs
	back      bool   // was seen on the source after it was given up: any other copy is stale
	runSent   bool
	migrating bool
	verified  bool
	logged    map[recordKind]bool
	final     bool
}

var (
	errModel = errors.New("model failure")
	errAway  = errors.New("target away")
)

func newWorld(t *rapid.T) *world {
	n, hosts := rapid.IntRange(1, 4).Draw(t, "vms"), rapid.IntRange(1, 3).Draw(t, "hosts")
	host, order := make([]int, n), make([]int, n)
	for i := range host {
		host[i], order[i] = rapid.IntRange(-1, hosts-1).Draw(t, "host"), i
	}
	cfg := SendConfig{
		Parallel: rapid.IntRange(1, 3).Draw(t, "parallel"),
		OnStall:  rapid.SampledFrom([]OnStall{StallKeep, StallPause}).Draw(t, "stall"),
	}
	w := &world{t: t, c: newCore(host, hosts, order, cfg), lost: make([]bool, hosts), vms: make([]modelVM, n)}
	for i := range w.vms {
		w.vms[i] = modelVM{src: "runs", dst: "none", logged: map[recordKind]bool{}}
	}
	return w
}

func (w *world) emit(k eventKind, vm int, err error) {
	w.pending = append(w.pending, event{kind: k, vm: vm, err: err})
}

func (w *world) chance(n int, what string) bool { return rapid.IntRange(0, n-1).Draw(w.t, what) == 0 }

func (w *world) reachable(vm int) bool { return !w.lost[w.c.vms[vm].host] }

// act is what the drivers do with an action.
func (w *world) act(a action) {
	w.trace = append(w.trace, fmt.Sprintf("  action %s vm %d %s", a.kind, a.vm, a.record))
	v := &w.vms[a.vm]
	switch a.kind {
	case acPrepare:
		if w.reachable(a.vm) {
			v.dst = "waits"
			w.emit(evPrepared, a.vm, nil)
		}
	case acBulk:
		for i := range w.vms {
			w.emit(evBulkDone, i, nil)
		}
	case acConverge:
		v.migrating = true
		w.emit(evStopped, a.vm, nil)
		w.emit(evStalled, a.vm, errModel)
		w.emit(evLoaded, a.vm, nil)
	case acPause:
		if v.migrating && v.src == "runs" {
			v.src = "held"
		}
	case acVerify:
		if w.chance(10, "differs") || !w.answers(a.vm) {
			w.emit(evFailed, a.vm, errModel)
			return
		}
		v.verified = true
		w.emit(evVerified, a.vm, nil)
	case acLog:
		w.log(a)
	case acRelease:
		w.release(a.vm)
	case acRun:
		w.run(a.vm)
	case acResolve:
		w.resolve(a)
	case acAbort:
		w.takeBack(a.vm)
	case acForget:
		w.forget(a.vm)
	case acResume:
		w.takeBack(a.vm)
	case acQuitSource:
		if v.dst != "runs" || !v.logged[recDone] && !v.logged["full"] {
			w.t.Fatalf("vm %d: source QEMU ended, target %s, records %v", a.vm, v.dst, v.logged)
		}
		if v.src != "dead" {
			v.src = "gone"
		}
	case acFinal:
		v.final = true
	}
}

// answers tells whether the source QEMU does.
func (w *world) answers(vm int) bool { return !w.vms[vm].deaf && w.vms[vm].src != "dead" }

func (w *world) log(a action) {
	if w.chance(10, "log fails") {
		w.vms[a.vm].logged["full"] = true
		w.pending = append(w.pending, event{kind: evFailed, vm: a.vm, record: a.record, err: errModel})
		return
	}
	w.vms[a.vm].logged[a.record] = true
	w.pending = append(w.pending, event{kind: evLogged, vm: a.vm, record: a.record})
	if w.chance(20, "logged twice") {
		w.pending = append(w.pending, event{kind: evLogged, vm: a.vm, record: a.record})
	}
}

func (w *world) release(vm int) {
	v := &w.vms[vm]
	if !v.logged[recCommit] || !v.verified || v.dst != "loaded" {
		w.t.Fatalf("vm %d: released with target %s, records %v", vm, v.dst, v.logged)
	}
	fails := w.chance(10, "completion fails")
	switch {
	case v.src == "dead":
		w.emit(evFailed, vm, errModel)
		return
	case fails:
		v.src, v.migrating = "runs", false
	default:
		v.src, v.migrating = "completed", false
	}
	if fails || v.deaf { // deaf: nobody hears which of both it was
		w.emit(evFailed, vm, errModel)
		return
	}
	w.emit(evCompleted, vm, nil)
}

func (w *world) run(vm int) {
	v := &w.vms[vm]
	if v.src != "completed" && v.src != "dead" || v.src != "dead" && !v.logged[recRun] || v.dst != "loaded" {
		w.t.Fatalf("vm %d: Run with source %s, target %s, records %v", vm, v.src, v.dst, v.logged)
	}
	v.runSent = true
	switch arrives := w.reachable(vm) || rapid.Bool().Draw(w.t, "run arrives"); {
	case !arrives || w.chance(10, "target dies"):
		w.emit(evSilent, vm, errModel)
	case w.chance(10, "its QEMU dies before") && v.src != "dead":
		v.dst = "none"
		w.emit(evRefused, vm, errModel)
	case w.chance(10, "refuses"):
		w.emit(evRefused, vm, errModel)
	case w.chance(10, "runs, and the word of it is lost"):
		v.dst = "runs"
		w.emit(evSilent, vm, errModel)
	default:
		v.dst = "runs"
		w.emit(evRunning, vm, nil)
	}
	if w.chance(10, "a late word") {
		w.emit(evFailed, vm, errModel)
	}
}

// resolve gathers what can be known, now or never, and asks the table.
func (w *world) resolve(a action) {
	v := w.vms[a.vm]
	e := evidence{converged: true, runLogged: a.run, sourceKnown: w.answers(a.vm) || v.src == "dead",
		targetKnown: rapid.Bool().Draw(w.t, "target answers")}
	switch v.src {
	case "runs":
		e.source = sourceRuns
	case "held":
		e.source, e.pausedByUs = sourcePaused, true
	case "completed":
		e.source = sourceCompleted
	default:
		e.source = sourceGone
	}
	e.target = map[string]control.VMState{"none": control.StateAborted, "waits": control.StateHeld, "loaded": control.StateLoaded,
		"runs": control.StateRunning}[v.dst]
	d := decide(e)
	w.trace = append(w.trace, fmt.Sprintf("  evidence %+v: %+v", e, d))
	w.pending = append(w.pending, event{kind: evVerdict, vm: a.vm, verdict: d, err: errAway})
}

// takeBack ends the migration. A QEMU that does not answer goes on by itself all the same, once its socket is closed.
func (w *world) takeBack(vm int) {
	v := &w.vms[vm]
	if v.src == "held" || v.src == "completed" && w.answers(vm) {
		v.src = "runs"
	}
	v.migrating = false
	if !w.answers(vm) {
		w.emit(evSourceUnsure, vm, errModel)
		return
	}
	v.back = true
	w.forget(vm)
	if v.src == "off" {
		w.emit(evPoweredOff, vm, errModel)
		return
	}
	w.emit(evSourceRuns, vm, nil)
}

// forget makes a target give a VM up, unless it runs it.
func (w *world) forget(vm int) {
	v := &w.vms[vm]
	if w.reachable(vm) && v.dst != "runs" {
		if v.src == "dead" && v.dst == "loaded" && !v.back {
			w.t.Fatalf("vm %d: the only copy is given up", vm)
		}
		v.dst = "none"
	}
}

// happen makes an event true in the model; false: it can no longer happen.
func (w *world) happen(e event) bool {
	v := &w.vms[e.vm]
	switch e.kind {
	case evStopped:
		if !v.migrating || v.src != "runs" {
			return false
		}
		v.src = "held"
	case evLoaded:
		if !v.migrating || v.dst != "waits" || !w.reachable(e.vm) || v.src == "off" {
			return false
		}
		if v.dst = "loaded"; v.src != "dead" {
			v.src = "held"
		}
	case evStalled:
		return v.migrating
	}
	return true
}

// disturb may invent a fault.
func (w *world) disturb() (event, bool) {
	switch rapid.IntRange(0, 24).Draw(w.t, "disturb") {
	case 0:
		h := rapid.IntRange(0, len(w.lost)-1).Draw(w.t, "lost host")
		w.lost[h] = true
		return event{kind: evTargetLost, host: h, err: errAway}, true
	case 1:
		return event{kind: evCancel, err: ErrCancelled}, true
	case 2:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "failed vm")
		if w.c.vms[vm].state.retreats() {
			return event{kind: evFailed, vm: vm, err: errModel}, true
		}
	case 3:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "dead source")
		if v := &w.vms[vm]; v.src != "gone" && v.src != "dead" && w.c.vms[vm].host >= 0 {
			v.src = "dead"
			return event{kind: evSourceGone, vm: vm, err: errModel}, true
		}
	case 4:
		w.vms[rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "deaf source")].deaf = true
	case 5:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "powered off")
		if v := &w.vms[vm]; v.src == "runs" && w.c.vms[vm].state <= converging && w.c.vms[vm].host >= 0 {
			v.src = "off"
			return event{kind: evPoweredOff, vm: vm, err: errModel}, true
		}
	}
	return event{}, false
}

func (w *world) feed(e event) {
	w.trace = append(w.trace, fmt.Sprintf("event %s vm %d host %d", e.kind, e.vm, e.host))
	actions, _ := w.c.step(e)
	for _, a := range actions {
		w.act(a)
		w.check()
	}
}

func (w *world) check() {
	for i, v := range w.vms {
		if v.src == "runs" && v.dst == "runs" {
			w.t.Fatalf("vm %d runs on both sides", i)
		}
		if v.src == "gone" && v.dst != "runs" {
			w.t.Fatalf("vm %d is lost: source gone, target %s", i, v.dst)
		}
		if v.src == "off" && v.dst == "runs" {
			w.t.Fatalf("vm %d runs again, its guest had powered it off", i)
		}
	}
}

func (w *world) play() {
	for _, a := range w.c.start() {
		w.act(a)
	}
	for len(w.pending) > 0 {
		if e, ok := w.disturb(); ok {
			w.feed(e)
			continue
		}
		i := rapid.IntRange(0, len(w.pending)-1).Draw(w.t, "next")
		e := w.pending[i]
		w.pending = append(w.pending[:i], w.pending[i+1:]...)
		if w.happen(e) {
			w.feed(e)
		}
	}
}

// lastWord makes what never came come: targets that keep silent are declared lost, then the rest is cancelled.
func (w *world) lastWord() {
	for h := range w.lost {
		w.lost[h] = true
		w.feed(event{kind: evTargetLost, host: h, err: errAway})
	}
	w.drain()
	w.feed(event{kind: evCancel, err: ErrCancelled})
	w.drain()
}

func (w *world) drain() {
	for len(w.pending) > 0 {
		e := w.pending[0]
		w.pending = w.pending[1:]
		if w.happen(e) {
			w.feed(e)
		}
	}
}

// TestInvariant1VMRunsInAtMostOnePlace is invariants 1 and 2 in the model: whatever happens in whatever
// order, no VM runs twice, none is lost, and every VM ends in a final state that is true.
func TestInvariant1VMRunsInAtMostOnePlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		defer func() {
			if t.Failed() {
				for _, l := range w.trace {
					t.Log(l)
				}
			}
		}()
		w.play()
		w.lastWord()
		for i, v := range w.vms {
			w.checkEnd(i, v)
		}
	})
}

func (w *world) checkEnd(i int, v modelVM) {
	state := w.c.vms[i].state
	truth := map[vmState]bool{
		evacuated: v.dst == "runs" && v.src != "runs",
		stays:     v.src == "runs" && v.dst != "runs",
		ended:     (v.src == "dead" || v.src == "off") && v.dst != "runs" && (v.dst != "loaded" || v.back),
		doubt:     v.runSent || v.deaf || v.src == "dead",
	}
	if !truth[state] || !v.final {
		w.t.Fatalf("vm %d ends %s (told %v): source %s, target %s", i, state, v.final, v.src, v.dst)
	}
}

// happyPath takes one VM from start to the wanted state.
func happyPath(t *testing.T, c *core, until vmState) {
	t.Helper()
	c.start()
	for _, e := range []event{{kind: evPrepared}, {kind: evBulkDone}, {kind: evStopped}, {kind: evLoaded}, {kind: evVerified},
		{kind: evLogged, record: recCommit}, {kind: evCompleted}, {kind: evLogged, record: recRun}, {kind: evRunning}, {kind: evLogged, record: recDone}} {
		if c.vms[0].state == until {
			return
		}
		if _, err := c.step(e); err != nil {
			t.Fatal(err)
		}
	}
	if c.vms[0].state != until {
		t.Fatalf("ended %s, want %s", c.vms[0].state, until)
	}
}

// TestInvariant2SourceRunsOnUnlessCommitted: before commit a lost target or a cancel gives the VM back to
// the source; after Run was sent nothing does.
func TestInvariant2SourceRunsOnUnlessCommitted(t *testing.T) {
	for _, s := range []vmState{preparing, prepared, converging, switching, verifying, committing, released, starting, launched} {
		c := newCore([]int{0}, 1, []int{0}, SendConfig{})
		happyPath(t, c, s)
		actions, _ := c.step(event{kind: evTargetLost, err: errAway})
		want := map[bool]vmState{true: aborting, false: s}[s.retreats()]
		if s == launched {
			want = resolving
		}
		if c.vms[0].state != want {
			t.Errorf("%s, target lost: state %s, want %s (%v)", s, c.vms[0].state, want, actions)
		}
	}
}

func TestParallelBoundsConverge(t *testing.T) {
	c := newCore([]int{0, 0, 0}, 1, []int{2, 0, 1}, SendConfig{Parallel: 2})
	c.start()
	var started []int
	feed := func(e event) {
		actions, err := c.step(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			if a.kind == acConverge {
				started = append(started, a.vm)
			}
		}
	}
	for vm := range 3 {
		feed(event{kind: evPrepared, vm: vm})
	}
	for vm := range 3 {
		feed(event{kind: evBulkDone, vm: vm})
	}
	if fmt.Sprint(started) != "[0 1]" {
		t.Fatalf("started %v: want the two that were ready first", started)
	}
	feed(event{kind: evFailed, vm: 0, err: errModel})
	if len(started) != 2 {
		t.Fatal("a slot was taken while its VM was still being taken back")
	}
	feed(event{kind: evSourceRuns, vm: 0})
	if fmt.Sprint(started) != "[0 1 2]" {
		t.Fatalf("started %v: the slot was not used again", started)
	}
}

// TestOnlyTheRecordThatIsAwaitedCounts: word that another record is on disk moves nothing.
func TestOnlyTheRecordThatIsAwaitedCounts(t *testing.T) {
	for s, awaited := range recordOf {
		if s == undoing {
			continue // not on the happy path
		}
		for _, k := range []recordKind{"", recPrepare, recCommit, recRun, recDone, recAbort} {
			c := newCore([]int{0}, 1, []int{0}, SendConfig{})
			happyPath(t, c, s)
			if k == awaited {
				continue
			}
			if _, err := c.step(event{kind: evLogged, record: k}); !errors.Is(err, errIllegal) || c.vms[0].state != s {
				t.Errorf("%s, record %q: state %s, %v", s, k, c.vms[0].state, err)
			}
		}
	}
}

// TestOnlyCopyIsNeverGivenUp: once the target has all of a VM whose source QEMU has died, there is only forward.
func TestOnlyCopyIsNeverGivenUp(t *testing.T) {
	for _, s := range []vmState{verifying, committing, released, starting, launched} {
		c := newCore([]int{0}, 1, []int{0}, SendConfig{})
		happyPath(t, c, s)
		actions, err := c.step(event{kind: evSourceGone, err: errModel})
		for i := 0; err == nil && !c.done() && i < 10; i++ {
			for _, a := range actions {
				switch a.kind {
				case acAbort, acForget, acResume, acRelease:
					t.Fatalf("%s, source QEMU dead: %s", s, a.kind)
				}
			}
			if k := recordOf[c.vms[0].state]; k != "" {
				actions, err = c.step(event{kind: evLogged, record: k})
			} else {
				actions, err = c.step(event{kind: evRunning})
			}
		}
		if err != nil || c.vms[0].state != evacuated {
			t.Errorf("%s, source QEMU dead: %s, %v", s, c.vms[0].state, err)
		}
	}
}

// TestLateFailureIsNoRefusal: what a target says may have been on its way when Run was sent.
func TestLateFailureIsNoRefusal(t *testing.T) {
	c := newCore([]int{0}, 1, []int{0}, SendConfig{})
	happyPath(t, c, launched)
	if _, err := c.step(event{kind: evFailed, err: errModel}); err != nil || c.vms[0].state != resolving {
		t.Errorf("state %s, %v: want both sides asked", c.vms[0].state, err)
	}
}
