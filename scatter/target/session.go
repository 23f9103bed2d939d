package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/disk"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/trial"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// maxVMs bounds the VMs of one evacuation.
const maxVMs = 4096

// session is one evacuation as its target sees it.
type session struct {
	r    *receiver
	key  sessionKey
	conn *control.Conn
	log  *slog.Logger

	mcast  atomic.Pointer[multicast.Receiver] // set by begin; read by the target's limits, too
	probes *probe.Listener
	wg     sync.WaitGroup // of tries, prepares and runs

	examined atomic.Int64 // bytes of the VMs that are being tried

	jobs  sync.Mutex // guards doing
	doing map[job]bool

	intake *pages.Intake // set by begin
}

// serve handles the source's messages until it ends the evacuation or is lost. Then the guests that are not yet loaded are given up.
func (s *session) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	s.wg.Go(func() { wire.KeepAlive(ctx, s.conn) })
	err := s.read(ctx)
	cancel()
	s.conn.Close()
	s.wg.Wait()
	s.stopListening()
	if mcast := s.mcast.Load(); mcast != nil {
		mcast.Close()
		s.logDatagrams(mcast.Stats())
	}
	if s.intake != nil {
		s.intake.Close()
	}
	s.abandon(err)
	return err
}

// logDatagrams tells what came by datagrams, and what became of it.
func (s *session) logDatagrams(st multicast.ReceiverStats) {
	level := slog.LevelInfo
	if st.Overflow > 0 {
		level = slog.LevelWarn
	}
	s.log.Log(context.Background(), level, "datagrams", "accepted", st.Accepted, "blocks", st.Blocks, "bytes", st.Bytes,
		"duplicate", st.Duplicate, "forged", st.Forged, "replayed", st.Replayed, "stray", st.Stray, "overrun", st.Overrun,
		"dropped", st.Overflow)
}

func (s *session) read(ctx context.Context) error {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(wire.LostAfter)); err != nil {
			return err
		}
		m, err := s.conn.Receive()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("source %s closed the connection", s.key.source)
		}
		if err != nil {
			return err
		}
		if _, ok := m.(control.End); ok {
			return nil
		}
		if err := s.handle(ctx, m); err != nil {
			return fmt.Errorf("source %s: %w", s.key.source, err)
		}
	}
}

func (s *session) handle(ctx context.Context, m control.Message) error {
	switch m := m.(type) {
	case control.Ping:
		return nil
	case control.Begin:
		return s.begin(m)
	case control.Multicast:
		mcast := s.mcast.Load()
		if mcast == nil {
			return errors.New("multicast before begin")
		}
		return mcast.HandleControl(m.Body)
	case control.Examine:
		return s.examine(ctx, m)
	case control.Listen:
		return s.listen(m)
	case control.Count:
		return s.count()
	case control.Prepare:
		return s.prepare(ctx, m)
	case control.Digest:
		return s.withGuest(job{m.VM, m.Type()}, func(g *guest) error { return receiving{g}.sendDigest(ctx, s.conn, m.Skip) })
	case control.Run:
		return s.withGuest(job{m.VM, m.Type()}, func(g *guest) error {
			if err := (running{g}).run(m.State); err != nil {
				return err
			}
			return s.conn.Send(control.Running{VM: m.VM})
		})
	case control.Abort:
		return s.withGuest(job{m.VM, m.Type()}, func(g *guest) error {
			g.abort(errors.New(m.Reason))
			return nil
		})
	}
	return fmt.Errorf("unexpected %s", m.Type())
}

// maxExamined bounds the bytes of the VMs that wait to be tried.
const maxExamined = 256 << 20

// examine tries a VM and answers, meanwhile others are tried and served.
func (s *session) examine(ctx context.Context, m control.Examine) error {
	size := int64(len(m.Header) + maxExamined/maxVMs)
	for _, a := range m.Argv {
		size += int64(len(a))
	}
	if m.VM < 0 || m.VM >= maxVMs || s.examined.Add(size) > maxExamined {
		return fmt.Errorf("vm number %d, or more than %d MiB of VMs to try", m.VM, maxExamined>>20)
	}
	s.wg.Go(func() {
		defer s.examined.Add(-size)
		answer := control.Examined{VM: m.VM}
		shared, err := s.r.tries.Examine(ctx, m)
		answer.Shared = shared
		if untried, ok := errors.AsType[*qemu.UntriedError](err); ok {
			answer.Untried = untried.Error()
		} else if without, ok := errors.AsType[*trial.NoPostCopyError](err); ok {
			answer.NoPostCopy = without.Error()
		} else if err != nil {
			answer.Error = err.Error()
			if lacks, ok := errors.AsType[*trial.LacksError](err); ok {
				answer.Off = lacks.Off
			}
			s.log.Info("would not take a vm", "vm", m.Name, "why", err)
		}
		_ = s.conn.Send(answer) // a lost source asks no more
	})
	return nil
}

// job is something that a source has asked for, of which there is one at a time for each VM.
type job struct {
	vm   int
	what control.Type
}

