package target

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
)

// listening is a guest whose QEMU can speak on the returned connection.
func (s *site) listening(state life.State) (*guest, net.Conn) {
	s.t.Helper()
	g, far := s.guest(0, "web", state)
	g.grip.proc = ended(s.t, "/nonexistent/web.log")
	g.wg.Go(func() { receiving{g}.readReturn(g.grip.in) })
	return g, far
}

func say(t *testing.T, c net.Conn, messages ...stream.Return) {
	t.Helper()
	for _, m := range messages {
		if _, err := c.Write(m.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestGuestHearsQEMU: what QEMU says on its way back moves the guest on, and the journal knows before the source does.
func TestGuestHearsQEMU(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	g, qemu := s.listening(life.Streaming)
	other := stream.Return{Kind: stream.ReturnPong, Value: 7} // of a PING in the source's own stream
	say(t, qemu, other, other)                                // when the second is taken, the first is dealt with
	select {
	case <-g.prepared:
		t.Error("prepared by a PONG to another PING")
	default:
	}
	pong := stream.Return{Kind: stream.ReturnPong, Value: system.HeadPing}
	say(t, qemu, pong, pong)
	<-g.prepared
	say(t, qemu, stream.Return{Kind: stream.ReturnShut})
	m, err := next(t, l.Conn)
	if l, ok := m.(control.Loaded); !ok || l.VM != 0 || g.where() != control.StateLoaded {
		t.Errorf("the source hears %+v, %v; the guest is %s", m, err, g.where())
	}
	if records := enginekit.ReadJournal(t, s.r.journal.Path); len(records) != 1 || records[0].Kind != handover.RecLoaded {
		t.Errorf("records %+v", records)
	}
}

// TestGuestFails: a QEMU that cannot load, or says what it should not, or ends, gives its guest up.
func TestGuestFails(t *testing.T) {
	for want, speak := range map[string]func(c net.Conn){
		"could not load the VM":      func(c net.Conn) { c.Write(stream.Return{Kind: stream.ReturnShut, Value: 1}.Append(nil)) },
		"closed the incoming socket": func(c net.Conn) { c.Close() },
		"return path":                func(c net.Conn) { c.Write([]byte{0xff, 0xff, 0, 4, 1, 2, 3, 4}) },
	} {
		t.Run(want, func(t *testing.T) {
			s := openSite(t, nil, "target", nil)
			l := s.open()
			g, qemu := s.listening(life.Streaming)
			speak(qemu)
			wantFailed(t, l, g, want)
		})
	}
}

// TestGuestLoadedTooLate: a guest that was given up stays so, also in the journal.
func TestGuestLoadedTooLate(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, _ := s.guest(0, "web", life.Streaming)
	g.abort(errAway)
	receiving{g}.loaded()
	vms, _ := handover.Histories(enginekit.ReadJournal(t, s.r.journal.Path))
	if g.where() != control.StateAborted || len(vms) != 1 || vms[0].Last.Kind != handover.RecAbort {
		t.Errorf("the guest is %s, journal %+v", g.where(), vms[0].Last)
	}
}

// TestGuestCannotBeRecorded: a VM whose state cannot be written down is never called loaded, nor run.
func TestGuestCannotBeRecorded(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	streaming, _ := s.guest(0, "a", life.Streaming)
	loaded, _ := s.guest(1, "b", life.Loaded)
	if err := os.Remove(s.r.journal.Path); err != nil {
		t.Fatal(err)
	}
	receiving{streaming}.loaded()
	wantFailed(t, l, streaming, "journal")
	_, refused := errors.AsType[hypervisor.RefusedError](running{loaded}.run("running"))
	if err := (running{loaded}.run("running")); !refused || !strings.Contains(err.Error(), "journal") || loaded.where() != control.StateLoaded {
		t.Errorf("run: %v, the guest is %s", err, loaded.where())
	}
}

func TestGuestRunsOnlyWhenLoaded(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	for vm, state := range []life.State{life.Starting, life.Waiting, life.Streaming, life.Ended, life.Aborted} {
		g, _ := s.guest(vm, state.String(), state)
		if err := (running{g}.run("running")); err == nil || !strings.Contains(err.Error(), "is "+state.String()+", not loaded") || g.life.Now() != state {
			t.Errorf("%s: %v, now %s", state, err, g.life.Now())
		}
	}
	g, _ := s.guest(9, "runs", life.Running)
	if err := (running{g}.run("running")); err != nil {
		t.Errorf("told again: %v", err)
	}
	g.abort(errAway)
	if g.where() != control.StateRunning {
		t.Errorf("given up while it runs: %s", g.where())
	}
}

func TestGuestDigestNeedsIt(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	s.guest(0, "web", life.Streaming)
	if err := l.Conn.Send(control.Digest{VM: 0}); err != nil {
		t.Fatal(err)
	}
	m, err := next(t, l.Conn)
	if f, ok := m.(control.Failed); !ok || !strings.Contains(f.Error, "cannot be digested") {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestGuestDigest: the target digests the RAM that it holds.
func TestGuestDigest(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	l := s.open()
	ram := system.RAMBlock{Name: "pc.ram", Length: 16 * model.PageSize}
	g, _ := s.guest(0, "web", life.Starting, ram)
	b, mem := kit.OwnRAM(t, 16)
	kit.Stamp(b[model.PageSize:], 5)
	g.grip.take(func(h *grip) { h.ram = pages.NewRAM([]system.RAMBlock{ram}, mem, false) })
	g.set(life.Loaded)
	if err := l.Conn.Send(control.Digest{VM: 0}); err != nil {
		t.Fatal(err)
	}
	m, err := next(t, l.Conn)
	want, derr := system.DigestRAM(t.Context(), oneBlock(b), []system.RAMBlock{ram}, nil)
	if d, ok := m.(control.Digested); !ok || derr != nil || system.CompareDigests("web", g.grip.ram.Blocks, want, d) != nil {
		t.Errorf("%+v, %v, %v", m, err, derr)
	}
}

// oneBlock is guest RAM of one block.
type oneBlock []byte

func (b oneBlock) ReadPages(_ int, first uint32, n int, dst []byte) error {
	copy(dst, b[int(first)*model.PageSize:(int(first)+n)*model.PageSize])
	return nil
}

// TestLookingWaitsForNoRecord: a disk that takes its time keeps only those waiting who change the same VM.
func TestLookingWaitsForNoRecord(t *testing.T) {
	s := openSite(t, nil, "target", nil)
	s.open()
	g, _ := s.guest(0, "web", life.Waiting, system.RAMBlock{Name: "pc.ram", Length: model.PageSize})
	writes, written := make(chan struct{}), make(chan struct{})
	go func() { // a record is being written
		_ = g.life.Change(life.Waiting, life.Waiting, handover.RecPrepare, func(*handover.Record) { close(writes); <-written })
	}()
	<-writes
	changed := make(chan error)
	go func() { changed <- g.life.Change(life.Waiting, life.Streaming, "", nil) }()
	if w := g.where(); w != control.StateHeld {
		t.Errorf("the guest is %s", w)
	}
	if s.session().sink(0) == nil {
		t.Error("its pages have nowhere to go")
	}
	select {
	case err := <-changed:
		t.Errorf("changed before its turn: %v", err)
	default:
	}
	close(written)
	if err := <-changed; err != nil || g.life.Now() != life.Streaming {
		t.Errorf("%v, the guest is %s", err, g.life.Now())
	}
}
