package handover

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
)

// everyEvidence calls f with all that can be found after a crash.
func everyEvidence(f func(Evidence)) {
	for _, source := range []SourceState{"", SourceRuns, SourcePaused, SourceStill, SourceCompleted, SourceGone} {
		for _, target := range []control.VMState{"", control.StateUnknown, control.StateHeld, control.StateLoading,
			control.StateLoaded, control.StateLaunching, control.StateRunning, control.StateEnded, control.StateAborted} {
			for bits := range 16 {
				bit := func(n int) bool { return bits>>n&1 == 1 }
				f(Evidence{Source: source, SourceKnown: source != "", Target: target, TargetKnown: target != "",
					Paused: bit(0), PausedByUs: bit(1), RunLogged: bit(2), Converged: bit(2) || bit(3)})
			}
		}
	}
}

// mayRunThere tells whether the target may be running the VM: it says so, or it was told to and nobody knows better. A receiver
// that has lost sight of a VM that runs says unknown.
func (e Evidence) mayRunThere() bool {
	switch {
	case !e.TargetKnown, e.Target == control.StateUnknown:
		return e.RunLogged
	}
	return e.Target == control.StateRunning || e.Target == control.StateLaunching || e.Target == control.StateEnded
}

// TestInvariant1RecoverNeverRunsTwiceNorLosesACopy holds the table of recovery to invariants 1 and 2, for all evidence there can be.
func TestInvariant1RecoverNeverRunsTwiceNorLosesACopy(t *testing.T) {
	everyEvidence(func(e Evidence) {
		v := Decide(e)
		fail := func(why string) { t.Errorf("%+v: %s: %+v", e, why, v) }
		sourceHolds := e.Source == SourceRuns || e.Source == SourcePaused || e.Source == SourceStill
		targetHolds := e.Target == control.StateLoaded || e.Target == control.StateRunning
		switch v.Do {
		case DoCont:
			if e.mayRunThere() {
				fail("the source is continued while the target may run it")
			}
			if e.Source != SourcePaused && e.Source != SourceStill && e.Source != SourceCompleted {
				fail("a source is continued that has nothing to continue")
			}
		case DoRun:
			if e.Target != control.StateLoaded {
				fail("the target is told to run what it does not hold")
			}
			if e.Source != SourceCompleted && e.Source != SourceGone {
				fail("the target runs while the source may run")
			}
		case DoQuitSource:
			if e.Target != control.StateRunning {
				fail("the source is ended without a copy that runs")
			}
			if !e.SourceKnown || e.Source == SourceRuns {
				fail("a source is ended that may run")
			}
		case DoAbort:
			if !sourceHolds && !(e.Source == SourceGone && e.Target != control.StateLoaded && e.Target != control.StateLoading) {
				fail("the target is told to forget what the source may not have")
			}
		}
		if v.Again && v.Do != DoNothing {
			fail("is decided, and is to be asked again")
		}
		switch v.Where {
		case model.OnSource:
			if !sourceHolds && v.Do != DoCont {
				fail("is said to be on a source that does not hold it")
			}
			if e.Target == control.StateRunning {
				fail("is said to be on the source, runs on the target")
			}
		case model.OnTarget:
			if !targetHolds {
				fail("is said to be on a target that does not hold it")
			}
			if e.Source == SourceRuns {
				fail("is said to be on the target, runs on the source")
			}
		case model.InDoubt:
			if v.Do != DoNothing {
				fail("something is done in doubt")
			}
		case model.Ended:
			if e.Source != SourceGone || targetHolds || e.Target == control.StateLoading || !e.TargetKnown && e.Converged {
				fail("is said to have ended, and may live")
			}
		default:
			fail("is nowhere")
		}
		if v.Text == "" {
			fail("says nothing")
		}
	})
}

