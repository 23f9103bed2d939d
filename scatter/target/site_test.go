package target

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/target/life"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// site is a receiver that serves on the loopback interface, and a source that may use it.
type site struct {
	t      *testing.T
	ca     *kit.Authority
	r      *receiver
	target model.TargetAddr
	tlsDir string // of host "source"
	log    *kit.LogBook
	stop   func() // ends the receiver and waits for it
}

// noQEMU is a binary that is not there: nothing in these tests may start one.
const noQEMU = "/nonexistent/qemu-system-x86_64"

// openSite starts a receiver called name. ca may be nil.
func openSite(t *testing.T, ca *kit.Authority, name string, change func(*Config)) *site {
	t.Helper()
	if ca == nil {
		ca = kit.NewAuthority(t)
	}
	s := &site{t: t, ca: ca, log: &kit.LogBook{}, tlsDir: ca.Host("source")}
	ready := make(chan netip.AddrPort, 1)
	cfg := Config{Name: name, Listen: netip.AddrPortFrom(kit.Loopback, 0), Interface: "lo", TLSDir: ca.Host(name), RunDir: t.TempDir(),
		Memory: 1 << 30, VCPUs: 8, Policy: qemu.LaunchPolicy{QEMU: noQEMU}, Log: slog.New(slog.NewTextHandler(s.log, nil)),
		Ready: func(a netip.AddrPort) { ready <- a }}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if s.r, err = newReceiver(ctx, cfg); err != nil {
		cancel()
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.r.listen(ctx) }()
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.r.close()
	})
	t.Cleanup(s.stop)
	select {
	case a := <-ready:
		s.target = model.TargetAddr{Name: name, Addr: a}
	case err := <-served:
		t.Fatal(err)
	}
	return s
}

const testEvacuation = "00112233445566ff"

func (s *site) dialer() wire.Dialer {
	return wire.Dialer{Target: s.target, TLSDir: s.tlsDir, Evacuation: testEvacuation, Sent: new(atomic.Int64)}
}

// tls opens a connection as source, before any frame.
func (s *site) tls() *tls.Conn {
	s.t.Helper()
	conf, err := pki.LoadClient(s.tlsDir, s.target.Name)
	if err != nil {
		s.t.Fatal(err)
	}
	c, err := tls.Dial("tcp", s.target.Addr.String(), conf)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// open opens a control connection.
func (s *site) open() *wire.Link {
	s.t.Helper()
	l, err := wire.Open(s.t.Context(), s.dialer())
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { l.Close() })
	return l
}

// alive fails unless the receiver still serves honest sources.
func (s *site) alive() {
	s.t.Helper()
	if st, err := wire.AskState(s.t.Context(), s.dialer(), maxVMs-1); err != nil || st != control.StateUnknown {
		s.t.Errorf("the receiver does not serve any more: %s, %v", st, err)
	}
}

// next receives the next message that is no ping.
func next(t *testing.T, c *control.Conn) (control.Message, error) {
	t.Helper()
	for {
		m, err := c.Receive()
		if err != nil || m.Type() != control.TypePing {
			return m, err
		}
	}
}

// guest puts a guest of testEvacuation into the receiver, as it stands when its QEMU waits for pages, in the given state. What it
// would hand to QEMU can be read from the connection.
func (s *site) guest(vm int, name string, state life.State, blocks ...system.RAMBlock) (*guest, net.Conn) {
	s.t.Helper()
	return s.guestOf(testEvacuation, vm, name, state, blocks...)
}

func (s *site) guestOf(evacuation string, vm int, name string, state life.State, blocks ...system.RAMBlock) (*guest, net.Conn) {
	s.t.Helper()
	key := guestKey{sessionKey{"source", evacuation}, vm}
	s.r.mu.Lock()
	var conn *control.Conn
	if session := s.r.sessions[key.sessionKey]; session != nil {
		conn = session.conn
	}
	s.r.mu.Unlock()
	g := newGuest(s.r, key, control.Prepare{VM: vm, Name: name, Memory: 1 << 20, VCPUs: 1}, conn)
	near, far := net.Pipe()
	g.set(state)
	g.grip.in, g.grip.ram = near, pages.NewRAM(blocks, nil, false)
	if state == life.Waiting {
		g.grip.ram.Open()
	}
	if state == life.Running {
		g.grip.proc = living(s.t)
	}
	if err := s.r.enter(g); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { near.Close(); far.Close() })
	return g, far
}

// set puts the guest into a state, as if it had come there.
func (g *guest) set(state life.State) {
	g.life.Resume(state, g.life.Record())
}

// record writes down that the guest stands as it does.
func (g *guest) record(kind handover.RecordKind) error {
	s := g.life.Now()
	return g.life.Change(s, s, kind, nil)
}

// ended is a process that has ended, in place of a QEMU with that log.
func ended(t *testing.T, log string) *system.Process {
	t.Helper()
	cmd := kit.Sleeper(t)
	p, err := system.OpenProcess(cmd.Process.Pid, "", log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	cmd.Process.Kill()
	cmd.Wait()
	return p
}

// living is a process that lives, in place of a QEMU.
func living(t *testing.T) *system.Process {
	t.Helper()
	p, err := system.OpenProcess(kit.Sleeper(t).Process.Pid, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
