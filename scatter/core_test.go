package scatter

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"
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
	src       string // runs, held, completed, gone
	dst       string // none, waits, loaded, runs
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
		v.verified = true
		w.emit(evVerified, a.vm, nil)
	case acLog:
		w.log(a)
	case acRelease:
		w.release(a.vm)
	case acRun:
		w.run(a.vm)
	case acResolve:
		w.resolve(a.vm)
	case acAbort:
		w.takeBack(a.vm)
	case acResume:
		w.takeBack(a.vm)
	case acQuitSource:
		if v.dst != "runs" {
			w.t.Fatalf("vm %d: source QEMU ended, target %s", a.vm, v.dst)
		}
		v.src = "gone"
	case acFinal:
		v.final = true
	}
}

func (w *world) log(a action) {
	if rapid.IntRange(0, 9).Draw(w.t, "log fails") == 0 {
		w.emit(evFailed, a.vm, errModel)
		return
	}
	w.vms[a.vm].logged[a.record] = true
	w.emit(evLogged, a.vm, nil)
}

func (w *world) release(vm int) {
	v := &w.vms[vm]
	if !v.logged[recCommit] || !v.verified || v.dst != "loaded" {
		w.t.Fatalf("vm %d: released with target %s, records %v", vm, v.dst, v.logged)
	}
	if rapid.IntRange(0, 9).Draw(w.t, "completion fails") == 0 {
		v.src, v.migrating = "runs", false
		w.emit(evFailed, vm, errModel)
		return
	}
	v.src, v.migrating = "completed", false
	w.emit(evCompleted, vm, nil)
}

func (w *world) run(vm int) {
	v := &w.vms[vm]
	if v.src != "completed" || !v.logged[recRun] {
		w.t.Fatalf("vm %d: Run with source %s, records %v", vm, v.src, v.logged)
	}
	v.runSent = true
	switch arrives := w.reachable(vm) || rapid.Bool().Draw(w.t, "run arrives"); {
	case !arrives:
	case rapid.IntRange(0, 9).Draw(w.t, "refuses") == 0:
		v.dst = "none"
		w.emit(evRefused, vm, errModel)
	default:
		v.dst = "runs"
		w.emit(evRunning, vm, nil)
	}
}

func (w *world) resolve(vm int) {
	switch {
	case rapid.Bool().Draw(w.t, "silent"):
		w.emit(evTargetSilent, vm, errAway)
	case w.vms[vm].dst == "runs":
		w.emit(evRunning, vm, nil)
	case w.vms[vm].dst == "loaded":
		w.emit(evTargetHolds, vm, nil)
	default:
		w.emit(evRefused, vm, errAway)
	}
}

func (w *world) takeBack(vm int) {
	v := &w.vms[vm]
	if v.src != "gone" {
		v.src, v.migrating = "runs", false
	}
	if w.reachable(vm) && v.dst != "runs" {
		v.dst = "none"
	}
	w.emit(evSourceRuns, vm, nil)
}

// happen makes an event true in the model; false: it can no longer happen.
func (w *world) happen(e event) bool {
	v := &w.vms[e.vm]
	switch e.kind {
	case evStopped:
		if !v.migrating {
			return false
		}
		v.src = "held"
	case evLoaded:
		if !v.migrating || v.dst != "waits" || !w.reachable(e.vm) {
			return false
		}
		v.src, v.dst = "held", "loaded"
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
		doubt:     v.runSent && v.src != "runs",
	}
	if !truth[state] || !v.final {
		w.t.Fatalf("vm %d ends %s (told %v): source %s, target %s", i, state, v.final, v.src, v.dst)
	}
}

// happyPath takes one VM from start to the wanted state.
func happyPath(t *testing.T, c *core, until vmState) {
	t.Helper()
	c.start()
	for _, k := range []eventKind{evPrepared, evBulkDone, evStopped, evLoaded, evVerified, evLogged, evCompleted, evLogged, evRunning} {
		if c.vms[0].state == until {
			return
		}
		if _, err := c.step(event{kind: k}); err != nil {
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