// begins notes a job, unless the same is being done.
func (s *session) begins(j job) error {
	s.jobs.Lock()
	defer s.jobs.Unlock()
	if s.doing[j] {
		return fmt.Errorf("%s of vm %d while another is under way", j.what, j.vm)
	}
	if s.doing == nil {
		s.doing = make(map[job]bool)
	}
	s.doing[j] = true
	return nil
}

func (s *session) ends(j job) {
	s.jobs.Lock()
	defer s.jobs.Unlock()
	delete(s.doing, j)
}

// withGuest does a job in a goroutine of the session, and tells the source when it fails.
func (s *session) withGuest(j job, f func(*guest) error) error {
	g := s.r.guest(guestKey{s.key, j.vm})
	if g == nil {
		s.fail(j.vm, errors.New("no such VM was prepared"))
		return nil
	}
	if err := s.begins(j); err != nil {
		return err
	}
	s.wg.Go(func() {
		defer s.ends(j)
		if err := f(g); err != nil {
			s.fail(j.vm, err)
		}
	})
	return nil
}

func (s *session) fail(vm int, err error) {
	s.log.Warn("vm failed", "vm", vm, "err", err)
	_ = s.conn.Send(failed(vm, err)) // a lost source finds out by itself
}

// failed puts an error into a message.
func failed(vm int, err error) control.Failed {
	_, refused := errors.AsType[hypervisor.RefusedError](err)
	return control.Failed{VM: vm, Error: err.Error(), Refused: refused}
}

// begin opens the data plane.
func (s *session) begin(m control.Begin) error {
	if s.mcast.Load() != nil {
		return errors.New("begin came twice")
	}
	conf := multicast.ReceiverConfig{Interface: s.r.cfg.Interface, Ports: s.r.cfg.Ports, Source: m.Source, Window: model.WindowBytes,
		Deliver: func(_ multicast.ChannelID, _ uint64, payload []byte) error { return s.intake.Deliver(payload) }, Begin: system.StandBehindGuests, Log: s.log,
		Control: func(b []byte) error { return s.conn.Send(control.Multicast{Body: b}) }}
	if len(m.Key) != len(conf.Key) || !validSource(m.Source) {
		return errors.New("begin: key or source address is malformed")
	}
	var err error
	if conf.Local, err = s.localFor(m.Source); err != nil {
		return err
	}
	copy(conf.Key[:], m.Key)
	conf.Evacuation = s.key.id()
	if s.intake, err = pages.NewIntake(s.sink, s.unplaced); err != nil {
		return err
	}
	mcast, err := multicast.NewReceiver(conf)
	if err != nil {
		return err
	}
	s.mcast.Store(mcast)
	return s.conn.Send(control.Begun{Datagram: mcast.UnicastAddr()})
}

// localFor is the address of this host for datagrams from a source: the one that it is connected to, if that is one of the interface.
func (s *session) localFor(source netip.Addr) (netip.Addr, error) {
	return system.InterfaceAddr(s.r.cfg.Interface, source, s.conn.LocalAddr(), source)
}

func validSource(a netip.Addr) bool {
	return a.IsValid() && !a.Is4In6() && a.Zone() == "" && !a.IsMulticast() && !a.IsUnspecified()
}

func (s *session) prepare(ctx context.Context, m control.Prepare) error {
	if m.VM < 0 || m.VM >= maxVMs {
		return fmt.Errorf("vm number %d", m.VM)
	}
	g := newGuest(s.r, guestKey{s.key, m.VM}, m, s.conn)
	if err := s.r.enter(g); err != nil {
		s.fail(m.VM, err)
		return nil
	}
	s.wg.Go(func() {
		if err := (receiving{g}).prepare(ctx); err != nil {
			g.abort(err)
			s.fail(m.VM, fmt.Errorf("vm %s: %w", m.Name, err))
		}
	})
	return nil
}

// sink is who gets a VM's pages; nil: another target.
func (s *session) sink(vm int) pages.Sink {
	g := s.r.guest(guestKey{s.key, vm})
	if g == nil {
		return nil
	}
	_, ram, _ := g.grip.held()
	switch disks := g.grip.stored(); {
	case ram == nil:
		return nil // it does not stand yet
	case disks != nil:
		return disk.Shelf{RAM: ram, Store: disks}
	}
	return ram
}

// unplaced gives up a guest that could not take its pages.
func (s *session) unplaced(vm int, err error) {
	if g := s.r.guest(guestKey{s.key, vm}); g != nil {
		g.abort(err)
	}
	s.fail(vm, err)
}

// abandon gives up the guests of this evacuation that are not loaded. Loaded ones wait for the source's decision, which
// comes over a new connection.
func (s *session) abandon(err error) {
	if err == nil {
		err = errors.New("the source has ended the evacuation")
	}
	s.r.mu.Lock()
	var guests []*guest
	for k, g := range s.r.guests {
		if k.sessionKey == s.key {
			guests = append(guests, g)
		}
	}
	s.r.mu.Unlock()
	for _, g := range guests {
		g.orphan(err)
		if w := g.where(); w == control.StateAborted || w == control.StateEnded {
			s.r.drop(g)
			g.release()
		}
	}
}
