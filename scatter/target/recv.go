package target

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/traffic"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/hypervisor/qmp"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/reclaim"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/trial"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// receiver is the target side: it listens, holds the guests and knows what became of each.
type receiver struct {
	cfg     Config
	log     *slog.Logger
	logged  *bounds.LogLedger
	vmLogs  *bounds.VMLogs
	life    context.Context // ends when the receiver is told to stop
	journal *journal.Journal
	room    bounds.Room
	link    traffic.Meter
	host    hypervisor.Host
	tries   *trial.Trials
	door    *bounds.Door

	version string // of the QEMU that it starts, where the source does not say which

	mu       sync.Mutex // guards the fields below
	sessions map[sessionKey]*session
	guests   map[guestKey]*guest
	names    map[string]bool // VM names in use
}

// sessionKey names one evacuation of one source; a source cannot touch another's.
type sessionKey struct{ source, evacuation string }

type guestKey struct {
	sessionKey
	vm int
}

// Receive serves evacuations until ctx ends. VMs that wait for pages are then given up, VMs that are loaded or run
// stay as they are.
func Receive(ctx context.Context, cfg Config) error {
	r, err := newReceiver(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.close()
	return r.listen(ctx)
}

// listen serves at the control address until ctx ends.
func (r *receiver) listen(ctx context.Context) error {
	conf, err := pki.LoadServer(r.cfg.TLSDir, r.cfg.AllowSources)
	if err != nil {
		return err
	}
	if err := pki.CheckOwn(r.cfg.TLSDir, r.cfg.Name); err != nil {
		return err
	}
	lc := net.ListenConfig{Control: wire.TuneSocket, KeepAlive: -1}
	l, err := lc.Listen(ctx, "tcp", r.cfg.Listen.String())
	if err != nil {
		return fmt.Errorf("listen on %s: %w", r.cfg.Listen, err)
	}
	r.log.Info("listening", "name", r.cfg.Name, "address", l.Addr().String(), "memory", r.room.Free(), "qemu", r.version)
	if r.cfg.Limits != nil {
		r.cfg.Limits(r.limits)
	}
	if r.cfg.Ready != nil {
		r.cfg.Ready(l.Addr().(*net.TCPAddr).AddrPort())
	}
	return r.serve(ctx, l, conf)
}

func newReceiver(ctx context.Context, cfg Config) (*receiver, error) {
	if cfg.RunDir == "" {
		cfg.RunDir = model.DefaultRunDir
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Name == "" {
		return nil, errors.New("name: must be this host's name, as in its certificate")
	}
	if _, err := system.InterfaceAddr(cfg.Interface, netip.IPv4Unspecified()); err != nil {
		if _, err6 := system.InterfaceAddr(cfg.Interface, netip.IPv6Unspecified()); err6 != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(cfg.RunDir, 0o700); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	j, records, err := journal.Open(filepath.Join(cfg.RunDir, "recv.journal"))
	if err != nil {
		return nil, err
	}
	cfg.Policy.Programs = cmp.Or(cfg.Policy.Programs, new(qemu.Programs))
	log, logged := bounds.LimitLog(cfg.Log)
	r := &receiver{cfg: cfg, log: log, logged: logged, life: ctx, journal: j, sessions: make(map[sessionKey]*session),
		tries: trial.NewTrials(cfg.Policy, cfg.Launcher, cfg.RunDir, log), door: bounds.NewDoor(cfg.Log), guests: make(map[guestKey]*guest), names: make(map[string]bool)}
	r.host = &qmp.Host{Policy: cfg.Policy, Launcher: cfg.Launcher, RunDir: cfg.RunDir, Log: log}
	r.vmLogs = &bounds.VMLogs{Dir: cfg.RunDir, Here: r.here, Log: log}
	r.link = traffic.Meter{Interface: cfg.Interface}
	r.room = bounds.Room{Memory: cfg.Memory, VCPUs: cfg.VCPUs, Touched: r.touched}
	if s, err := cfg.Policy.Programs.Survey(ctx, defaultQEMU(cfg.Policy.QEMU)); err == nil {
		r.version = s.Version // "" where there is none
	}
	if err := r.adopt(ctx, records); err != nil {
		j.Close()
		return nil, err
	}
	return r, nil
}

// serve accepts connections, each in its goroutine, and waits for all of them.
func (r *receiver) serve(ctx context.Context, l net.Listener, conf *tls.Config) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	wg.Go(func() { r.vmLogs.Tidy(ctx) })
	wg.Go(func() { r.link.Watch(ctx) })
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil // told to stop
			}
			var ne net.Error
			if errors.As(err, &ne) && !errors.Is(err, net.ErrClosed) {
				r.log.Warn("accept", "err", err)
				if system.Pause(ctx, 100*time.Millisecond) == nil {
					continue
				}
			}
			return fmt.Errorf("accept: %w", err)
		}
		r.door.Knock(c)
		wg.Go(func() {
			defer r.door.Gone(c)
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			if err := r.connection(ctx, c, tls.Server(c, conf)); err != nil {
				r.log.Warn("connection ended", "peer", c.RemoteAddr().String(), "err", err)
			}
		})
	}
}

