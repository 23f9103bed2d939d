package scatter

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// leftBehind writes the journal of a source that crashed, and returns its path.
func leftBehind(t *testing.T, dir string, records ...handover.Record) string {
	t.Helper()
	path := filepath.Join(dir, "send-00112233445566ff.journal")
	j, _ := enginekit.NewJournal(t, path)
	for _, r := range append([]handover.Record{{Kind: handover.RecBegin, TLSDir: dir}}, records...) {
		if err := j.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	return path
}

// TestRecoverFromRecords: what the records alone decide, and a journal that says nothing more is removed.
func TestRecoverFromRecords(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir,
		handover.Record{Kind: handover.RecPrepare, VM: 0, Name: "arrived", Host: "h"}, handover.Record{Kind: handover.RecCommit, VM: 0, Name: "arrived", Host: "h"},
		handover.Record{Kind: handover.RecRun, VM: 0, Name: "arrived", Host: "h"}, handover.Record{Kind: handover.RecDone, VM: 0, Name: "arrived", Host: "h"},
		handover.Record{Kind: handover.RecPrepare, VM: 1, Name: "stayed", Host: "h"}, handover.Record{Kind: handover.RecStayed, VM: 1, Name: "stayed", Host: "h"})
	want := []model.Recovered{{VM: "arrived", Where: model.OnTarget, Host: "h", Action: "had arrived"}, {VM: "stayed", Where: model.OnSource, Host: "h", Action: "had stayed"}}
	for _, dry := range []bool{true, false} {
		got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir, DryRun: dry})
		if err != nil || !cmp.Equal(got.VMs, want) {
			t.Errorf("dry run %v: %+v, %v", dry, got, err)
		}
		if system.Exists(path) != dry {
			t.Errorf("dry run %v: journal there: %v", dry, system.Exists(path))
		}
	}
}

// TestRecoverTellsALostTargetLater: a VM that stays is known to run here, but while its target may hold it and cannot be told to
// forget it, the journal stays.
func TestRecoverTellsALostTargetLater(t *testing.T) {
	dir := t.TempDir()
	vm := handover.Record{VM: 0, Name: "web", Host: "h", Socket: filepath.Join(dir, "no.qmp"), PID: kit.DeadPID, Address: "h=127.0.0.1:1"}
	converged, stayed := vm, vm
	converged.Kind, stayed.Kind, stayed.Untold = handover.RecConverge, handover.RecStayed, true
	path := leftBehind(t, dir, converged, stayed)
	for range 2 {
		got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != model.OnSource || !strings.Contains(got.VMs[0].Action, "recover again") {
			t.Fatalf("%+v, %v", got, err)
		}
		if !system.Exists(path) {
			t.Fatal("the journal is gone")
		}
	}
}

// TestRecoverLooksAgain: the record of an abort comes before the act. A recovery that ended between the two has not brought the VM
// back, so the next one does not take its word for it.
func TestRecoverLooksAgain(t *testing.T) {
	vm := handover.Record{VM: 0, Name: "web", Host: "h", PID: kit.DeadPID, Address: "h=127.0.0.1:1"}
	for _, kinds := range [][]handover.RecordKind{{handover.RecPrepare, handover.RecConverge, handover.RecPause, handover.RecAbort}, {handover.RecPrepare, handover.RecConverge, handover.RecCommit, handover.RecAbort}} {
		dir := t.TempDir()
		vm.Socket = filepath.Join(dir, "no.qmp")
		var records []handover.Record
		for _, k := range kinds {
			vm.Kind = k
			records = append(records, vm)
		}
		path := leftBehind(t, dir, records...)
		got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != model.InDoubt || !system.Exists(path) {
			t.Errorf("%v: %+v, %v, journal there: %v", kinds, got, err, system.Exists(path))
		}
	}
}

