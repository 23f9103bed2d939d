package scatter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
)

// link is the control connection to one target, with the goroutines that serve it.
type link struct {
	dialer
	welcome control.Welcome
	conn    *control.Conn
	begun   chan control.Begun
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	closing atomic.Bool
	used    told // by recv there
}

// linkHandler takes what a target says. Its methods are called from the link's reader.
type linkHandler interface {
	fromTarget(host int, m control.Message)
	multicastFrom(host int, body []byte)
	linkLost(host int, err error)
}

// openLink connects to a target. serve must be called next.
func openLink(ctx context.Context, d dialer) (*link, error) {
	c, w, err := d.dial(ctx, control.Hello{Purpose: control.PurposeControl, Software: "scatter"})
	if err != nil {
		return nil, err
	}
	return &link{dialer: d, welcome: w, conn: c, begun: make(chan control.Begun, 1)}, nil
}

// serve reads from the target until the connection breaks or close is called.
func (l *link) serve(host int, h linkHandler) {
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() { keepAlive(ctx, l.conn) })
	l.wg.Go(func() {
		err := l.read(host, h)
		cancel()
		l.conn.Close() // so that nobody waits for an answer to what is sent now
		if !l.closing.Load() {
			h.linkLost(host, err)
		}
	})
}

func (l *link) read(host int, h linkHandler) error {
	for {
		if err := l.conn.SetReadDeadline(time.Now().Add(lostAfter)); err != nil {
			return fmt.Errorf("target %s: %w", l.welcome.Name, err)
		}
		m, err := l.conn.Receive()
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) { // reset: it had not read all of ours
			return fmt.Errorf("target %s closed the connection", l.welcome.Name)
		}
		if err != nil {
			return fmt.Errorf("target %s is lost: %w", l.welcome.Name, err)
		}
		switch m := m.(type) {
		case control.Ping:
			l.used.take(m)
		case control.Multicast:
			h.multicastFrom(host, m.Body)
		case control.Begun:
			select {
			case l.begun <- m:
			default: // only the answer to our one Begin counts
			}
		default:
			h.fromTarget(host, m)
		}
	}
}

// close ends the link in order and waits for its goroutines.
func (l *link) close() {
	l.closing.Store(true)
	_ = l.conn.Send(control.End{}) // the other side sees the close as well
	l.conn.Close()
	if l.cancel != nil {
		l.cancel()
	}
	l.wg.Wait()
}

func (l *link) name() string { return l.welcome.Name }

// ask opens a connection of its own and asks what became of a VM.
func (l *link) ask(ctx context.Context, vm int) (control.VMState, error) {
	return askState(ctx, l.dialer, vm)
}

func askState(ctx context.Context, d dialer, vm int) (control.VMState, error) {
	m, err := exchange(ctx, d, control.Query{VM: vm})
	if err != nil {
		return "", err
	}
	s, ok := m.(control.State)
	if !ok || s.VM != vm {
		return "", fmt.Errorf("target %s answered %s to query", d.target, m.Type())
	}
	return s.State, nil
}

// exchange sends one message of a recovery and returns the answer.
func exchange(ctx context.Context, d dialer, m control.Message) (control.Message, error) {
	c, _, err := d.dial(ctx, control.Hello{Purpose: control.PurposeRecover})
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.Send(m); err != nil {
		return nil, err
	}
	if err := c.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return nil, err
	}
	return c.Receive()
}
