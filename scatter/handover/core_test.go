package handover

import (
	"errors"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// world is a model of what the drivers, QEMU and the targets do. It answers actions with
// the events that the real ones could answer, in any order, and knows for each VM who runs it.
type world struct {
	t       *rapid.T
	c       *Core
	vms     []modelVM
	lost    []bool // host is unreachable for good
	pending []Event
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
	post      bool // it takes over before it has all of its pages
	lacks     bool // the target does not have all of them, the source does
	logged    map[RecordKind]bool
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
	how := CoreOptions{
		Parallel:   rapid.IntRange(1, 3).Draw(t, "parallel"),
		First:      rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "first"),
		AtDeadline: rapid.SampledFrom([]model.OnStall{model.StallKeep, model.StallPause, model.StallPost}).Draw(t, "deadline"),
		OnStall:    rapid.SampledFrom([]model.OnStall{model.StallKeep, model.StallPause}).Draw(t, "stall"),
	}
	w := &world{t: t, c: NewCore(host, order, how), lost: make([]bool, hosts), vms: make([]modelVM, n)}
	for i := range w.vms {
		w.vms[i] = modelVM{src: "runs", dst: "none", logged: map[RecordKind]bool{}, post: rapid.Bool().Draw(t, "post-copy")}
	}
	return w
}

func (w *world) emit(k EventKind, vm int, err error) {
	w.pending = append(w.pending, Event{Kind: k, VM: vm, Err: err})
}

func (w *world) chance(n int, what string) bool { return rapid.IntRange(0, n-1).Draw(w.t, what) == 0 }

func (w *world) reachable(vm int) bool { return !w.lost[w.c.VMs[vm].host] }

// act is what the drivers do with an action.
func (w *world) act(a Action) {
	w.trace = append(w.trace, fmt.Sprintf("  action %s vm %d %s", a.Kind, a.VM, a.Record))
	v := &w.vms[a.VM]
	switch a.Kind {
	case AcPrepare:
		if w.reachable(a.VM) {
			v.dst = "waits"
			w.emit(EvPrepared, a.VM, nil)
		}
	case AcBulk:
		for i := range w.vms {
			w.emit(EvBulkDone, i, nil)
		}
	case AcConverge:
		v.migrating = true
		w.emit(EvStopped, a.VM, nil)
		w.emit(EvStalled, a.VM, errModel)
		w.pending = append(w.pending, Event{Kind: EvLoaded, VM: a.VM, Lacks: v.post})
		w.emit(EvFilled, a.VM, nil)
	case AcTakeOver, AcPause:
		if v.migrating && v.src == "runs" {
			v.src = "held"
		}
	case AcVerify:
		if w.chance(10, "differs") || !w.answers(a.VM) {
			w.emit(EvFailed, a.VM, errModel)
			return
		}
		v.verified = true
		w.emit(EvVerified, a.VM, nil)
	case AcLog:
		w.log(a)
	case AcRelease:
		w.release(a.VM)
	case AcRun:
		w.run(a.VM)
	case AcFill:
		if v.dst != "runs" || v.src == "runs" {
			w.t.Fatalf("vm %d: to be filled with source %s, target %s", a.VM, v.src, v.dst)
		}
		w.emit(rapid.SampledFrom([]EventKind{EvFilled, EvFilled, EvUnfilled}).Draw(w.t, "filling"), a.VM, errModel)
	case AcResolve:
		w.resolve(a)
	case AcAbort:
		w.takeBack(a.VM)
	case AcForget:
		w.forget(a.VM)
	case AcResume:
		w.takeBack(a.VM)
	case AcQuitSource:
		if v.dst != "runs" || v.lacks || !v.logged[RecDone] && !v.logged["full"] {
			w.t.Fatalf("vm %d: source QEMU ended, target %s, records %v", a.VM, v.dst, v.logged)
		}
		if v.src != "dead" {
			v.src = "gone"
		}
	case AcFinal:
		v.final = true
	}
}

// answers tells whether the source QEMU does.
func (w *world) answers(vm int) bool { return !w.vms[vm].deaf && w.vms[vm].src != "dead" }

func (w *world) log(a Action) {
	if w.chance(10, "log fails") {
		w.vms[a.VM].logged["full"] = true
		w.pending = append(w.pending, Event{Kind: EvFailed, VM: a.VM, Record: a.Record, Err: errModel})
		return
	}
	w.vms[a.VM].logged[a.Record] = true
	w.pending = append(w.pending, Event{Kind: EvLogged, VM: a.VM, Record: a.Record})
	if w.chance(20, "logged twice") {
		w.pending = append(w.pending, Event{Kind: EvLogged, VM: a.VM, Record: a.Record})
	}
}

