package carry

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pages"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// basin is where bulk ends: it takes blocks as a target does, for RAM that is there already.
type basin struct {
	t      *testing.T
	name   string
	target model.TargetAddr
	stop   func() // ends it and waits for it

	mu    sync.Mutex
	sinks map[int]pages.Sink // by VM
}

// openBasin serves one source at a time.
func openBasin(t *testing.T, ca *kit.Authority, name string) *basin {
	t.Helper()
	conf, err := pki.LoadServer(ca.Host(name), nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", netip.AddrPortFrom(kit.Loopback, 0).String(), conf)
	if err != nil {
		t.Fatal(err)
	}
	s := &basin{t: t, name: name, sinks: make(map[int]pages.Sink), target: model.TargetAddr{Name: name, Addr: netip.MustParseAddrPort(l.Addr().String())}}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(s.stop)
	wg.Go(func() {
		defer context.AfterFunc(ctx, func() { l.Close() })()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.serve(ctx, c)
		}
	})
	return s
}

// put has a VM's pages go to a sink.
func (s *basin) put(vm int, to pages.Sink) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sinks[vm] = to
}

func (s *basin) sink(vm int) pages.Sink {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sinks[vm] // nil: another's
}

// serve takes blocks until the source ends the evacuation.
func (s *basin) serve(ctx context.Context, raw net.Conn) {
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	c := control.NewConn(raw.(*tls.Conn), "source", wire.LostAfter)
	m, err := c.Receive()
	hello, ok := m.(control.Hello)
	if err != nil || !ok || c.Send(control.Welcome{Version: model.ProtocolVersion, Name: s.name, Memory: 1 << 40}) != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	var alive sync.WaitGroup
	defer alive.Wait()
	defer cancel()
	alive.Go(func() { wire.KeepAlive(ctx, c) })
	intake, err := pages.NewIntake(s.sink, func(vm int, err error) { s.t.Errorf("vm %d: %v", vm, err) })
	if err != nil {
		s.t.Error(err)
		return
	}
	defer intake.Close()
	var mcast *multicast.Receiver
	defer func() {
		if mcast != nil {
			mcast.Close()
		}
	}()
	for err == nil {
		if m, err = c.Receive(); err != nil {
			return
		}
		switch m := m.(type) {
		case control.Begin:
			if mcast, err = s.begin(c, hello, m, intake); err == nil {
				err = c.Send(control.Begun{Datagram: mcast.UnicastAddr()})
			}
		case control.Multicast:
			err = mcast.HandleControl(m.Body)
		case control.End:
			return
		}
	}
	if !errors.Is(err, net.ErrClosed) && ctx.Err() == nil {
		s.t.Logf("%s: %v", s.name, err)
	}
}

// begin opens the data plane.
func (s *basin) begin(c *control.Conn, hello control.Hello, m control.Begin, intake *pages.Intake) (*multicast.Receiver, error) {
	conf := multicast.ReceiverConfig{Interface: "lo", Source: m.Source, Local: kit.Loopback, Window: model.WindowBytes, Begin: system.StandBehindGuests,
		Deliver: func(_ multicast.ChannelID, _ uint64, payload []byte) error { return intake.Deliver(payload) },
		Control: func(b []byte) error { return c.Send(control.Multicast{Body: b}) }}
	copy(conf.Key[:], m.Key)
	if _, err := hex.Decode(conf.Evacuation[:], []byte(hello.Evacuation)); err != nil {
		return nil, err
	}
	return multicast.NewReceiver(conf)
}
