package scatter

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

// liveQEMU is a real QEMU of a test: firmware, no operating system.
type liveQEMU struct {
	t      *testing.T
	socket string
	cmd    *exec.Cmd
	wait   func() error // for its end
	client *qemu.Client
}

// socketDir is a temporary directory with a short path, for sockets.
func socketDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// startQEMU starts a QEMU whose monitor is NAME.qmp in dir.
func startQEMU(t *testing.T, dir, name string, args ...string) *liveQEMU {
	t.Helper()
	q := &liveQEMU{t: t, socket: filepath.Join(dir, name+".qmp")}
	log, err := os.Create(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	q.cmd = exec.Command("qemu-system-x86_64", append([]string{"-M", "pc", "-m", "16", "-nodefaults", "-display", "none", "-accel", "tcg",
		"-name", "guest=" + name, "-qmp", "unix:" + q.socket + ",server=on,wait=off"}, args...)...)
	q.cmd.Stderr = log
	if err := q.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	q.wait = sync.OnceValue(q.cmd.Wait)
	t.Cleanup(func() {
		q.cmd.Process.Kill()
		q.wait()
	})
	eventually(t, func() bool { q.client, err = qemu.Dial(t.Context(), q.socket); return err == nil })
	t.Cleanup(func() { q.client.Close() })
	return q
}

func (q *liveQEMU) do(cmd string, args any) {
	q.t.Helper()
	if err := q.client.Do(q.t.Context(), cmd, args, nil); err != nil {
		q.t.Fatal(err)
	}
}

func (q *liveQEMU) status() string {
	q.t.Helper()
	s, err := q.client.Status(q.t.Context())
	if err != nil {
		q.t.Fatal(err)
	}
	return s.Status
}

// loadedGuest is a guest of s that a real source QEMU has migrated to a real target QEMU.
func (s *site) loadedGuest(args ...string) (*guest, *liveQEMU) {
	s.t.Helper()
	dir := socketDir(s.t)
	source := startQEMU(s.t, dir, "source", args...)
	target := startQEMU(s.t, dir, "web", append(args, "-incoming", "defer", "-S")...)
	if err := target.client.PrepareIncoming(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	way := filepath.Join(dir, "m")
	target.do("migrate-incoming", map[string]string{"uri": "unix:" + way})
	source.do("migrate", map[string]string{"uri": "unix:" + way})
	eventually(s.t, func() bool { return target.status() != "inmigrate" && source.status() == "postmigrate" })
	g, _ := s.guest(0, "web", guestLoaded)
	var err error
	if g.proc, err = openProcess(target.cmd.Process.Pid, target.socket, filepath.Join(dir, "web.log")); err != nil {
		s.t.Fatal(err)
	}
	g.client = target.client
	return g, target
}

// image makes a raw disk image.
func image(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	writeFile(t, path, make([]byte, 1<<20))
	return path
}

// TestRunAnswersWhenItRuns: a VM that was loaded runs when its QEMU says so, as it stood on the source.
func TestRunAnswersWhenItRuns(t *testing.T) {
	for state, want := range map[string]string{"running": "running", "paused": "paused", "io-error": "paused"} {
		t.Run(state, func(t *testing.T) {
			s := openSite(t, nil, "target", nil)
			g, q := s.loadedGuest()
			if err := g.run(state); err != nil || g.where() != control.StateRunning {
				t.Fatalf("%v, the guest is %s", err, g.where())
			}
			c, err := qemu.Dial(t.Context(), q.socket) // its monitor is free for others
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if st, err := c.Status(t.Context()); err != nil || st.Status != want {
				t.Errorf("%+v, %v", st, err)
			}
			if err := g.run(state); err != nil {
				t.Errorf("told again: %v", err)
			}
		})
	}
}

// TestRefusedVMIsKept: a QEMU that cannot lock its disk refuses to run; the copy stays, and runs once the disk is free.
func TestRefusedVMIsKept(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	disk := image(t)
	args := []string{"-drive", "if=virtio,format=raw,file=" + disk}
	g, _ := s.loadedGuest(args...)
	other := startQEMU(t, socketDir(t), "other", args...)
	err := g.run("running")
	if m := failed(0, err); !m.Refused || !strings.Contains(m.Error, "lock") || g.where() != control.StateLoaded {
		t.Fatalf("%+v, the guest is %s", m, g.where())
	}
	if r := readJournal(t, s.r.journal.path); r[len(r)-1].Kind != recLoaded {
		t.Errorf("last record %+v", r[len(r)-1])
	}
	other.client.Quit(t.Context())
	other.wait()
	if err := g.run("running"); err != nil || g.where() != control.StateRunning {
		t.Errorf("%v, the guest is %s", err, g.where())
	}
}

// TestRunOfADeadQEMU: one that ends before it lets the VM run is a refusal, of a VM that is nowhere here any more.
func TestRunOfADeadQEMU(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	q.cmd.Process.Signal(syscall.SIGSTOP)
	ran := make(chan error)
	go func() { ran <- g.run("running") }()
	eventually(t, func() bool { return g.where() == control.StateLaunching })
	if err := g.run("running"); err == nil || failed(0, err).Refused {
		t.Errorf("told again while it is being run: %v", err)
	}
	g.abort(errAway)
	if w := g.where(); w != control.StateLaunching {
		t.Errorf("given up while it may run: %s", w)
	}
	q.cmd.Process.Kill()
	if m := failed(0, <-ran); !m.Refused || g.where() != control.StateAborted {
		t.Errorf("%+v, the guest is %s", m, g.where())
	}
}

// TestDeadGuestDoesNotRun: who asks is told so before anything else has noticed, and a Run is not said to have been obeyed.
func TestDeadGuestDoesNotRun(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	if err := g.run("running"); err != nil {
		t.Fatal(err)
	}
	q.cmd.Process.Kill()
	q.cmd.Process.Wait()
	if w := g.where(); w != control.StateEnded {
		t.Errorf("it is said to be %s", w)
	}
	if err := g.run("running"); err == nil || failed(0, err).Refused {
		t.Errorf("told again to run: %v", err)
	}
}

// TestEndedGuestIsKnown: what ran here and has ended is not taken for what was never run.
func TestEndedGuestIsKnown(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, q := s.loadedGuest()
	g.watchProcess()
	if err := g.run("running"); err != nil {
		t.Fatal(err)
	}
	q.cmd.Process.Kill()
	eventually(t, func() bool { return g.where() == control.StateEnded })
	if st, err := askState(t.Context(), s.dialer(), 0); err != nil || st != control.StateEnded {
		t.Errorf("the source hears %s, %v", st, err)
	}
}

// TestEndUnrecorded: a QEMU whose receiver was killed before it could note the pid is found by its pid file, and ended.
func TestEndUnrecorded(t *testing.T) {
	dir := t.TempDir()
	startQEMU(t, socketDir(t), "other", "-S", "-pidfile", filepath.Join(dir, "other.pid"))
	q := startQEMU(t, socketDir(t), "web", "-S", "-pidfile", filepath.Join(dir, "web.pid"))
	j, _ := newJournal(t, filepath.Join(dir, "recv.journal"))
	for vm, name := range []string{"web", "gone"} {
		if err := j.Append(record{Kind: recPrepare, Peer: "source", Evacuation: testEvacuation, VM: vm, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *RecvConfig) { c.RunDir = dir })
	if err := q.wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if pids, err := qemu.Leftovers(dir, "other"); err != nil || len(pids) != 1 {
		t.Errorf("another VM's: %v, %v", pids, err)
	}
	s.alive()
}

// sourceOf is a VM of a real QEMU, as an evacuation finds it.
func (q *liveQEMU) sourceOf(e *evacuation) *sourceVM {
	q.t.Helper()
	q.client.Close()
	v, err := discoverVM(q.t.Context(), len(e.vms), q.socket)
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(v.close)
	e.vms = append(e.vms, v)
	return v
}

// TestOpenJournalBars: a VM that an evacuation has left open is not sent anew, and one whose process is another is.
func TestOpenJournalBars(t *testing.T) {
	e := &evacuation{cfg: mustConfig(t)}
	e.cfg.RunDir = t.TempDir()
	v := startQEMU(t, socketDir(t), "web", "-S").sourceOf(e)
	rec := record{Kind: recCommit, Name: "web", PID: v.vm.PID, Start: v.vm.StartTime}
	for name, c := range map[string]struct {
		change func(*record)
		barred string
	}{
		"committed":                {func(*record) {}, "scatter recover"},
		"only looked at":           {func(r *record) { r.Kind = recSettings }, "scatter recover"},
		"had stayed":               {func(r *record) { r.Kind = recStayed }, ""},
		"stayed, target not told":  {func(r *record) { r.Kind, r.Untold = recStayed, true }, "scatter recover"},
		"another process by now":   {func(r *record) { r.Start-- }, ""},
		"of a process that is not": {func(r *record) { r.PID = deadPID }, ""},
	} {
		r := rec
		c.change(&r)
		path := leftBehind(t, e.cfg.RunDir, r)
		open := func() error {
			why, err := e.stillOpen()
			if err == nil && len(why[0]) > 0 {
				err = why[0][0]
			}
			return err
		}
		err := open()
		if (err != nil) != (c.barred != "") || err != nil && !strings.Contains(err.Error(), c.barred) {
			t.Errorf("%s: %v", name, err)
		}
		j, _ := newJournal(t, path)
		if busy := open(); err != nil && (busy == nil || !strings.Contains(busy.Error(), "is moving it now")) {
			t.Errorf("%s, in use: %v", name, busy)
		}
		j.Close()
		os.Remove(path)
	}
}

// TestRecoverPutsSettingsBack: what was changed on a VM that was only looked at is put back after kill -9, too.
func TestRecoverPutsSettingsBack(t *testing.T) {
	e := &evacuation{cfg: mustConfig(t)}
	dir := t.TempDir()
	q := startQEMU(t, socketDir(t), "web", "-S")
	q.do("migrate-set-parameters", map[string]int{"downtime-limit": 1234})
	v := q.sourceOf(e)
	if err := v.checkMigration(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := e.recordOf(v, recSettings)
	if err := v.tune(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	v.client.Close() // that is how a killed sender leaves it
	path := leftBehind(t, dir, r)
	got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 0 || exists(path) {
		t.Fatalf("%+v, %v, journal there: %v", got, err, exists(path))
	}
	c, err := qemu.Dial(t.Context(), q.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Parameters(t.Context())
	if err != nil || *p.DowntimeLimit != 1234 {
		t.Errorf("down-time limit %d, %v", *p.DowntimeLimit, err)
	}
	caps, err := c.Capabilities(t.Context())
	if err != nil || caps["return-path"] || caps["events"] {
		t.Errorf("capabilities %v, %v", caps, err)
	}
}

// TestRecoverRunsHere: a complete VM whose source is dead is run by the operator's word.
func TestRecoverRunsHere(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	if err := g.record(recLoaded); err != nil {
		t.Fatal(err)
	}
	cfg := RecoverConfig{RunDir: s.r.cfg.RunDir, Run: "web"}
	if _, err := Recover(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "stop 'scatter recv'") {
		t.Errorf("while the receiver holds it: %v", err)
	}
	s.stop()
	for name, want := range map[string]string{"other": "nothing was done", "web": ""} {
		cfg.Run = name
		got, err := Recover(t.Context(), cfg)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	c, err := qemu.Dial(t.Context(), q.socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if st, err := c.Status(t.Context()); err != nil || !st.Running {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestSourceIsLeftAsItWas: a VM that is taken back stands as others have left it, not as scatter guesses.
func TestSourceIsLeftAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		before func(q *liveQEMU, v *sourceVM)
		want   string
		off    bool
	}{
		"running":             {func(*liveQEMU, *sourceVM) {}, "running", false},
		"paused by a manager": {func(q *liveQEMU, v *sourceVM) { v.client.Stop(q.t.Context()) }, "paused", false},
		"paused by scatter": {func(q *liveQEMU, v *sourceVM) {
			if err := v.pause(q.t.Context(), func() error { return nil }); err != nil {
				q.t.Fatal(err)
			}
		}, "running", false},
		"powered off": {func(q *liveQEMU, v *sourceVM) {
			if err := v.client.Do(q.t.Context(), "system_reset", nil, nil); err != nil {
				q.t.Fatal(err)
			}
			eventually(q.t, func() bool { s, err := v.client.Status(q.t.Context()); return err == nil && s.Status == "shutdown" })
		}, "shutdown", true},
	} {
		t.Run(name, func(t *testing.T) {
			q := startQEMU(t, socketDir(t), "web", "-no-reboot", "-no-shutdown")
			v := q.sourceOf(&evacuation{cfg: mustConfig(t)})
			c.before(q, v)
			v.gone.Store(true)
			off, err := v.takeBack(t.Context(), 0)
			s, serr := v.client.Status(t.Context())
			if err != nil || serr != nil || off != c.off || s.Status != c.want {
				t.Errorf("off %v, %s, %v, %v", off, s.Status, err, serr)
			}
		})
	}
}

// TestWatchTellsHowItEnded: a VM whose guest powers it off, and one whose QEMU is killed, end in their own words.
func TestWatchTellsHowItEnded(t *testing.T) {
	for _, c := range []struct {
		args []string
		end  func(q *liveQEMU, v *sourceVM)
		want string
	}{
		{nil, func(q *liveQEMU, v *sourceVM) { q.cmd.Process.Kill() }, "source-gone: killed, or crashed"},
		{nil, func(q *liveQEMU, v *sourceVM) { v.client.Quit(q.t.Context()) }, "source-gone: shut down (host-qmp-quit)"},
		{[]string{"-no-reboot"}, func(q *liveQEMU, v *sourceVM) { v.client.Do(q.t.Context(), "system_reset", nil, nil) }, "source-gone: shut down (host-qmp-system-reset)"},
		{[]string{"-no-reboot", "-no-shutdown"}, func(q *liveQEMU, v *sourceVM) { v.client.Do(q.t.Context(), "system_reset", nil, nil) }, "powered-off: its guest has powered itself off"},
	} {
		t.Run(c.want, func(t *testing.T) {
			e := &evacuation{cfg: mustConfig(t)}
			e.log = e.cfg.Log
			q := startQEMU(t, socketDir(t), "web", c.args...)
			v := q.sourceOf(e)
			ctx, cancel := context.WithCancel(t.Context())
			watching := make(chan struct{})
			go func() { defer close(watching); e.watchSources(ctx) }()
			defer func() { cancel(); <-watching }()
			go q.wait()
			eventually(t, func() bool { // until it follows the events
				v.client.Stop(t.Context())
				v.mu.Lock()
				defer v.mu.Unlock()
				return v.found == "paused" || v.client.Cont(t.Context()) != nil
			})
			v.client.Cont(t.Context())
			c.end(q, v)
			<-e.inbox.wait()
			var got string
			for _, ev := range e.inbox.take() {
				got += fmt.Sprintf("%s: %v", ev.kind, ev.err)
			}
			kind, words, _ := strings.Cut(c.want, ": ")
			if !strings.HasPrefix(got, kind) || !strings.Contains(got, words) {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestScanOutlivesAVM: a VM whose QEMU ends while all are scanned does not hinder the others.
func TestScanOutlivesAVM(t *testing.T) {
	e := &evacuation{cfg: mustConfig(t), seed: testSeed}
	e.log = e.cfg.Log
	for i, name := range []string{"dead", "alive"} {
		q := startQEMU(t, socketDir(t), name, "-S")
		v := q.sourceOf(e)
		v.index = i
		for k, b := range v.vm.Blocks {
			v.blocks = append(v.blocks, ramBlock{name: b.ID, length: b.Length, index: k, hidden: b.Host == 0})
		}
		if name == "dead" {
			q.cmd.Process.Kill()
			q.wait()
		}
	}
	if err := e.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dead, alive := e.pagesOf[0], e.pagesOf[1]; dead.Zero != dead.Total || alive.Zero == alive.Total {
		t.Errorf("pages of the dead VM %+v, of the other %+v", dead, alive)
	}
	if w := e.vms[0].whereItIs(); w != ended {
		t.Errorf("it is %s", w)
	}
}

// TestRecoverEndsWhatHasLeft: the source QEMU of a VM that had arrived is ended when its sender was killed before that, unless it was to be kept.
func TestRecoverEndsWhatHasLeft(t *testing.T) {
	for _, keep := range []bool{false, true} {
		sdir, dir := socketDir(t), t.TempDir()
		q := startQEMU(t, sdir, "web")
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
		q.do("migrate", map[string]string{"uri": "unix:" + filepath.Join(sdir, "sink")})
		eventually(t, func() bool { return q.status() == "postmigrate" })
		q.client.Close()
		path := leftBehind(t, dir, record{Kind: recDone, Name: "web", Host: "h", Socket: q.socket, PID: q.cmd.Process.Pid, Keep: keep})
		got, err := Recover(t.Context(), RecoverConfig{RunDir: dir})
		if err != nil || len(got.VMs) != 1 || got.VMs[0].Where != OnTarget || exists(path) || strings.Contains(got.VMs[0].Action, "ended") == keep {
			t.Fatalf("keep %v: %+v, %v, journal there: %v", keep, got, err, exists(path))
		}
		if keep {
			q.cmd.Process.Kill()
		}
		if err := q.wait(); (err != nil) != keep {
			t.Errorf("keep %v: %v", keep, err)
		}
	}
}