// connection shakes hands and does what the peer came for.
func (r *receiver) connection(ctx context.Context, raw net.Conn, t *tls.Conn) error {
	hctx, cancel := context.WithTimeout(ctx, bounds.HandshakeTime)
	defer cancel()
	if err := t.HandshakeContext(hctx); err != nil {
		return pki.Explain(t.RemoteAddr().String(), err)
	}
	source := pki.PeerName(t.ConnectionState())
	leave, err := r.door.Enter(raw, source)
	if err != nil {
		return err
	}
	defer leave()
	c := control.NewConn(t, source, wire.LostAfter)
	if err := c.SetReadDeadline(time.Now().Add(wire.HelloTimeout)); err != nil {
		return err
	}
	m, err := c.Receive()
	if err != nil {
		return err
	}
	hello, ok := m.(control.Hello)
	if !ok {
		return fmt.Errorf("source %s: %s instead of hello", source, m.Type())
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	key := sessionKey{source, hello.Evacuation}
	if err := r.check(hello); err != nil {
		_ = c.Send(control.Welcome{Version: model.ProtocolVersion, Name: r.cfg.Name, Error: err.Error()}) // the error is logged here too
		return fmt.Errorf("source %s: %w", source, err)
	}
	switch hello.Purpose {
	case control.PurposeControl:
		return r.controlConn(ctx, c, key)
	case control.PurposeStream, control.PurposeFill:
		return r.streamConn(ctx, c, guestKey{key, hello.VM}, hello.Purpose)
	default:
		return r.recoverConn(c, key)
	}
}

func (r *receiver) check(h control.Hello) error {
	if h.Version != model.ProtocolVersion {
		return &wire.VersionError{Ours: model.ProtocolVersion, Theirs: h.Version}
	}
	if b, err := hex.DecodeString(h.Evacuation); err != nil || len(b) != 8 {
		return fmt.Errorf("evacuation id %.32q: must be 16 hex digits", h.Evacuation)
	}
	switch h.Purpose {
	case control.PurposeControl, control.PurposeStream, control.PurposeFill, control.PurposeRecover:
		return nil
	}
	return fmt.Errorf("purpose %.32q: unknown", h.Purpose)
}

// touched is what the VMs here have in memory of what they may have. mu is held.
func (r *receiver) touched() (sum int64) {
	for _, g := range r.guests {
		if pid := g.pid.Load(); pid > 0 && !g.forgotten {
			sum += min(g.takes(), bounds.ResidentMemory(int(pid)))
		}
	}
	return sum
}

func (r *receiver) welcome() control.Welcome {
	used, err := r.link.Rate()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := control.Welcome{Version: model.ProtocolVersion, Name: r.cfg.Name, Memory: r.room.Free(), VCPUs: r.room.FreeVCPUs(), QEMU: r.version, VMs: []string{}}
	if err == nil {
		w.Traffic = &control.Traffic{Sent: int64(used.Sent), Received: int64(used.Received)}
	}
	for n := range r.names {
		w.VMs = append(w.VMs, n)
	}
	slices.Sort(w.VMs)
	return w
}

// controlConn serves the control connection of one evacuation.
func (r *receiver) controlConn(ctx context.Context, c *control.Conn, key sessionKey) error {
	s := &session{r: r, key: key, conn: c, log: r.log.With("source", key.source, "evacuation", key.evacuation)}
	if err := r.register(s); err != nil {
		return errors.Join(fmt.Errorf("source %s: %w", key.source, err),
			c.Send(control.Welcome{Version: model.ProtocolVersion, Name: r.cfg.Name, Error: err.Error()}))
	}
	defer func() {
		r.mu.Lock()
		delete(r.sessions, key)
		r.mu.Unlock()
	}()
	if err := c.Send(r.welcome()); err != nil {
		return err
	}
	return s.serve(ctx)
}

// register makes a session the one of its evacuation.
func (r *receiver) register(s *session) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.sessions[s.key] != nil:
		return fmt.Errorf("evacuation %s is already connected", s.key.evacuation)
	case len(r.sessions) >= bounds.MaxSessions:
		return fmt.Errorf("%d evacuations are connected, which is the most", bounds.MaxSessions)
	}
	of := 0
	for k := range r.sessions {
		if k.source == s.key.source {
			of++
		}
	}
	if of >= bounds.MaxOfSource {
		return fmt.Errorf("%d evacuations of this source are connected, which is the most", bounds.MaxOfSource)
	}
	r.sessions[s.key] = s
	return nil
}