// TestRecoverDecidesWhatIsClear: the rows of the table that an operator meets, with what comes of them.
func TestRecoverDecidesWhatIsClear(t *testing.T) {
	known := func(s SourceState, t control.VMState) Evidence {
		return Evidence{Source: s, SourceKnown: s != "", Target: t, TargetKnown: t != ""}
	}
	run := func(e Evidence) Evidence { e.RunLogged = true; return e }
	byUs := func(e Evidence) Evidence { e.PausedByUs = true; return e }
	found := func(e Evidence) Evidence { e.Paused = true; return e }
	conv := func(e Evidence) Evidence { e.Converged = true; return e }
	cases := []struct {
		name  string
		e     Evidence
		where model.Where
		do    Act
	}{
		{"crash in bulk", known(SourceRuns, control.StateHeld), model.OnSource, DoAbort},
		{"crash in bulk, target gone", known(SourceRuns, ""), model.OnSource, DoAbort},
		{"crash after --on-stall pause", byUs(known(SourcePaused, control.StateHeld)), model.OnSource, DoCont},
		{"the same, target gone", byUs(known(SourcePaused, "")), model.OnSource, DoCont},
		{"the operator paused it meanwhile", known(SourcePaused, control.StateHeld), model.OnSource, DoAbort},
		{"it was paused when it was found", found(byUs(known(SourcePaused, control.StateLoaded))), model.OnSource, DoAbort},
		{"crash before the switch-over goes on", known(SourceStill, control.StateHeld), model.OnSource, DoCont},
		{"the same, target gone", known(SourceStill, ""), model.OnSource, DoCont},
		{"crash between commit and Run", known(SourceCompleted, control.StateLoaded), model.OnTarget, DoRun},
		{"the same, Run was on its way", run(known(SourceCompleted, control.StateLoaded)), model.OnTarget, DoRun},
		{"the same, target restarted", known(SourceCompleted, control.StateUnknown), model.OnSource, DoCont},
		{"the same, target gone", known(SourceCompleted, ""), model.OnSource, DoCont},
		{"Run was on its way, target gone", run(known(SourceCompleted, "")), model.InDoubt, DoNothing},
		{"Run was on its way, target had given it up", run(known(SourceCompleted, control.StateAborted)), model.OnSource, DoCont},
		{"Run was on its way, target knows nothing", run(known(SourceCompleted, control.StateUnknown)), model.InDoubt, DoNothing},
		{"paused after Run was logged, target gone", run(byUs(known(SourcePaused, ""))), model.InDoubt, DoNothing},
		{"crash after Run", run(known(SourceCompleted, control.StateRunning)), model.OnTarget, DoQuitSource},
		{"crash after the source QEMU had ended", run(known(SourceGone, control.StateRunning)), model.OnTarget, DoQuitSource},
		{"the source QEMU died, the target has it all", known(SourceGone, control.StateLoaded), model.OnTarget, DoRun},
		{"the same, Run was on its way", run(known(SourceGone, control.StateLoaded)), model.OnTarget, DoRun},
		{"the source QEMU died, the target loads it", known(SourceGone, control.StateLoading), model.InDoubt, DoNothing},
		{"the source QEMU died before", known(SourceGone, control.StateHeld), model.Ended, DoAbort},
		{"the source QEMU died in bulk, target gone", known(SourceGone, ""), model.Ended, DoNothing},
		{"the source QEMU died in converge, target gone", conv(known(SourceGone, "")), model.InDoubt, DoNothing},
		{"it has ended there, too", run(known(SourceGone, control.StateEnded)), model.Ended, DoNothing},
		{"it ran there for a moment", run(known(SourceCompleted, control.StateEnded)), model.InDoubt, DoNothing},
		{"the target does not know yet", run(known(SourceCompleted, control.StateLaunching)), model.InDoubt, DoNothing},
		{"the target has run it and refuses", run(known(SourceGone, control.StateAborted)), model.Ended, DoAbort},
		{"the source QEMU is deaf", known("", control.StateLoaded), model.InDoubt, DoNothing},
		{"it runs on the target, the source QEMU is deaf", run(known("", control.StateRunning)), model.OnTarget, DoNothing},
		{"it runs twice", run(known(SourceRuns, control.StateRunning)), model.InDoubt, DoNothing},
		{"nobody answers", known("", ""), model.InDoubt, DoNothing},
	}
	for _, c := range cases {
		if v := Decide(c.e); v.Where != c.where || v.Do != c.do {
			t.Errorf("%s: %s, act %d (%s); want %s, act %d", c.name, v.Where, v.Do, v.Text, c.where, c.do)
		}
	}
}

func TestHistories(t *testing.T) {
	records := []Record{
		{Kind: RecBegin, TLSDir: "/tls"},
		{Kind: RecPrepare, VM: 1, Name: "b"},
		{Kind: RecPrepare, VM: 0, Name: "a"},
		{Kind: RecConverge, VM: 1, Name: "b", PID: 7},
		{Kind: RecPrepare, VM: 1, Name: "of another source", Peer: "p"},
		{Kind: RecPrepare, VM: 1, Name: "of another evacuation", Evacuation: "e"},
		{Kind: RecAbort, VM: 0, Name: "a"},
	}
	vms, begin := Histories(records)
	var got []string
	for _, h := range vms {
		got = append(got, h.Last.Name+" "+string(h.Last.Kind))
	}
	want := []string{"b converge", "a abort", "of another source prepare", "of another evacuation prepare"}
	if !cmp.Equal(got, want) || begin.TLSDir != "/tls" {
		t.Errorf("got %q, begin %+v", got, begin)
	}
	if vms[0].Last.PID != 7 || !vms[0].Seen[RecPrepare] || !vms[0].Seen[RecConverge] || vms[0].Seen[RecAbort] {
		t.Errorf("history %+v", vms[0])
	}
}
