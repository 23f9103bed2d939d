package scatter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/pki"
)

// How long either side waits for the other. A peer is lost when nothing has been heard of it for lostAfter; a
// link that is cut for a few seconds is not a lost peer.
const (
	dialTimeout  = 5 * time.Second
	helloTimeout = 10 * time.Second
	pingEvery    = time.Second
	lostAfter    = 10 * time.Second
)

// sendBuffer keeps the queue between QEMU and the target short: what lies in it at the
// switch-over lengthens the VM's pause.
const sendBuffer = 512 << 10

// dialer opens connections to one target.
type dialer struct {
	target     TargetAddr
	tlsDir     string
	local      netip.Addr // of this end; zero: the system's choice
	dscp       int        // of all that is sent
	segment    int        // bytes of the largest TCP segment in either direction, 0 = the system's choice
	evacuation string
	sent       *atomic.Int64 // bytes written to all connections, below TLS
}

// countingConn counts what is written.
type countingConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c countingConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	return n, err
}

// dial connects, shakes hands and exchanges Hello and Welcome.
func (d *dialer) dial(ctx context.Context, hello control.Hello) (*control.Conn, control.Welcome, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, control.Welcome{}, d.explain(err)
	}
	c := control.NewConn(conn, d.target.String(), lostAfter)
	hello.Version, hello.Evacuation = ProtocolVersion, d.evacuation
	w, err := greet(c, hello)
	if err == nil {
		err = pki.CheckPeer(conn.ConnectionState(), w.Name)
	}
	if err != nil {
		c.Close()
		return nil, w, d.explain(err)
	}
	c.SetPeer(w.Name)
	return c, w, nil
}

func (d *dialer) connect(ctx context.Context) (*tls.Conn, error) {
	want := d.target.Name
	if want == "" {
		want = d.target.Addr.Addr().String()
	}
	conf, err := pki.LoadClient(d.tlsDir, want)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nd := net.Dialer{KeepAlive: -1, Control: func(network, address string, c syscall.RawConn) error {
		return errors.Join(tuneSocket(network, address, c), d.cutShort(c), d.class(c))
	}}
	if d.local.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.local, 0))
	}
	raw, err := nd.DialContext(ctx, "tcp", d.target.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("%w; is 'scatter recv' running there?", err)
	}
	t := tls.Client(countingConn{raw, d.sent}, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return t, nil
}

// explain names the target in an error, and what to do about its certificate if that is the matter.
func (d *dialer) explain(err error) error {
	who := "target " + d.target.String()
	err = pki.Explain(who, err)
	if _, ok := errors.AsType[*pki.Error](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", who, err)
}

// tuneSocket bounds how long unacknowledged data may wait, and the queue in the kernel.
func tuneSocket(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(lostAfter.Milliseconds())),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer))
	})
	return errors.Join(cerr, err)
}

// cutShort bounds the segments of a socket.
func (d *dialer) cutShort(c syscall.RawConn) (err error) {
	if d.segment == 0 {
		return nil
	}
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, d.segment) })
	return errors.Join(cerr, err)
}

// class marks the packets of a socket, as those of the data plane.
func (d *dialer) class(c syscall.RawConn) (err error) {
	if d.dscp == 0 {
		return nil
	}
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	if d.target.Addr.Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, d.dscp<<2) })
	return errors.Join(cerr, err)
}

func greet(c *control.Conn, hello control.Hello) (control.Welcome, error) {
	if err := c.Send(hello); err != nil {
		return control.Welcome{}, err
	}
	if err := c.SetReadDeadline(time.Now().Add(helloTimeout)); err != nil {
		return control.Welcome{}, err
	}
	m, err := c.Receive()
	if err != nil {
		return control.Welcome{}, err
	}
	w, ok := m.(control.Welcome)
	switch {
	case !ok:
		return w, fmt.Errorf("answered %s to hello", m.Type())
	case w.Version != ProtocolVersion: // before its error, which would say the same from its side
		return w, &VersionError{Ours: ProtocolVersion, Theirs: w.Version}
	case w.Error != "":
		return w, fmt.Errorf("refused: %s", w.Error)
	case w.Name == "" || w.Memory < 0 || w.VCPUs < 0:
		return w, fmt.Errorf("says that it is called %.64q and has %d bytes and %d vcpus", w.Name, w.Memory, w.VCPUs)
	}
	return w, c.SetReadDeadline(time.Time{})
}

// VersionError says that the two sides speak different versions of the control protocol.
type VersionError struct{ Ours, Theirs int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("control protocol version %d there, %d here: install the same scatter on both hosts", e.Theirs, e.Ours)
}

// keepAlive pings c until ctx ends, so that the other side hears of us.
func keepAlive(ctx context.Context, c *control.Conn) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			u := ownUsage()
			if c.Send(control.Ping{CPU: u.cpu, Memory: u.memory}) != nil {
				return // the reader of c reports it
			}
		}
	}
}
