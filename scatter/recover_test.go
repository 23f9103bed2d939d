package scatter

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/control"
)

// everyEvidence calls f with all that can be found after a crash.
func everyEvidence(f func(evidence)) {
	for _, source := range []sourceState{"", sourceRuns, sourcePaused, sourceCompleted, sourceGone} {
		for _, target := range []control.VMState{"", control.StateUnknown, control.StateHeld, control.StateLoading,
			control.StateLoaded, control.StateLaunching, control.StateRunning, control.StateEnded, control.StateAborted} {
			for bits := range 16 {
				bit := func(n int) bool { return bits>>n&1 == 1 }
				f(evidence{source: source, sourceKnown: source != "", target: target, targetKnown: target != "",
					paused: bit(0), pausedByUs: bit(1), runLogged: bit(2), converged: bit(2) || bit(3)})
			}
		}
	}
}

// mayRunThere tells whether the target may be running the VM: it says so, or it was told to and nobody knows better. A receiver
// that has lost sight of a VM that runs says unknown.
func (e evidence) mayRunThere() bool {
	switch {
	case !e.targetKnown, e.target == control.StateUnknown:
		return e.runLogged
	}
	return e.target == control.StateRunning || e.target == control.StateLaunching || e.target == control.StateEnded
}

// TestInvariant1RecoverNeverRunsTwiceNorLosesACopy holds the table of recovery to invariants 1 and 2, for all evidence there can be.
func TestInvariant1RecoverNeverRunsTwiceNorLosesACopy(t *testing.T) {
	everyEvidence(func(e evidence) {
		v := decide(e)
		fail := func(why string) { t.Errorf("%+v: %s: %+v", e, why, v) }
		sourceHolds := e.source == sourceRuns || e.source == sourcePaused
		targetHolds := e.target == control.StateLoaded || e.target == control.StateRunning
		switch v.do {
		case doCont:
			if e.mayRunThere() {
				fail("the source is continued while the target may run it")
			}
			if e.source != sourcePaused && e.source != sourceCompleted {
				fail("a source is continued that has nothing to continue")
			}
		case doRun:
			if e.target != control.StateLoaded {
				fail("the target is told to run what it does not hold")
			}
			if e.source != sourceCompleted && e.source != sourceGone {
				fail("the target runs while the source may run")
			}
		case doQuitSource:
			if e.target != control.StateRunning {
				fail("the source is ended without a copy that runs")
			}
			if !e.sourceKnown || e.source == sourceRuns {
				fail("a source is ended that may run")
			}
		case doAbort:
			if !sourceHolds && !(e.source == sourceGone && e.target != control.StateLoaded && e.target != control.StateLoading) {
				fail("the target is told to forget what the source may not have")
			}
		}
		if v.again && v.do != doNothing {
			fail("is decided, and is to be asked again")
		}
		switch v.where {
		case OnSource:
			if !sourceHolds && v.do != doCont {
				fail("is said to be on a source that does not hold it")
			}
			if e.target == control.StateRunning {
				fail("is said to be on the source, runs on the target")
			}
		case OnTarget:
			if !targetHolds {
				fail("is said to be on a target that does not hold it")
			}
			if e.source == sourceRuns {
				fail("is said to be on the target, runs on the source")
			}
		case InDoubt:
			if v.do != doNothing {
				fail("something is done in doubt")
			}
		case Ended:
			if e.source != sourceGone || targetHolds || e.target == control.StateLoading || !e.targetKnown && e.converged {
				fail("is said to have ended, and may live")
			}
		default:
			fail("is nowhere")
		}
		if v.text == "" {
			fail("says nothing")
		}
	})
}