func (w *world) release(vm int) {
	v := &w.vms[vm]
	if !v.logged[RecCommit] || !v.verified || v.dst != "loaded" {
		w.t.Fatalf("vm %d: released with target %s, records %v", vm, v.dst, v.logged)
	}
	fails := w.chance(10, "completion fails")
	switch {
	case v.src == "dead":
		w.emit(EvFailed, vm, errModel)
		return
	case fails:
		v.src, v.migrating = "runs", false
	default:
		v.src, v.migrating = "completed", false
	}
	if fails || v.deaf { // deaf: nobody hears which of both it was
		w.emit(EvFailed, vm, errModel)
		return
	}
	w.emit(EvCompleted, vm, nil)
}

func (w *world) run(vm int) {
	v := &w.vms[vm]
	if v.src != "completed" && v.src != "dead" || v.src != "dead" && !v.logged[RecRun] || v.dst != "loaded" {
		w.t.Fatalf("vm %d: Run with source %s, target %s, records %v", vm, v.src, v.dst, v.logged)
	}
	if v.lacks && v.src == "dead" {
		w.t.Fatalf("vm %d: Run of a VM that lacks what nobody has", vm)
	}
	v.runSent = true
	switch arrives := w.reachable(vm) || rapid.Bool().Draw(w.t, "run arrives"); {
	case !arrives || w.chance(10, "target dies"):
		w.emit(EvSilent, vm, errModel)
	case w.chance(10, "its QEMU dies before") && v.src != "dead":
		v.dst = "none"
		w.emit(EvRefused, vm, errModel)
	case w.chance(10, "refuses"):
		w.emit(EvRefused, vm, errModel)
	case w.chance(10, "runs, and the word of it is lost"):
		v.dst = "runs"
		w.emit(EvSilent, vm, errModel)
	default:
		v.dst = "runs"
		w.emit(EvRunning, vm, nil)
	}
	if w.chance(10, "a late word") {
		w.emit(rapid.SampledFrom([]EventKind{EvFailed, EvSilent}).Draw(w.t, "which"), vm, errModel)
	}
}

// resolve gathers what can be known, now or never, and asks the table.
func (w *world) resolve(a Action) {
	v := w.vms[a.VM]
	e := Evidence{Converged: true, RunLogged: a.Run, SourceKnown: w.answers(a.VM) || v.src == "dead",
		TargetKnown: rapid.Bool().Draw(w.t, "target answers")}
	switch v.src {
	case "runs":
		e.Source = SourceRuns
	case "held":
		e.Source, e.PausedByUs = SourcePaused, true
	case "completed":
		e.Source = SourceCompleted
	default:
		e.Source = SourceGone
	}
	e.Target = map[string]control.VMState{"none": control.StateAborted, "waits": control.StateHeld, "loaded": control.StateLoaded,
		"runs": control.StateRunning}[v.dst]
	switch {
	case v.lacks && v.dst == "loaded":
		e.Target = control.StateLacking
	case v.lacks && v.dst == "runs":
		e.Target = control.StateFilling
	}
	d := Decide(e)
	w.trace = append(w.trace, fmt.Sprintf("  evidence %+v: %+v", e, d))
	w.pending = append(w.pending, Event{Kind: EvVerdict, VM: a.VM, Verdict: d, Err: errAway})
}

// takeBack ends the migration. A QEMU that does not answer goes on by itself all the same, once its socket is closed.
func (w *world) takeBack(vm int) {
	v := &w.vms[vm]
	if v.src == "held" || v.src == "completed" && w.answers(vm) {
		v.src = "runs"
	}
	v.migrating = false
	if !w.answers(vm) {
		w.emit(EvSourceUnsure, vm, errModel)
		return
	}
	v.back = true
	w.forget(vm)
	if v.src == "off" {
		w.emit(EvPoweredOff, vm, errModel)
		return
	}
	w.emit(EvSourceRuns, vm, nil)
}

// forget makes a target give a VM up, unless it runs it.
func (w *world) forget(vm int) {
	v := &w.vms[vm]
	if w.reachable(vm) && v.dst != "runs" {
		if v.src == "dead" && v.dst == "loaded" && !v.back && !v.lacks {
			w.t.Fatalf("vm %d: the only copy is given up", vm)
		}
		v.dst = "none"
	}
}

// happen makes an event true in the model; false: it can no longer happen.
func (w *world) happen(e Event) bool {
	v := &w.vms[e.VM]
	switch e.Kind {
	case EvStopped:
		if !v.migrating || v.src != "runs" {
			return false
		}
		v.src = "held"
	case EvLoaded:
		if !v.migrating || v.dst != "waits" || !w.reachable(e.VM) || v.src == "off" {
			return false
		}
		if v.dst, v.lacks = "loaded", e.Lacks; v.src != "dead" {
			v.src = "held"
		}
	case EvFilled:
		if !v.lacks || v.dst == "none" || v.src == "dead" || v.src == "runs" || !w.reachable(e.VM) {
			return false
		}
		v.lacks = false
	case EvStalled:
		return v.migrating
	}
	return true
}

