package scatter

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
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
	g, _ := s.guest(0, "web", guestLoaded)
	var err error
	if g.proc, err = system.OpenProcess(target.Cmd.Process.Pid, target.Socket, filepath.Join(dir, "web.log")); err != nil {
		s.t.Fatal(err)
	}
	g.client = target.Client
	return g, target
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
			c, err := qemu.Dial(t.Context(), q.Socket) // its monitor is free for others
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
	disk := kit.Image(t)
	args := []string{"-drive", "if=virtio,format=raw,file=" + disk}
	g, _ := s.loadedGuest(args...)
	other := kit.StartQEMU(t, kit.SocketDir(t), "other", args...)
	err := g.run("running")
	if m := failed(0, err); !m.Refused || !strings.Contains(m.Error, "lock") || g.where() != control.StateLoaded {
		t.Fatalf("%+v, the guest is %s", m, g.where())
	}
	if r := readJournal(t, s.r.journal.Path); r[len(r)-1].Kind != handover.RecLoaded {
		t.Errorf("last record %+v", r[len(r)-1])
	}
	other.Client.Quit(t.Context())
	other.Wait()
	if err := g.run("running"); err != nil || g.where() != control.StateRunning {
		t.Errorf("%v, the guest is %s", err, g.where())
	}
}