// TestRecoverDecidesWhatIsClear: the rows of the table that an operator meets, with what comes of them.
func TestRecoverDecidesWhatIsClear(t *testing.T) {
	known := func(s sourceState, t control.VMState) evidence {
		return evidence{source: s, sourceKnown: s != "", target: t, targetKnown: t != ""}
	}
	run := func(e evidence) evidence { e.runLogged = true; return e }
	byUs := func(e evidence) evidence { e.pausedByUs = true; return e }
	found := func(e evidence) evidence { e.paused = true; return e }
	conv := func(e evidence) evidence { e.converged = true; return e }
	cases := []struct {
		name  string
		e     evidence
		where Where
		do    recoverAct
	}{
		{"crash in bulk", known(sourceRuns, control.StateHeld), OnSource, doAbort},
		{"crash in bulk, target gone", known(sourceRuns, ""), OnSource, doAbort},
		{"crash after --on-stall pause", byUs(known(sourcePaused, control.StateHeld)), OnSource, doCont},
		{"the same, target gone", byUs(known(sourcePaused, "")), OnSource, doCont},
		{"the operator paused it meanwhile", known(sourcePaused, control.StateHeld), OnSource, doAbort},
		{"it was paused when it was found", found(byUs(known(sourcePaused, control.StateLoaded))), OnSource, doAbort},
		{"crash between commit and Run", known(sourceCompleted, control.StateLoaded), OnTarget, doRun},
		{"the same, Run was on its way", run(known(sourceCompleted, control.StateLoaded)), OnTarget, doRun},
		{"the same, target restarted", known(sourceCompleted, control.StateUnknown), OnSource, doCont},
		{"the same, target gone", known(sourceCompleted, ""), OnSource, doCont},
		{"Run was on its way, target gone", run(known(sourceCompleted, "")), InDoubt, doNothing},
		{"Run was on its way, target had given it up", run(known(sourceCompleted, control.StateAborted)), OnSource, doCont},
		{"Run was on its way, target knows nothing", run(known(sourceCompleted, control.StateUnknown)), InDoubt, doNothing},
		{"paused after Run was logged, target gone", run(byUs(known(sourcePaused, ""))), InDoubt, doNothing},
		{"crash after Run", run(known(sourceCompleted, control.StateRunning)), OnTarget, doQuitSource},
		{"crash after the source QEMU had ended", run(known(sourceGone, control.StateRunning)), OnTarget, doQuitSource},
		{"the source QEMU died, the target has it all", known(sourceGone, control.StateLoaded), OnTarget, doRun},
		{"the same, Run was on its way", run(known(sourceGone, control.StateLoaded)), OnTarget, doRun},
		{"the source QEMU died, the target loads it", known(sourceGone, control.StateLoading), InDoubt, doNothing},
		{"the source QEMU died before", known(sourceGone, control.StateHeld), Ended, doAbort},
		{"the source QEMU died in bulk, target gone", known(sourceGone, ""), Ended, doNothing},
		{"the source QEMU died in converge, target gone", conv(known(sourceGone, "")), InDoubt, doNothing},
		{"it has ended there, too", run(known(sourceGone, control.StateEnded)), Ended, doNothing},
		{"it ran there for a moment", run(known(sourceCompleted, control.StateEnded)), InDoubt, doNothing},
		{"the target does not know yet", run(known(sourceCompleted, control.StateLaunching)), InDoubt, doNothing},
		{"the target has run it and refuses", run(known(sourceGone, control.StateAborted)), Ended, doAbort},
		{"the source QEMU is deaf", known("", control.StateLoaded), InDoubt, doNothing},
		{"it runs on the target, the source QEMU is deaf", run(known("", control.StateRunning)), OnTarget, doNothing},
		{"it runs twice", run(known(sourceRuns, control.StateRunning)), InDoubt, doNothing},
		{"nobody answers", known("", ""), InDoubt, doNothing},
	}
	for _, c := range cases {
		if v := decide(c.e); v.where != c.where || v.do != c.do {
			t.Errorf("%s: %s, act %d (%s); want %s, act %d", c.name, v.where, v.do, v.text, c.where, c.do)
		}
	}
}

func TestHistories(t *testing.T) {
	records := []record{
		{Kind: recBegin, TLSDir: "/tls"},
		{Kind: recPrepare, VM: 1, Name: "b"},
		{Kind: recPrepare, VM: 0, Name: "a"},
		{Kind: recConverge, VM: 1, Name: "b", PID: 7},
		{Kind: recPrepare, VM: 1, Name: "of another source", Peer: "p"},
		{Kind: recPrepare, VM: 1, Name: "of another evacuation", Evacuation: "e"},
		{Kind: recAbort, VM: 0, Name: "a"},
	}
	vms, begin := histories(records)
	var got []string
	for _, h := range vms {
		got = append(got, h.last.Name+" "+string(h.last.Kind))
	}
	want := []string{"b converge", "a abort", "of another source prepare", "of another evacuation prepare"}
	if !cmp.Equal(got, want) || begin.TLSDir != "/tls" {
		t.Errorf("got %q, begin %+v", got, begin)
	}
	if vms[0].last.PID != 7 || !vms[0].seen[recPrepare] || !vms[0].seen[recConverge] || vms[0].seen[recAbort] {
		t.Errorf("history %+v", vms[0])
	}
}

