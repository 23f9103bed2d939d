// Package wire connects a source with its targets: it dials, greets, pings, and tells when a target is lost.
package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/system"
)

// Link is the control connection to one target, with the goroutines that serve it.
type Link struct {
	Dialer
	Welcome control.Welcome
	Conn    *control.Conn
	Begun   chan control.Begun
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	closing atomic.Bool
	Used    system.Told // by recv there
}

// Listener takes what a target says. Its methods are called from the link's reader.
type Listener interface {
	FromTarget(host int, m control.Message)
	MulticastFrom(host int, body []byte)
	LinkLost(host int, err error)
}

// Open connects to a target. serve must be called next.
func Open(ctx context.Context, d Dialer) (*Link, error) {
	c, w, err := d.Dial(ctx, control.Hello{Purpose: control.PurposeControl, Software: "scatter"})
	if err != nil {
		return nil, err
	}
	return &Link{Dialer: d, Welcome: w, Conn: c, Begun: make(chan control.Begun, 1)}, nil
}

// Serve reads from the target until the connection breaks or close is called.
func (l *Link) Serve(host int, h Listener) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() { KeepAlive(ctx, l.Conn) })
	l.wg.Go(func() {
		err := l.read(host, h)
		cancel()
		l.Conn.Close() // so that nobody waits for an answer to what is sent now
		if !l.closing.Load() {
			h.LinkLost(host, err)
		}
	})
}

func (l *Link) read(host int, h Listener) error {
	for {
		if err := l.Conn.SetReadDeadline(time.Now().Add(LostAfter)); err != nil {
			return fmt.Errorf("target %s: %w", l.Welcome.Name, err)
		}
		m, err := l.Conn.Receive()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // reset: it had not read all of ours
			return fmt.Errorf("target %s closed the connection", l.Welcome.Name)
		}
		if err != nil {
			return fmt.Errorf("target %s is lost: %w", l.Welcome.Name, err)
		}
		switch m := m.(type) {
		case control.Ping:
			l.Used.Take(m)
		case control.Multicast:
			h.MulticastFrom(host, m.Body)
		case control.Begun:
			select {
			case l.Begun <- m:
			default: // only the answer to our one Begin counts
			}
		default:
			h.FromTarget(host, m)
		}
	}
}

// Close ends the link in order and waits for its goroutines.
func (l *Link) Close() {
	l.closing.Store(true)
	_ = l.Conn.Send(control.End{}) // the other side sees the close as well
	l.Conn.Close()
	if l.cancel != nil {
		l.cancel()
	}
	l.wg.Wait()
}

// Name is the target's.
func (l *Link) Name() string { return l.Welcome.Name }

// Ask opens a connection of its own and asks what became of a VM.
func (l *Link) Ask(ctx context.Context, vm int) (control.VMState, error) {
	return AskState(ctx, l.Dialer, vm)
}

// AskState asks a target what became of a VM, by a connection of its own.
func AskState(ctx context.Context, d Dialer, vm int) (control.VMState, error) {
	m, err := Exchange(ctx, d, control.Query{VM: vm})
	if err != nil {
		return "", err
	}
	s, ok := m.(control.State)
	if !ok || s.VM != vm {
		return "", fmt.Errorf("target %s answered %s to query", d.Target, m.Type())
	}
	return s.State, nil
}

// Exchange sends one message of a recovery and returns the answer.
func Exchange(ctx context.Context, d Dialer, m control.Message) (control.Message, error) {
	c, _, err := d.Dial(ctx, control.Hello{Purpose: control.PurposeRecover})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Send(m); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(HelloTimeout)); err != nil {
		return nil, err
	}
	return c.Receive()
}

// LocalAddr is the address that datagrams come from: what the operator says, or what the connections to targets come from, if that is an address
// of the interface.
func LocalAddr(name string, said, like netip.Addr, links []*Link) (netip.Addr, error) {
	if said.IsValid() {
		return said, system.OwnAddr(name, said, like)
	}
	var near []netip.Addr
	for _, l := range links {
		near = append(near, l.Conn.LocalAddr())
	}
	for _, l := range links {
		near = append(near, l.Target.Addr.Addr())
	}
	return system.InterfaceAddr(name, like, near...)
}