// TestRunOfADeadQEMU: one that ends before it lets the VM run is a refusal, of a VM that is nowhere here any more.
func TestRunOfADeadQEMU(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	g, q := s.loadedGuest()
	q.Cmd.Process.Signal(syscall.SIGSTOP)
	ran := make(chan error)
	go func() { ran <- g.run("running") }()
	kit.Eventually(t, func() bool { return g.where() == control.StateLaunching })
	if err := g.run("running"); err == nil || failed(0, err).Refused {
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
	if err := g.run("running"); err != nil {
		t.Fatal(err)
	}
	q.Cmd.Process.Kill()
	q.Cmd.Process.Wait()
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
	j, _ := newJournal(t, filepath.Join(dir, "recv.journal"))
	for vm, name := range []string{"web", "gone"} {
		if err := j.Append(handover.Record{Kind: handover.RecPrepare, Peer: "source", Evacuation: testEvacuation, VM: vm, Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	j.Close()
	s := openSite(t, nil, "target", func(c *RecvConfig) { c.RunDir = dir })
	if err := q.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("it ended with %v", err)
	}
	if pids, err := qemu.Leftovers(dir, "other"); err != nil || len(pids) != 1 {
		t.Errorf("another VM's: %v, %v", pids, err)
	}
	s.alive()
}

// sourceOf is a VM of a real QEMU, as an evacuation finds it.
func sourceOf(t *testing.T, q *kit.LiveQEMU, e *evacuation) *migrant {
	t.Helper()
	q.Client.Close()
	v, err := discoverVM(t.Context(), len(e.vms), q.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.close)
	m := migrantsOf([]*sourceVM{v})[0]
	e.vms, e.migrants = append(e.vms, v), append(e.migrants, m)
	return m
}

// TestOpenJournalBars: a VM that an evacuation has left open is not sent anew, and one whose process is another is.
func TestOpenJournalBars(t *testing.T) {
	e := evacuationOf(mustConfig(t))
	e.cfg.RunDir = t.TempDir()
	v := sourceOf(t, kit.StartQEMU(t, kit.SocketDir(t), "web", "-S"), e)
	rec := handover.Record{Kind: handover.RecCommit, Name: "web", PID: v.vm.PID, Start: v.vm.StartTime}
	for name, c := range map[string]struct {
		change func(*handover.Record)
		barred string
	}{
		"committed":                {func(*handover.Record) {}, "scatter recover"},
		"only looked at":           {func(r *handover.Record) { r.Kind = handover.RecSettings }, "scatter recover"},
		"had stayed":               {func(r *handover.Record) { r.Kind = handover.RecStayed }, ""},
		"stayed, target not told":  {func(r *handover.Record) { r.Kind, r.Untold = handover.RecStayed, true }, "scatter recover"},
		"another process by now":   {func(r *handover.Record) { r.Start-- }, ""},
		"of a process that is not": {func(r *handover.Record) { r.PID = kit.DeadPID }, ""},
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
	e := evacuationOf(mustConfig(t))
	dir := t.TempDir()
	q := kit.StartQEMU(t, kit.SocketDir(t), "web", "-S")
	q.Do("migrate-set-parameters", map[string]int{"downtime-limit": 1234})
	v := sourceOf(t, q, e)
	if err := v.checkMigration(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := e.recordOf(v, handover.RecSettings)
	if err := v.tune(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	v.client.Close() // that is how a killed sender leaves it
	path := leftBehind(t, dir, r)
	got, err := Recover(t.Context(), model.RecoverConfig{RunDir: dir})
	if err != nil || len(got.VMs) != 0 || system.Exists(path) {
		t.Fatalf("%+v, %v, journal there: %v", got, err, system.Exists(path))
	}
	c, err := qemu.Dial(t.Context(), q.Socket)
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
	if err := g.record(handover.RecLoaded); err != nil {
		t.Fatal(err)
	}
	cfg := model.RecoverConfig{RunDir: s.r.cfg.RunDir, Run: "web"}
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
	c, err := qemu.Dial(t.Context(), q.Socket)
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
		before func(q *kit.LiveQEMU, v *migrant)
		want   string
		off    bool
	}{
		"running":             {func(*kit.LiveQEMU, *migrant) {}, "running", false},
		"paused by a manager": {func(q *kit.LiveQEMU, v *migrant) { v.client.Stop(q.T.Context()) }, "paused", false},
		"paused by scatter": {func(q *kit.LiveQEMU, v *migrant) {
			if err := v.pause(q.T.Context(), func() error { return nil }); err != nil {
				q.T.Fatal(err)
			}
		}, "running", false},
		"powered off": {func(q *kit.LiveQEMU, v *migrant) {
			if err := v.client.Do(q.T.Context(), "system_reset", nil, nil); err != nil {
				q.T.Fatal(err)
			}
			kit.Eventually(q.T, func() bool { s, err := v.client.Status(q.T.Context()); return err == nil && s.Status == "shutdown" })
		}, "shutdown", true},
	} {
		t.Run(name, func(t *testing.T) {
			q := kit.StartQEMU(t, kit.SocketDir(t), "web", "-no-reboot", "-no-shutdown")
			v := sourceOf(t, q, evacuationOf(mustConfig(t)))
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
		end  func(q *kit.LiveQEMU, v *migrant)
		want string
	}{
		{nil, func(q *kit.LiveQEMU, v *migrant) { q.Cmd.Process.Kill() }, "source-gone: killed, or crashed"},
		{nil, func(q *kit.LiveQEMU, v *migrant) { v.client.Quit(q.T.Context()) }, "source-gone: shut down (host-qmp-quit)"},
		{[]string{"-no-reboot"}, func(q *kit.LiveQEMU, v *migrant) { v.client.Do(q.T.Context(), "system_reset", nil, nil) }, "source-gone: shut down (host-qmp-system-reset)"},
		{[]string{"-no-reboot", "-no-shutdown"}, func(q *kit.LiveQEMU, v *migrant) { v.client.Do(q.T.Context(), "system_reset", nil, nil) }, "powered-off: its guest has powered itself off"},
	} {
		t.Run(c.want, func(t *testing.T) {
			e := evacuationOf(mustConfig(t))
			e.log = e.cfg.Log
			q := kit.StartQEMU(t, kit.SocketDir(t), "web", c.args...)
			v := sourceOf(t, q, e)
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() { defer close(over); watching{e}.watchSources(ctx) }()
			defer func() { cancel(); <-over }()
			go q.Wait()
			kit.Eventually(t, func() bool { // until it follows the events
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
				got += fmt.Sprintf("%s: %v", ev.Kind, ev.Err)
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
	e := evacuationOf(mustConfig(t))
	e.seed = testSeed
	e.log = e.cfg.Log
	for i, name := range []string{"dead", "alive"} {
		q := kit.StartQEMU(t, kit.SocketDir(t), name, "-S")
		v := sourceOf(t, q, e)
		v.index = i
		for k, b := range v.vm.Blocks {
			v.blocks = append(v.blocks, system.RAMBlock{Name: b.ID, Length: b.Length, Index: k, Hidden: b.Host == 0})
		}
		if name == "dead" {
			q.Cmd.Process.Kill()
			q.Wait()
		}
	}
	if err := e.scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dead, alive := e.pagesOf[0], e.pagesOf[1]; dead.Zero != dead.Total || alive.Zero == alive.Total {
		t.Errorf("pages of the dead VM %+v, of the other %+v", dead, alive)
	}
	if w := e.vms[0].whereItIs(); w != handover.Ended {
		t.Errorf("it is %s", w)
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