func TestParseTarget(t *testing.T) {
	for _, s := range []string{"10.0.0.1:7000", "web=10.0.0.1:7000", "web=[fd00::1]:7000", "[::1]:1"} {
		got, err := parseTarget(s)
		if err != nil || got.String() != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	want := TargetAddr{Name: "h", Addr: netip.MustParseAddrPort("10.1.2.3:4")}
	if got, err := parseTarget("h=10.1.2.3:4"); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, s := range []string{"", "web", "web=", "=", "web=host:7000", "10.0.0.1", "a=b=10.0.0.1:1", "10.0.0.1:99999"} {
		if got, err := parseTarget(s); err == nil || !strings.Contains(err.Error(), s) {
			t.Errorf("%q: %+v, %v", s, got, err)
		}
	}
}

// leftBehind writes the journal of a source that crashed, and returns its path.
func leftBehind(t *testing.T, dir string, records ...record) string {
	t.Helper()
	path := filepath.Join(dir, "send-00112233445566ff.journal")
	j, _ := newJournal(t, path)
	for _, r := range append([]record{{Kind: recBegin, TLSDir: dir}}, records...) {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	return path
}

// deadPID is the number of a process that does not exist.
const deadPID = 1 << 29

// TestRecoverFromRecords: what the records alone decide, and a journal that says nothing more is removed.
func TestRecoverFromRecords(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir,
		record{Kind: recPrepare, VM: 0, Name: "arrived", Host: "h"}, record{Kind: recCommit, VM: 0, Name: "arrived", Host: "h"},
		record{Kind: recRun, VM: 0, Name: "arrived", Host: "h"}, record{Kind: recDone, VM: 0, Name: "arrived", Host: "h"},
		record{Kind: recPrepare, VM: 1, Name: "stayed", Host: "h"}, record{Kind: recStayed, VM: 1, Name: "stayed", Host: "h"})
	want := []Recovered{{"arrived", OnTarget, "h", "had arrived"}, {"stayed", OnSource, "h", "had stayed"}}
	for _, dry := range []bool{true, false} {
		got, err := Recover(t.Context(), RecoverConfig{RunDir: dir, DryRun: dry})
		if err != nil || !cmp.Equal(got.VMs, want) {
			t.Errorf("dry run %v: %+v, %v", dry, got, err)
		}
		if exists(path) != dry {
			t.Errorf("dry run %v: journal there: %v", dry, exists(path))
		}
	}
}

// TestRecoverTellsALostTargetLater: a VM that stays is known to run here, but while its target may hold it and cannot be told to
// forget it, the journal stays.
func TestRecoverTellsALostTargetLater(t *testing.T) {
	dir := t.TempDir()
	vm := record{VM: 0, Name: "web", Host: "h", Socket: filepath.Join(dir, "no.qmp"), PID: deadPID, Address: "h=127.0.0.1:1"}
	converged, stayed := vm, vm
	converged.Kind, stayed.Kind, stayed.Untold = recConverge, recStayed, true
	path := leftBehind(t, dir, converged, stayed)
	for range 2 {
		got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != OnSource || !strings.Contains(got.VMs[0].Action, "recover again") {
			t.Fatalf("%+v, %v", got, err)
		}
		if !exists(path) {
			t.Fatal("the journal is gone")
		}
	}
}

// TestRecoverLooksAgain: the record of an abort comes before the act. A recovery that ended between the two has not brought the VM
// back, so the next one does not take its word for it.
func TestRecoverLooksAgain(t *testing.T) {
	vm := record{VM: 0, Name: "web", Host: "h", PID: deadPID, Address: "h=127.0.0.1:1"}
	for _, kinds := range [][]recordKind{{recPrepare, recConverge, recPause, recAbort}, {recPrepare, recConverge, recCommit, recAbort}} {
		dir := t.TempDir()
		vm.Socket = filepath.Join(dir, "no.qmp")
		var records []record
		for _, k := range kinds {
			vm.Kind = k
			records = append(records, vm)
		}
		path := leftBehind(t, dir, records...)
		got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != InDoubt || !exists(path) {
			t.Errorf("%v: %+v, %v, journal there: %v", kinds, got, err, exists(path))
		}
	}
}

// TestRecoverKeepsWhatIsInDoubt: without the source QEMU and without the target nothing is decided, and the journal stays.
func TestRecoverKeepsWhatIsInDoubt(t *testing.T) {
	dir := t.TempDir()
	vm := record{VM: 0, Name: "web", Host: "h", Socket: filepath.Join(dir, "no.qmp"), PID: deadPID, Address: "h=127.0.0.1:1"}
	prepared, committed := vm, vm
	prepared.Kind, committed.Kind = recPrepare, recCommit
	path := leftBehind(t, dir, prepared, committed)
	before := readFile(t, path)
	got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != InDoubt {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, want := range []string{"source QEMU is gone", "source: gone", "target: "} {
		if !strings.Contains(got.VMs[0].Action, want) {
			t.Errorf("%q lacks %q", got.VMs[0].Action, want)
		}
	}
	if !bytes.Equal(readFile(t, path), before) {
		t.Error("the journal was changed")
	}
}

func TestRecoverOfDamage(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir, record{Kind: recPrepare, Name: "web"})
	writeFile(t, path, flip(readFile(t, path), 30))
	if _, err := Recover(t.Context(), RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "nothing was decided") {
		t.Errorf("got %v", err)
	}
	if err := os.Rename(path, filepath.Join(dir, "send-xyz.journal")); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "send-xyz.journal"), nil)
	if _, err := Recover(t.Context(), RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "not that of an evacuation") {
		t.Errorf("got %v", err)
	}
}