// TestRecoverKeepsWhatIsInDoubt: without the source QEMU and without the target nothing is decided, and the journal stays.
func TestRecoverKeepsWhatIsInDoubt(t *testing.T) {
	dir := t.TempDir()
	vm := handover.Record{VM: 0, Name: "web", Host: "h", Socket: filepath.Join(dir, "no.qmp"), PID: kit.DeadPID, Address: "h=127.0.0.1:1"}
	prepared, committed := vm, vm
	prepared.Kind, committed.Kind = handover.RecPrepare, handover.RecCommit
	path := leftBehind(t, dir, prepared, committed)
	before := kit.ReadFile(t, path)
	got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != model.InDoubt {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, want := range []string{"source QEMU is gone", "source: gone", "target: "} {
		if !strings.Contains(got.VMs[0].Action, want) {
			t.Errorf("%q lacks %q", got.VMs[0].Action, want)
		}
	}
	if !bytes.Equal(kit.ReadFile(t, path), before) {
		t.Error("the journal was changed")
	}
}

func TestRecoverOfDamage(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir, handover.Record{Kind: handover.RecPrepare, Name: "web"})
	kit.WriteFile(t, path, kit.Flip(kit.ReadFile(t, path), 30))
	if _, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "nothing was decided") {
		t.Errorf("got %v", err)
	}
	if err := os.Rename(path, filepath.Join(dir, "send-xyz.journal")); err != nil {
		t.Fatal(err)
	}
	kit.WriteFile(t, filepath.Join(dir, "send-xyz.journal"), nil)
	if _, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), "not that of an evacuation") {
		t.Errorf("got %v", err)
	}
}

// TestRecoverWhileScatterRuns: the journal of a living scatter is left to it.
func TestRecoverWhileScatterRuns(t *testing.T) {
	dir := t.TempDir()
	path := leftBehind(t, dir, handover.Record{Kind: handover.RecPrepare, Name: "web"})
	enginekit.NewJournal(t, path)
	if _, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir}); err == nil || !strings.Contains(err.Error(), journal.ErrBusy.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestRecoverOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "missing")} {
		got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
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
		last handover.Record
		want model.Where // "" = nothing is said
		text string
	}{
		{"given up", handover.Record{Kind: handover.RecAbort, PID: self}, "", ""},
		{"never started", handover.Record{Kind: handover.RecPrepare}, "", ""},
		{"ended after it ran", handover.Record{Kind: handover.RecDone, PID: kit.DeadPID}, "", ""},
		{"runs", handover.Record{Kind: handover.RecDone, PID: self}, model.OnTarget, "runs here"},
		{"was told to run, its monitor is silent", handover.Record{Kind: handover.RecRun, PID: self}, model.InDoubt, "see whether it does"},
		{"waits for its source", handover.Record{Kind: handover.RecLoaded, PID: self}, model.InDoubt, "complete and paused here"},
		{"was complete, its QEMU died", handover.Record{Kind: handover.RecLoaded, PID: kit.DeadPID}, model.InDoubt, "its QEMU here is gone"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.last.Name, c.last.Peer = "web", "source"
			j, _ := enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
			if err := j.Append(c.last); err != nil {
				t.Fatal(err)
			}
			j.Close()
			got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
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
	enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
	got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRecoverObeysItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := t.TempDir()
	leftBehind(t, dir, handover.Record{Kind: handover.RecPrepare, Name: "web", Socket: filepath.Join(dir, "no.qmp"), PID: os.Getpid(), Address: "127.0.0.1:1"})
	got, err := Recover(ctx, model.RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != model.InDoubt {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRecoverEndsWhatHasLeft: the source QEMU of a VM that had arrived is ended when its sender was killed before that, unless it was to be kept.
func TestRecoverEndsWhatHasLeft(t *testing.T) {
	for _, keep := range []bool{false, true} {
		sdir, dir := kit.SocketDir(t), t.TempDir()
		q := kit.StartQEMU(t, sdir, "web")
		sink, err := net.Listen("unix", filepath.Join(sdir, "sink"))
		if err != nil {
			t.Fatal(err)
		}
		defer sink.Close()
		go func() {
			if c, err := sink.Accept(); err == nil {
				io.Copy(io.Discard, c)
			}
		}()
		q.Do("migrate", map[string]string{"uri": "unix:" + filepath.Join(sdir, "sink")})
		kit.Eventually(t, func() bool { return q.Status() == "postmigrate" })
		q.Client.Close()
		path := leftBehind(t, dir, handover.Record{Kind: handover.RecDone, Name: "web", Host: "h", Socket: q.Socket, PID: q.Cmd.Process.Pid, Keep: keep})
		got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != model.OnTarget || system.Exists(path) || strings.Contains(got.VMs[0].Action, "ended") == keep {
			t.Fatalf("keep %v: %+v, %v, journal there: %v", keep, got, err, system.Exists(path))
		}
		if keep {
			q.Cmd.Process.Kill()
		}
		if err := q.Wait(); (err != nil) != keep {
			t.Errorf("keep %v: %v", keep, err)
		}
	}
}
