//go:build lab

package network

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/multicast"
)

const (
	linkRate = 100e6 // bit/s
	patience = time.Minute
	// Both have found their rates after settling. Bytes are counted for several periods of CUBIC's.
	settling  = 6 * time.Second
	counting  = 10 * time.Second
	leastPart = 0.3
)

// TestTCPBesideAutomaticRate lets a TCP stream and a transfer whose rate is to be found share the source's link: neither gets less
// than 30 % of the bytes.
func TestTCPBesideAutomaticRate(t *testing.T) {
	l, err := lab.New(t.Context(), lab.Config{Targets: 1, Rate: linkRate})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	tcp := stream(t, l.Source, l.Targets[0])
	await(t, "the TCP stream", tcp, 8<<20)
	ours := transfer(t, l.Source, l.Targets[0])
	await(t, "the transfer", ours, 1<<20)
	time.Sleep(settling)
	a, b := ours.Load(), tcp.Load()
	time.Sleep(counting)
	a, b = ours.Load()-a, tcp.Load()-b
	share := float64(a) / float64(a+b)
	t.Logf("transfer %d bytes, TCP %d: %.2f", a, b, share)
	if share < leastPart || share > 1-leastPart {
		t.Errorf("the transfer got %.2f of the bytes", share)
	}
}

// await waits until so many bytes have arrived.
func await(t *testing.T, what string, count *atomic.Int64, n int64) {
	t.Helper()
	for until := time.Now().Add(patience); count.Load() < n; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%s: %d of %d bytes arrived", what, count.Load(), n)
		}
	}
}

// stream sends zeros by TCP until the end of the test, and counts what arrives.
func stream(t *testing.T, from, to *lan.Host) *atomic.Int64 {
	t.Helper()
	var l net.Listener
	if err := to.In(func() (err error) {
		l, err = net.Listen("tcp4", netip.AddrPortFrom(to.Addr, 0).String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	var out net.Conn
	if err := from.In(func() (err error) {
		out, err = net.Dial("tcp4", l.Addr().String())
		return err
	}); err != nil {
		t.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	count := new(atomic.Int64)
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(out, zeros{}) }) // until it is closed
	wg.Go(func() { _, _ = io.Copy(counter{count}, in) })
	t.Cleanup(func() {
		for _, c := range []io.Closer{out, in, l} {
			c.Close()
		}
		wg.Wait()
	})
	return count
}

// zeros is a reader without end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// counter counts what is written to it.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(b []byte) (int, error) {
	c.n.Add(int64(len(b)))
	return len(b), nil
}

// transfer sends blocks to a group of one target, at a rate to be found, until the end of the test, and counts what arrives.
func transfer(t *testing.T, from, to *lan.Host) *atomic.Int64 {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	count := new(atomic.Int64)
	down, up := newMessages(), newMessages()
	sender, err := multicast.NewSender(multicast.SenderConfig{Interface: from.Interface, Local: from.Addr, Pacer: multicast.NewPacer(0, 0),
		In: from.In, Control: func(_ string, m []byte) error { return down.put(m) }})
	if err != nil {
		t.Fatal(err)
	}
	receiver, err := multicast.NewReceiver(multicast.ReceiverConfig{Interface: to.Interface, Local: to.Addr, Source: from.Addr,
		In: to.In, Control: up.put, Deliver: func(_ multicast.ChannelID, _ uint64, b []byte) error {
			count.Add(int64(len(b)))
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { down.each(t, receiver.HandleControl) })
	wg.Go(func() { up.each(t, func(m []byte) error { return sender.HandleControl(to.Name, m) }) })
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(sender.Close(), receiver.Close()); err != nil {
			t.Error(err)
		}
		down.close()
		up.close()
		wg.Wait()
	})
	if err := sender.AddTarget(to.Name, receiver.UnicastAddr()); err != nil {
		t.Fatal(err)
	}
	c := multicast.Channel{ID: 1, Group: netip.MustParseAddrPort("239.77.0.0:9770"), Members: []string{to.Name}}
	if err := sender.Open(ctx, c); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() {
		block := make([]byte, 256<<10)
		for {
			if _, err := sender.Send(ctx, c.ID, block); err != nil {
				return // the end of the test
			}
		}
	})
	return count
}

// messages is a control path in one direction.
type messages struct {
	c      chan []byte
	closed chan struct{}
}

func newMessages() *messages { return &messages{make(chan []byte, 100), make(chan struct{})} }

func (m *messages) put(b []byte) error {
	select {
	case m.c <- b:
		return nil
	case <-m.closed:
		return net.ErrClosed
	}
}

func (m *messages) each(t *testing.T, handle func([]byte) error) {
	for {
		select {
		case b := <-m.c:
			if err := handle(b); err != nil {
				t.Error(err)
			}
		case <-m.closed:
			return
		}
	}
}

func (m *messages) close() { close(m.closed) }