// TestRecoverWhileScatterRuns: the journal of a living scatter is left to it.
func TestRecoverWhileScatterRuns(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir, record{Kind: recPrepare, Name: "web"})
	newJournal(t, path)
	if _, err := Recover(t.Context(), RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), ErrJournalBusy.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestRecoverOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
		if err != nil || got.VMs == nil || len(got.VMs) != 0 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// TestRecoverOnATarget: what a receiver's journal tells when no receiver runs. The processes are gone, but for our own.
func TestRecoverOnATarget(t *testing.T) {
	self := os.Getpid()
	cases := []struct {
		name string
		last record
		want Where // "" = nothing is said
		text string
	}{
		{"given up", record{Kind: recAbort, PID: self}, "", ""},
		{"never started", record{Kind: recPrepare}, "", ""},
		{"ended after it ran", record{Kind: recDone, PID: deadPID}, "", ""},
		{"runs", record{Kind: recDone, PID: self}, OnTarget, "runs here"},
		{"was told to run, its monitor is silent", record{Kind: recRun, PID: self}, InDoubt, "see whether it does"},
		{"waits for its source", record{Kind: recLoaded, PID: self}, InDoubt, "complete and paused here"},
		{"was complete, its QEMU died", record{Kind: recLoaded, PID: deadPID}, InDoubt, "its QEMU here is gone"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.last.Name, c.last.Peer = "web", "source"
			j, _ := newJournal(t, filepath.Join(dir, "recv.journal"))
			if err := j.Append(c.last); err != nil {
				t.Fatal(err)
			}
			j.Close()
			got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
			switch {
			case err != nil:
				t.Error(err)
			case c.want == "" && len(got.VMs) > 0, c.want != "" && len(got.VMs) != 1:
				t.Errorf("%+v", got)
			case c.want != "" && (got.VMs[0].Where != c.want || got.VMs[0].Host != "source" || !strings.Contains(got.VMs[0].Action, c.text)):
				t.Errorf("%+v", got)
			}
		})
	}
}

// TestRecoverLeavesALivingReceiverAlone: it looks after its guests by itself.
func TestRecoverLeavesALivingReceiverAlone(t *testing.T) {
	dir := t.TempDir()
	newJournal(t, filepath.Join(dir, "recv.journal"))
	got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRecoverObeysItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	leftBehind(t, dir, record{Kind: recPrepare, Name: "web", Socket: filepath.Join(dir, "no.qmp"), PID: os.Getpid(), Address: "127.0.0.1:1"})
	got, err := Recover(ctx, RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != InDoubt {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestProcessGone(t *testing.T) {
	if processGone(os.Getpid()) {
		t.Error("this process is gone")
	}
	if !processGone(deadPID) {
		t.Error("a process that never was is alive")
	}
}