// disturb may invent a fault.
func (w *world) disturb() (Event, bool) {
	switch rapid.IntRange(0, 24).Draw(w.t, "disturb") {
	case 0:
		h := rapid.IntRange(0, len(w.lost)-1).Draw(w.t, "lost host")
		w.lost[h] = true
		return Event{Kind: EvTargetLost, Host: h, Err: errAway}, true
	case 1:
		return Event{Kind: rapid.SampledFrom([]EventKind{EvCancel, EvDeadline}).Draw(w.t, "end"), Err: model.ErrCancelled}, true
	case 2:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "failed vm")
		if w.c.VMs[vm].State.retreats() {
			return Event{Kind: EvFailed, VM: vm, Err: errModel}, true
		}
	case 3:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "dead source")
		if v := &w.vms[vm]; v.src != "gone" && v.src != "dead" && w.c.VMs[vm].host >= 0 {
			v.src = "dead"
			return Event{Kind: EvSourceGone, VM: vm, Err: errModel}, true
		}
	case 4:
		w.vms[rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "deaf source")].deaf = true
	case 5:
		vm := rapid.IntRange(0, len(w.vms)-1).Draw(w.t, "powered off")
		if v := &w.vms[vm]; v.src == "runs" && w.c.VMs[vm].State <= Converging && w.c.VMs[vm].host >= 0 {
			v.src = "off"
			return Event{Kind: EvPoweredOff, VM: vm, Err: errModel}, true
		}
	}
	return Event{}, false
}

func (w *world) feed(e Event) {
	w.trace = append(w.trace, fmt.Sprintf("event %s vm %d host %d", e.Kind, e.VM, e.Host))
	actions, _ := w.c.Step(e)
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
		if v.src == "gone" && (v.dst != "runs" || v.lacks) {
			w.t.Fatalf("vm %d is lost: source gone, target %s", i, v.dst)
		}
		if v.src == "off" && v.dst == "runs" {
			w.t.Fatalf("vm %d runs again, its guest had powered it off", i)
		}
	}
}

