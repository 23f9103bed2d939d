package target

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/reclaim"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// loadedGuest is a guest of s that a real source QEMU has migrated to a real target QEMU.
func (s *site) loadedGuest(args ...string) (*guest, *kit.LiveQEMU) {
	s.t.Helper()
	dir := kit.SocketDir(s.t)
	source := kit.StartQEMU(s.t, dir, "source", args...)
	target := kit.StartQEMU(s.t, dir, "web", append(args, "-incoming", "defer", "-S")...)
	if err := target.Client.PrepareIncoming(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	way := filepath.Join(dir, "m")
	target.Do("migrate-incoming", map[string]string{"uri": "unix:" + way})
	source.Do("migrate", map[string]string{"uri": "unix:" + way})
	kit.Eventually(s.t, func() bool { return target.Status() != "inmigrate" && source.Status() == "postmigrate" })
	g, _ := s.guest(0, "web", life.Loaded)
	var err error
	if g.grip.proc, err = system.OpenProcess(target.Cmd.Process.Pid, target.Socket, filepath.Join(dir, "web.log")); err != nil {
		s.t.Fatal(err)
	}
	g.grip.vm = qmp.TargetOf(target.Client, g.log)
	rec := g.life.Record()
	rec.Socket, rec.PID = g.grip.proc.Socket, g.grip.proc.PID
	g.life.Resume(g.life.Now(), rec)
	return g, target
}

// TestRunAnswersWhenItRuns: a VM that was loaded runs when its QEMU says so, as it stood on the source.
func TestRunAnswersWhenItRuns(t *testing.T) {
	for state, want := range map[string]string{"running": "running", "paused": "paused", "io-error": "paused"} {
		t.Run(state, func(t *testing.T) {
			s := openSite(t, nil, "target", nil)
			g, q := s.loadedGuest()
			if err := (running{g}.run(state)); err != nil || g.where() != control.StateRunning {
				t.Fatalf("%v, the guest is %s", err, g.where())
			}
			c, err := qemu.Dial(t.Context(), q.Socket) // its monitor is free for others
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if st, err := c.Status(t.Context()); err != nil || st.Status != want {
				t.Errorf("%+v, %v", st, err)
			}
			if err := (running{g}.run(state)); err != nil {
				t.Errorf("told again: %v", err)
			}
		})
	}
}

// TestRefusedVMIsKept: a QEMU that cannot lock its disk refuses to run; the copy stays, and runs once the disk is free.
func TestRefusedVMIsKept(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	disk := kit.Image(t)
	args := []string{"-drive", "if=virtio,format=raw,file=" + disk}
	g, _ := s.loadedGuest(args...)
	other := kit.StartQEMU(t, kit.SocketDir(t), "other", args...)
	err := running{g}.run("running")
	if m := failed(0, err); !m.Refused || !strings.Contains(m.Error, "lock") || g.where() != control.StateLoaded {
		t.Fatalf("%+v, the guest is %s", m, g.where())
	}
	if r := enginekit.ReadJournal(t, s.r.journal.Path); r[len(r)-1].Kind != handover.RecLoaded {
		t.Errorf("last record %+v", r[len(r)-1])
	}
	other.Client.Quit(t.Context())
	other.Wait()
	if err := (running{g}.run("running")); err != nil || g.where() != control.StateRunning {
		t.Errorf("%v, the guest is %s", err, g.where())
	}
}

// TestRunOfADeadQEMU: one that ends before it lets the VM run is a refusal, of a VM that is nowhere here any more.
func TestRunOfADeadQEMU(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	q.Cmd.Process.Signal(syscall.SIGSTOP)
	ran := make(chan error)
	go func() { ran <- running{g}.run("running") }()
	kit.Eventually(t, func() bool { return g.where() == control.StateLaunching })
	if err := (running{g}.run("running")); err == nil || failed(0, err).Refused {
		t.Errorf("told again while it is being run: %v", err)
	}
	g.abort(errAway)
	if w := g.where(); w != control.StateLaunching {
		t.Errorf("given up while it may run: %s", w)
	}
	q.Cmd.Process.Kill()
	if m := failed(0, <-ran); !m.Refused || g.where() != control.StateAborted {
		t.Errorf("%+v, the guest is %s", m, g.where())
	}
}

// TestDeadGuestDoesNotRun: who asks is told so before anything else has noticed, and a Run is not said to have been obeyed.
func TestDeadGuestDoesNotRun(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	if err := (running{g}.run("running")); err != nil {
		t.Fatal(err)
	}
	q.Cmd.Process.Kill()
	q.Cmd.Process.Wait()
	if w := g.where(); w != control.StateEnded {
		t.Errorf("it is said to be %s", w)
	}
	if err := (running{g}.run("running")); err == nil || failed(0, err).Refused {
		t.Errorf("told again to run: %v", err)
	}
}

// TestEndedGuestIsKnown: what ran here and has ended is not taken for what was never run.
func TestEndedGuestIsKnown(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, q := s.loadedGuest()
	running{g}.watch()
	if err := (running{g}.run("running")); err != nil {
		t.Fatal(err)
	}
	q.Cmd.Process.Kill()
	kit.Eventually(t, func() bool { return g.where() == control.StateEnded })
	if st, err := wire.AskState(t.Context(), s.dialer(), 0); err != nil || st != control.StateEnded {
		t.Errorf("the source hears %s, %v", st, err)
	}
}

// TestEndUnrecorded: a QEMU whose receiver was killed before it could note the pid is found by its pid file, and ended.
func TestEndUnrecorded(t *testing.T) {
	dir := t.TempDir()
	kit.StartQEMU(t, kit.SocketDir(t), "other", "-S", "-pidfile", filepath.Join(dir, "other.pid"))
	q := kit.StartQEMU(t, kit.SocketDir(t), "web", "-S", "-pidfile", filepath.Join(dir, "web.pid"))
	j, _ := enginekit.NewJournal(t, filepath.Join(dir, "recv.journal"))
	for vm, name := range []string{"web", "gone"} {
		if err := j.Append(handover.Record{Kind: handover.RecPrepare, Peer: "source", Evacuation: testEvacuation, VM: vm, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *Config) { c.RunDir = dir })
	if err := q.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if pids, err := qemu.Leftovers(dir, "other"); err != nil || len(pids) != 1 {
		t.Errorf("another VM's: %v, %v", pids, err)
	}
	s.alive()
}

// TestRecoverRunsHere: a complete VM whose source is dead is run by the operator's word.
func TestRecoverRunsHere(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	if err := g.record(handover.RecLoaded); err != nil {
		t.Fatal(err)
	}
	cfg := model.RecoverConfig{RunDir: s.r.cfg.RunDir, Run: "web"}
	if _, err := reclaim.RunHere(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "stop 'scatter recv'") {
		t.Errorf("while the receiver holds it: %v", err)
	}
	s.stop()
	for name, want := range map[string]string{"other": "nothing was done", "web": ""} {
		cfg.Run = name
		got, err := reclaim.RunHere(t.Context(), cfg)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	c, err := qemu.Dial(t.Context(), q.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if st, err := c.Status(t.Context()); err != nil || !st.Running {
		t.Errorf("%+v, %v", st, err)
	}
}
