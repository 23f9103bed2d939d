package wire

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
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
)

// How long either side waits for the other. A peer is lost when nothing has been heard of it for lostAfter; a
// link that is cut for a few seconds is not a lost peer.
const (
	dialTimeout  = 5 * time.Second
	HelloTimeout = 10 * time.Second
	pingEvery    = time.Second
	LostAfter    = 10 * time.Second
)

// sendBuffer keeps the queue between QEMU and the target short: what lies in it at the
// switch-over lengthens the VM's pause.
const sendBuffer = 512 << 10

// Dialer opens connections to one target.
type Dialer struct {
	Target     model.TargetAddr
	TLSDir     string
	Local      netip.Addr // of this end; zero: the system's choice
	Dscp       int        // of all that is sent
	Segment    int        // bytes of the largest TCP segment in either direction, 0 = the system's choice
	Evacuation string
	Sent       *atomic.Int64 // bytes written to all connections, below TLS
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

// Dial connects, shakes hands and exchanges Hello and Welcome.
func (d *Dialer) Dial(ctx context.Context, hello control.Hello) (*control.Conn, control.Welcome, error) {
	conn, err := d.connect(ctx)
	if err != nil {
		return nil, control.Welcome{}, d.explain(err)
	}
	c := control.NewConn(conn, d.Target.String(), LostAfter)
	hello.Version, hello.Evacuation = model.ProtocolVersion, d.Evacuation
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

func (d *Dialer) connect(ctx context.Context) (*tls.Conn, error) {
	want := d.Target.Name
	if want == "" {
		want = d.Target.Addr.Addr().String()
	}
	conf, err := pki.LoadClient(d.TLSDir, want)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nd := net.Dialer{KeepAlive: -1, Control: func(network, address string, c syscall.RawConn) error {
		return errors.Join(TuneSocket(network, address, c), d.cutShort(c), d.class(c))
	}}
	if d.Local.IsValid() {
		nd.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(d.Local, 0))
	}
	raw, err := nd.DialContext(ctx, "tcp", d.Target.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("%w; is 'scatter recv' running there?", err)
	}
	t := tls.Client(countingConn{raw, d.Sent}, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return t, nil
}

// explain names the target in an error, and what to do about its certificate if that is the matter.
func (d *Dialer) explain(err error) error {
	who := "target " + d.Target.String()
	err = pki.Explain(who, err)
	if _, ok := errors.AsType[*pki.Error](err); ok {
		return err
	}
	return fmt.Errorf("%s: %w", who, err)
}

// TuneSocket bounds how long unacknowledged data may wait, and the queue in the kernel.
func TuneSocket(_, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		err = errors.Join(
			unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(LostAfter.Milliseconds())),
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer))
	})
	return errors.Join(cerr, err)
}

// cutShort bounds the segments of a socket.
func (d *Dialer) cutShort(c syscall.RawConn) (err error) {
	if d.Segment == 0 {
		return nil
	}
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, d.Segment) })
	return errors.Join(cerr, err)
}

// class marks the packets of a socket, as those of the data plane.
func (d *Dialer) class(c syscall.RawConn) (err error) {
	if d.Dscp == 0 {
		return nil
	}
	level, option := unix.IPPROTO_IP, unix.IP_TOS
	if d.Target.Addr.Addr().Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	cerr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), level, option, d.Dscp<<2) })
	return errors.Join(cerr, err)
}

func greet(c *control.Conn, hello control.Hello) (control.Welcome, error) {
	if err := c.Send(hello); err != nil {
		return control.Welcome{}, err
	}
	if err := c.SetReadDeadline(time.Now().Add(HelloTimeout)); err != nil {
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
	case w.Version != model.ProtocolVersion: // before its error, which would say the same from its side
		return w, &VersionError{Ours: model.ProtocolVersion, Theirs: w.Version}
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

// KeepAlive pings c until ctx ends, so that the other side hears of us.
func KeepAlive(ctx context.Context, c *control.Conn) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			u := system.OwnUsage()
			if c.Send(control.Ping{CPU: u.CPU, Memory: u.Memory}) != nil {
				return // the reader of c reports it
			}
		}
	}
}