func (w *world) play() {
	for _, a := range w.c.Start() {
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

// lastWord makes what never came come: targets that keep silent are declared lost, who sends pages to them loses patience, then the rest is cancelled.
func (w *world) lastWord() {
	for h := range w.lost {
		w.lost[h] = true
		w.feed(Event{Kind: EvTargetLost, Host: h, Err: errAway})
	}
	w.drain()
	for range maxResolves {
		for i := range w.vms {
			if w.c.VMs[i].State == Filling {
				w.feed(Event{Kind: EvUnfilled, VM: i, Err: errAway})
				w.drain()
			}
		}
	}
	w.feed(Event{Kind: EvCancel, Err: model.ErrCancelled})
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
	state := w.c.VMs[i].State
	truth := map[State]bool{
		Evacuated: v.dst == "runs" && v.src != "runs" && !v.lacks,
		Stays:     v.src == "runs" && v.dst != "runs",
		Ended:     (v.src == "dead" || v.src == "off") && v.dst != "runs" && (v.dst != "loaded" || v.back || v.lacks),
		Doubt:     v.runSent || v.deaf || v.src == "dead",
	}
	if !truth[state] || !v.final {
		w.t.Fatalf("vm %d ends %s (told %v): source %s, target %s", i, state, v.final, v.src, v.dst)
	}
}

// happyPath takes one VM from start to the wanted state.
func happyPath(t *testing.T, c *Core, until State) {
	t.Helper()
	c.Start()
	for _, e := range []Event{{Kind: EvPrepared}, {Kind: EvBulkDone}, {Kind: EvStopped}, {Kind: EvLoaded}, {Kind: EvVerified},
		{Kind: EvLogged, Record: RecCommit}, {Kind: EvCompleted}, {Kind: EvLogged, Record: RecRun}, {Kind: EvRunning}, {Kind: EvLogged, Record: RecDone}} {
		if c.VMs[0].State == until {
			return
		}
		if _, err := c.Step(e); err != nil {
			t.Fatal(err)
		}
	}
	if c.VMs[0].State != until {
		t.Fatalf("ended %s, want %s", c.VMs[0].State, until)
	}
}

// TestInvariant2SourceRunsOnUnlessCommitted: before commit a lost target or a cancel gives the VM back to
// the source; after Run was sent nothing does.
func TestInvariant2SourceRunsOnUnlessCommitted(t *testing.T) {
	for _, s := range []State{Preparing, Prepared, Converging, Switching, Verifying, Committing, Released, Starting, Launched} {
		c := NewCore([]int{0}, []int{0}, CoreOptions{})
		happyPath(t, c, s)
		actions, _ := c.Step(Event{Kind: EvTargetLost, Err: errAway})
		want := map[bool]State{true: Aborting, false: s}[s.retreats()]
		if s == Launched {
			want = Resolving
		}
		if c.VMs[0].State != want {
			t.Errorf("%s, target lost: state %s, want %s (%v)", s, c.VMs[0].State, want, actions)
		}
	}
}

func TestParallelBoundsConverge(t *testing.T) {
	c := NewCore([]int{0, 0, 0}, []int{2, 0, 1}, CoreOptions{Parallel: 2})
	c.Start()
	var started []int
	feed := func(e Event) {
		actions, err := c.Step(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range actions {
			if a.Kind == AcConverge {
				started = append(started, a.VM)
			}
		}
	}
	for vm := range 3 {
		feed(Event{Kind: EvPrepared, VM: vm})
	}
	for vm := range 3 {
		feed(Event{Kind: EvBulkDone, VM: vm})
	}
	if fmt.Sprint(started) != "[0 1]" {
		t.Fatalf("started %v: want the two that were ready first", started)
	}
	feed(Event{Kind: EvFailed, VM: 0, Err: errModel})
	if len(started) != 2 {
		t.Fatal("a slot was taken while its VM was still being taken back")
	}
	feed(Event{Kind: EvSourceRuns, VM: 0})
	if fmt.Sprint(started) != "[0 1 2]" {
		t.Fatalf("started %v: the slot was not used again", started)
	}
}

// TestOnlyTheRecordThatIsAwaitedCounts: word that another record is on disk moves nothing.
func TestOnlyTheRecordThatIsAwaitedCounts(t *testing.T) {
	for s, awaited := range recordOf {
		if s == Undoing {
			continue // not on the happy path
		}
		for _, k := range []RecordKind{"", RecPrepare, RecCommit, RecRun, RecDone, RecAbort} {
			c := NewCore([]int{0}, []int{0}, CoreOptions{})
			happyPath(t, c, s)
			if k == awaited {
				continue
			}
			if _, err := c.Step(Event{Kind: EvLogged, Record: k}); !errors.Is(err, errIllegal) || c.VMs[0].State != s {
				t.Errorf("%s, record %q: state %s, %v", s, k, c.VMs[0].State, err)
			}
		}
	}
}

// TestLateSilence: that Run has no answer says nothing of a VM whose target has said that it runs it, and is still being filled.
func TestLateSilence(t *testing.T) {
	c := NewCore([]int{0}, []int{0}, CoreOptions{})
	c.VMs[0].State, c.VMs[0].lacks = Filling, true
	if actions, err := c.VMs[0].step(Event{Kind: EvSilent, Err: errModel}); !errors.Is(err, errIllegal) || len(actions) > 0 || c.VMs[0].State != Filling {
		t.Errorf("it is %s, %v, %v", c.VMs[0].State, actions, err)
	}
}

// TestOnlyCopyIsNeverGivenUp: once the target has all of a VM whose source QEMU has died, there is only forward.
func TestOnlyCopyIsNeverGivenUp(t *testing.T) {
	for _, s := range []State{Verifying, Committing, Released, Starting, Launched} {
		c := NewCore([]int{0}, []int{0}, CoreOptions{})
		happyPath(t, c, s)
		actions, err := c.Step(Event{Kind: EvSourceGone, Err: errModel})
		for i := 0; err == nil && !c.Done() && i < 10; i++ {
			for _, a := range actions {
				switch a.Kind {
				case AcAbort, AcForget, AcResume, AcRelease:
					t.Fatalf("%s, source QEMU dead: %s", s, a.Kind)
				}
			}
			if k := recordOf[c.VMs[0].State]; k != "" {
				actions, err = c.Step(Event{Kind: EvLogged, Record: k})
			} else {
				actions, err = c.Step(Event{Kind: EvRunning})
			}
		}
		if err != nil || c.VMs[0].State != Evacuated {
			t.Errorf("%s, source QEMU dead: %s, %v", s, c.VMs[0].State, err)
		}
	}
}

// TestLateFailureIsNoRefusal: what a target says may have been on its way when Run was sent.
func TestLateFailureIsNoRefusal(t *testing.T) {
	c := NewCore([]int{0}, []int{0}, CoreOptions{})
	happyPath(t, c, Launched)
	if _, err := c.Step(Event{Kind: EvFailed, Err: errModel}); err != nil || c.VMs[0].State != Resolving {
		t.Errorf("state %s, %v: want both sides asked", c.VMs[0].State, err)
	}
}