// streamConn feeds one guest's migration stream into its QEMU, or the pages that it lacks still.
func (r *receiver) streamConn(ctx context.Context, c *control.Conn, key guestKey, what control.Purpose) error {
	g := r.guest(key)
	if g == nil {
		return c.Send(control.Welcome{Version: model.ProtocolVersion, Name: r.cfg.Name, Error: "no such VM was prepared"})
	}
	if err := c.Send(control.Welcome{Version: model.ProtocolVersion, Name: r.cfg.Name}); err != nil {
		return err
	}
	if what == control.PurposeFill {
		return filling{g}.feed(ctx, c)
	}
	return receiving{g}.feed(ctx, c)
}

// recoverConn answers questions about VMs of an earlier or broken evacuation.
func (r *receiver) recoverConn(c *control.Conn, key sessionKey) error {
	if err := c.Send(r.welcome()); err != nil {
		return err
	}
	for {
		if err := c.SetReadDeadline(time.Now().Add(wire.LostAfter)); err != nil {
			return err
		}
		m, err := c.Receive()
		if err != nil {
			return nil // it has asked all it wanted
		}
		var vm int
		switch m := m.(type) {
		case control.Query:
			vm = m.VM
		case control.Run:
			vm = m.VM
			if g := r.guest(guestKey{key, vm}); g != nil {
				if err := (running{g}).run(m.State); err != nil && !errors.Is(err, errLaunching) {
					return errors.Join(err, c.Send(failed(vm, err)))
				}
			}
		case control.Abort:
			vm = m.VM
			if g := r.guest(guestKey{key, vm}); g != nil {
				g.abortAndWait(errors.New(m.Reason))
			}
		default:
			return fmt.Errorf("source %s: %s on a recover connection", key.source, m.Type())
		}
		if err := c.Send(control.State{VM: vm, State: r.state(guestKey{key, vm})}); err != nil {
			return err
		}
	}
}

func (r *receiver) state(key guestKey) control.VMState {
	if g := r.guest(key); g != nil {
		return g.where()
	}
	return control.StateUnknown
}

func (r *receiver) guest(key guestKey) *guest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.guests[key]
}

// enter registers a guest under its name, with its share of the room.
func (r *receiver) enter(g *guest) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.guests[g.key] != nil:
		return fmt.Errorf("vm %d was already prepared", g.key.vm)
	case r.names[g.p.Name]:
		return fmt.Errorf("a VM called %s is here already", g.p.Name)
	}
	if err := r.room.Take(g.takes(), g.p.VCPUs); err != nil {
		return err
	}
	r.guests[g.key], r.names[g.p.Name] = g, true
	return nil
}

// forget gives a guest's name and room back. Its state stays known for those who ask.
func (r *receiver) forget(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !g.forgotten {
		g.forgotten = true
		delete(r.names, g.p.Name)
		r.room.Give(g.takes(), g.p.VCPUs)
	}
}

// here tells whether a VM of this name is here.
func (r *receiver) here(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.names[name]
}

// journalRoom makes sure that the journal has room for one VM more.
func (r *receiver) journalRoom() error {
	if err := r.journal.Shrink(reclaim.StillAsked); err != nil {
		r.log.Error("the journal grows", "err", err)
	}
	if n := r.journal.Size(); n > journal.MaxJournal {
		return fmt.Errorf("the journal has %d MiB, which is the most: its VMs must leave first", n>>20)
	}
	return nil
}

// drop forgets a guest altogether, once nobody can have a use for its state: a source that asks
// learns that nothing of it is here, which is as true of one that was given up.
func (r *receiver) drop(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.guests, g.key)
}

// dropUnasked is drop for a guest whose source is not connected: nobody is about to ask what became of it.
func (r *receiver) dropUnasked(g *guest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sessions[g.key.sessionKey] == nil {
		delete(r.guests, g.key)
	}
}

// close gives up guests that wait for pages and releases the rest.
func (r *receiver) close() {
	r.mu.Lock()
	guests := make([]*guest, 0, len(r.guests))
	for _, g := range r.guests {
		guests = append(guests, g)
	}
	r.mu.Unlock()
	for _, g := range guests {
		g.release()
	}
	r.journal.Close()
}

// defaultQEMU is the binary that tells the version when none is configured.
func defaultQEMU(binary string) string {
	if binary != "" {
		return binary
	}
	return "/usr/bin/qemu-system-x86_64"
}
