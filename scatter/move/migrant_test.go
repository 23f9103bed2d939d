package move

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/reclaim"
	"github.com/scatter-vm/scatter/scatter/source"
	"github.com/scatter-vm/scatter/scatter/system"
)

// sourceOf is a VM of a real QEMU, as an evacuation finds it.
func sourceOf(t *testing.T, q *kit.LiveQEMU, e *Evacuation) *migrant {
	t.Helper()
	q.Client.Close()
	v, err := source.DiscoverVM(t.Context(), len(e.VMs), q.Socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	m := migrantsOf([]*source.VM{v})[0]
	e.VMs, e.migrants = append(e.VMs, v), append(e.migrants, m)
	return m
}

// monitorOf is what others could say to the VM's QEMU.
func monitorOf(v *migrant) *qemu.Client { return v.Source.(*qmp.Source).Client }

// TestOpenJournalBars: a VM that an evacuation has left open is not sent anew, and one whose process is another is.
func TestOpenJournalBars(t *testing.T) {
	e := evacuationOf(mustConfig(t))
	e.Cfg.RunDir = t.TempDir()
	v := sourceOf(t, kit.StartQEMU(t, kit.SocketDir(t), "web", "-S"), e)
	rec := handover.Record{Kind: handover.RecCommit, Name: "web", PID: v.Facts.PID, Start: v.Facts.StartTime}
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
		path := leftBehind(t, e.Cfg.RunDir, r)
		open := func() error {
			why, err := e.StillOpen()
			if err == nil && len(why[0]) > 0 {
				err = why[0][0]
			}
			return err
		}
		err := open()
		if (err != nil) != (c.barred != "") || err != nil && !strings.Contains(err.Error(), c.barred) {
			t.Errorf("%s: %v", name, err)
		}
		j, _ := enginekit.NewJournal(t, path)
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
	if _, err := v.Examine(t.Context()); err != nil {
		t.Fatal(err)
	}
	r := e.recordOf(v, handover.RecSettings)
	if err := v.Hold(t.Context(), 1, true, false); err != nil {
		t.Fatal(err)
	}
	v.Source.Close() // that is how a killed sender leaves it
	path := leftBehind(t, dir, r)
	got, err := reclaim.Source(t.Context(), model.RecoverConfig{RunDir: dir, Log: slog.New(slog.DiscardHandler)}, path)
	if err != nil || len(got) != 0 || system.Exists(path) {
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

// TestSourceIsLeftAsItWas: a VM that is taken back stands as others have left it, not as scatter guesses.
func TestSourceIsLeftAsItWas(t *testing.T) {
	for name, c := range map[string]struct {
		before func(q *kit.LiveQEMU, v *migrant)
		want   string
		off    bool
	}{
		"running":             {func(*kit.LiveQEMU, *migrant) {}, "running", false},
		"paused by a manager": {func(q *kit.LiveQEMU, v *migrant) { v.Stop(q.T.Context()) }, "paused", false},
		"paused by scatter": {func(q *kit.LiveQEMU, v *migrant) {
			if err := v.pause(q.T.Context(), func() error { return nil }); err != nil {
				q.T.Fatal(err)
			}
		}, "running", false},
		"powered off": {func(q *kit.LiveQEMU, v *migrant) {
			if err := monitorOf(v).Do(q.T.Context(), "system_reset", nil, nil); err != nil {
				q.T.Fatal(err)
			}
			kit.Eventually(q.T, func() bool { s, err := v.Status(q.T.Context()); return err == nil && s.Status == "shutdown" })
		}, "shutdown", true},
	} {
		t.Run(name, func(t *testing.T) {
			q := kit.StartQEMU(t, kit.SocketDir(t), "web", "-no-reboot", "-no-shutdown")
			v := sourceOf(t, q, evacuationOf(mustConfig(t)))
			c.before(q, v)
			v.Gone.Store(true)
			off, err := v.takeBack(t.Context(), 0)
			s, serr := v.Status(t.Context())
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
		{nil, func(q *kit.LiveQEMU, v *migrant) { v.Quit(q.T.Context()) }, "source-gone: shut down (host-qmp-quit)"},
		{[]string{"-no-reboot"}, func(q *kit.LiveQEMU, v *migrant) { monitorOf(v).Do(q.T.Context(), "system_reset", nil, nil) }, "source-gone: shut down (host-qmp-system-reset)"},
		{[]string{"-no-reboot", "-no-shutdown"}, func(q *kit.LiveQEMU, v *migrant) { monitorOf(v).Do(q.T.Context(), "system_reset", nil, nil) }, "powered-off: its guest has powered itself off"},
	} {
		t.Run(c.want, func(t *testing.T) {
			e := evacuationOf(mustConfig(t))
			e.Log = e.Cfg.Log
			q := kit.StartQEMU(t, kit.SocketDir(t), "web", c.args...)
			v := sourceOf(t, q, e)
			ctx, cancel := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() { defer close(over); watching{e}.watchSources(ctx) }()
			defer func() { cancel(); <-over }()
			go q.Wait()
			kit.Eventually(t, func() bool { // until it follows the events
				v.Stop(t.Context())
				v.mu.Lock()
				defer v.mu.Unlock()
				return v.found == "paused" || v.Cont(t.Context()) != nil
			})
			v.Cont(t.Context())
			c.end(q, v)
			<-e.Inbox.Wait()
			var got string
			for _, ev := range e.Inbox.Take() {
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
	e.Seed = 0x5ca77e2
	e.Log = e.Cfg.Log
	for i, name := range []string{"dead", "alive"} {
		q := kit.StartQEMU(t, kit.SocketDir(t), name, "-S")
		v := sourceOf(t, q, e)
		v.Index = i
		for k, b := range v.Facts.Blocks {
			v.Blocks = append(v.Blocks, system.RAMBlock{Name: b.ID, Length: b.Length, Index: k, Hidden: b.Host == 0})
		}
		if name == "dead" {
			q.Cmd.Process.Kill()
			q.Wait()
		}
	}
	if err := e.Scan(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dead, alive := e.PagesOf[0], e.PagesOf[1]; dead.Zero != dead.Total || alive.Zero == alive.Total {
		t.Errorf("pages of the dead VM %+v, of the other %+v", dead, alive)
	}
	if w := e.VMs[0].WhereItIs(); w != handover.Ended {
		t.Errorf("it is %s", w)
	}
}
