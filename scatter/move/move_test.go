package move

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// standing is an evacuation of three VMs on two hosts, as it is when targets speak, without any connection.
func standing(t *testing.T) *Evacuation {
	t.Helper()
	e := evacuationOf(mustConfig(t))
	e.Log = e.Cfg.Log
	e.Links = []*wire.Link{linkTo("h0"), linkTo("h1")}
	for i, host := range []int{0, 1, 0} {
		v := vmCalled(string(rune('a' + i)))
		v.Index, v.Number, v.Host, v.Blocks = i, i, host, make([]system.RAMBlock, 2)
		e.VMs = append(e.VMs, v)
	}
	e.migrants = migrantsOf(e.VMs)
	e.moving.Store(true)
	return e
}

// posted are the events that wait for the core.
func (e *Evacuation) posted() (kinds []string) {
	for _, ev := range e.Inbox.Take() {
		kinds = append(kinds, ev.Kind.String())
	}
	return kinds
}

func TestTargetsWords(t *testing.T) {
	e := standing(t)
	e.migrants[0].tailBegun.Store(true)
	e.migrants[0].toldToRun.Store(true)
	cases := []struct {
		host int
		m    control.Message
		want []string
	}{
		{1, control.Loaded{VM: 1}, []string{"failed"}}, // it was not sent
		{1, control.Running{VM: 1}, nil},               // nor told to run
		{0, control.Prepared{VM: 0, Zero: []bool{true}}, []string{"prepared"}},
		{0, control.Prepared{VM: 0, Zero: []bool{false, true}}, nil}, // said it before
		{1, control.Prepared{VM: 1, Zero: make([]bool, 99)}, []string{"prepared"}},
		{0, control.Loaded{VM: 0}, []string{"loaded"}},
		{0, control.Running{VM: 0}, []string{"running"}},
		{0, control.Failed{VM: 2, Error: "no"}, []string{"failed"}},
		{0, control.Failed{VM: 2, Error: "no", Refused: true}, []string{"refused"}},
		{0, control.Digested{VM: 0}, nil}, // nobody has asked
		{0, control.Hello{}, nil},
		{0, control.Examined{VM: 1 << 40}, nil},
		{0, control.Examined{VM: -1}, nil},
	}
	tried.Inputs(t, "word of a target", len(cases))
	for _, c := range cases {
		e.FromTarget(c.host, c.m)
		if got := e.posted(); !slices.Equal(got, c.want) {
			t.Errorf("%+v of host %d: %v, want %v", c.m, c.host, got, c.want)
		}
	}
	if v := e.migrants[0]; !slices.Equal(v.zero, []bool{true, false}) || !v.loaded.Load() || v.ran.IsZero() || len(e.migrants[1].zero) != 2 || e.migrants[1].loaded.Load() {
		t.Errorf("zero %v and %v, loaded %v, ran %v", v.zero, e.migrants[1].zero, v.loaded.Load(), v.ran)
	}
}

// TestTargetsSpeakForTheirOwn: a target's word about another's VM, or about none, changes nothing.
func TestTargetsSpeakForTheirOwn(t *testing.T) {
	e := standing(t)
	for _, vm := range []int{1, 3, -1, 1 << 40} {
		for _, m := range []control.Message{control.Prepared{VM: vm}, control.Loaded{VM: vm}, control.Running{VM: vm}, control.Digested{VM: vm}, control.Failed{VM: vm}} {
			e.FromTarget(0, m)
		}
	}
	if got := e.posted(); got != nil || e.migrants[1].loaded.Load() {
		t.Errorf("events %v", got)
	}
}

// TestGivenUpVMIsLeftAlone: what was about to be done to a VM when it was given up is not done any more. There is no QEMU
// behind these VMs that it could be done to.
func TestGivenUpVMIsLeftAlone(t *testing.T) {
	e := standing(t)
	v := e.migrants[0]
	v.Gone.Store(true)
	if err := v.pause(t.Context(), nil); err != nil {
		t.Error(err)
	}
	if err := (converging{e}).converge(t.Context(), v); err == nil || !strings.Contains(err.Error(), "was given up") {
		t.Errorf("got %v", err)
	}
	select {
	case <-v.ended: // who takes it back waits for this
	default:
		t.Error("converge has not ended")
	}
}

// TestEndJournal: the last records, and whether the journal has something to tell to a recovery.
func TestEndJournal(t *testing.T) {
	for _, c := range []struct {
		name   string
		states []handover.State
		lost   bool // host of the first VM, in converge
		kinds  []handover.RecordKind
		gone   bool
	}{
		{"all is clear", []handover.State{handover.Evacuated, handover.Stays, handover.Evacuated}, false, nil, true},
		{"one is in doubt", []handover.State{handover.Evacuated, handover.Doubt, handover.Stays}, false, []handover.RecordKind{handover.RecDone, handover.RecStayed}, false},
		{"a lost target may hold one", []handover.State{handover.Stays, handover.Stays, handover.Evacuated}, true, []handover.RecordKind{handover.RecStayed, handover.RecStayed, handover.RecDone}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := standing(t)
			path := filepath.Join(t.TempDir(), "j")
			e.Journal, _ = enginekit.NewJournal(t, path)
			e.core = handover.NewCore([]int{0, 1, 0}, []int{0, 1, 2}, e.Cfg.CoreOptions())
			for i, s := range c.states {
				e.core.VMs[i].State = s
			}
			if c.lost {
				e.core.VMs[0].Lost, e.migrants[0].ended = errors.New("away"), make(chan struct{})
			}
			e.endJournal()
			if system.Exists(path) == c.gone {
				t.Fatalf("journal there: %v", !c.gone)
			}
			if c.gone {
				return
			}
			var kinds []handover.RecordKind
			for _, r := range enginekit.ReadJournal(t, path) {
				kinds = append(kinds, r.Kind)
				if r.Untold != (c.lost && r.VM == 0) {
					t.Errorf("record %+v", r)
				}
			}
			if !slices.Equal(kinds, c.kinds) {
				t.Errorf("records %v, want %v", kinds, c.kinds)
			}
		})
	}
}

// TestUnplacedEvents: an event of no VM or host of this run does not reach the core.
func TestUnplacedEvents(t *testing.T) {
	e := standing(t)
	for ev, want := range map[handover.Event]bool{
		{VM: 0, Host: 1}: false, {VM: 2}: false, {VM: 3}: true, {VM: -1}: true, {Host: 2}: true, {Host: -1}: true,
	} {
		if got := e.unplaced(ev); got != want {
			t.Errorf("%+v: %v", ev, got)
		}
	}
}
