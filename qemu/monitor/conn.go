package monitor

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/digitalocean/go-qemu/qmp"
	"golang.org/x/sys/unix"
)

const (
	// DialTimeout bounds Dial when its context has no deadline.
	DialTimeout = 10 * time.Second
	// MaxInFlight is how many commands QEMU is given before it answered the first. QEMU queues 8 and then stops
	// reading, which would hold up out-of-band commands too.
	MaxInFlight = 6
)

// Conn is a connection to one QEMU's monitor (QMP). Its methods may be called from many goroutines at once.
//
// A command whose context ends is abandoned, not undone: QEMU may still execute it. Its late reply is dropped.
type Conn struct {
	socket  string
	conn    *net.UnixConn
	in      *bufio.Reader // of the reading goroutine, once it runs
	pid     int
	version qmp.Version
	oob     bool

	slots    chan struct{} // held by ordinary commands from sending to reply
	oobSlots chan struct{} // the same for out-of-band commands
	writing  chan struct{} // held while a command is written: commands must not interleave

	calls calls
	feed  feed

	mu   sync.Mutex // guards err; held for no I/O
	err  error      // why the connection ended; set before done is closed
	done chan struct{}
	wg   sync.WaitGroup // the reader, and forwarders of Events
}

type request struct {
	Execute   string `json:"execute,omitempty"`
	ExecOOB   string `json:"exec-oob,omitempty"`
	Arguments any    `json:"arguments,omitempty"`
	ID        uint64 `json:"id"`
}

// Dial connects to a QMP unix socket and negotiates, with out-of-band commands if QEMU offers them. It waits for
// another client to leave until ctx ends, or for DialTimeout: then ErrMonitorBusy is in the error's chain.
func Dial(ctx context.Context, socket string) (*Conn, error) {
	ctx, cancel := withDefaultTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := connect(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("qmp socket %s: %w", socket, err)
	}
	c := newConn(socket, conn)
	if err := c.greet(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	c.wg.Go(c.read)
	if err := c.negotiate(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// PID is the process that listens on a QMP unix socket. It is known also while another client has the monitor. It
// waits for room in the socket's backlog until ctx ends, or for DialTimeout.
func PID(ctx context.Context, socket string) (int, error) {
	ctx, cancel := withDefaultTimeout(ctx, DialTimeout)
	defer cancel()
	conn, err := connect(ctx, socket)
	if err != nil {
		return 0, fmt.Errorf("qmp socket %s: %w", socket, err)
	}
	defer conn.Close()
	return peerPID(conn)
}

func withDefaultTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, d)
}

// connect retries while the socket's backlog is full: that is what a busy monitor with a waiting client looks like.
func connect(ctx context.Context, socket string) (*net.UnixConn, error) {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		if !errors.Is(err, unix.EAGAIN) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrBusy, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func newConn(socket string, conn *net.UnixConn) *Conn {
	return &Conn{
		socket: socket, conn: conn, in: bufio.NewReaderSize(conn, 64<<10),
		slots: make(chan struct{}, MaxInFlight), oobSlots: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		calls: calls{pending: map[uint64]*call{}}, feed: feed{subs: map[*Subscription]struct{}{}}, done: make(chan struct{}),
	}
}

// greet reads the greeting and learns who is at the other end.
func (c *Conn) greet(ctx context.Context) error {
	pid, err := peerPID(c.conn)
	if err != nil {
		return fmt.Errorf("qmp socket %s: peer: %w", c.socket, err)
	}
	c.pid = pid
	release := deadlineOn(ctx, c.conn.SetReadDeadline)
	line, err := ReadLine(c.in)
	release()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("qmp socket %s: %w: %w", c.socket, ErrBusy, context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("qmp socket %s: greeting: %w", c.socket, err)
	}
	m, err := ParseMessage(line)
	if err == nil && m.Greeting == nil {
		err = fmt.Errorf("message %.60q: not a QMP greeting", line)
	}
	if err != nil {
		return &ProtocolError{Socket: c.socket, Err: err}
	}
	c.version, c.oob = m.Greeting.Version, slices.Contains(m.Greeting.Capabilities, "oob")
	return nil
}

func (c *Conn) negotiate(ctx context.Context) error {
	args := struct {
		Enable []string `json:"enable,omitempty"`
	}{}
	if c.oob {
		args.Enable = []string{"oob"}
	}
	return c.Do(ctx, "qmp_capabilities", args, nil)
}

// peerPID is the process that listens on the socket, as the kernel recorded it.
func peerPID(conn *net.UnixConn) (int, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err := errors.Join(err, credErr); err != nil {
		return 0, err
	}
	return int(cred.Pid), nil
}

// deadlineOn makes I/O fail once ctx ends. The returned function takes that back.
func deadlineOn(ctx context.Context, set func(time.Time) error) (release func()) {
	ran := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ran)
		_ = set(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-ran
		}
		_ = set(time.Time{})
	}
}

// Do executes a command and stores its result in out; args and out may be nil. Files are passed along, for commands
// such as getfd; they stay open here. A refusal is a *QMPError; the end of the connection is ErrMonitorClosed.
func (c *Conn) Do(ctx context.Context, cmd string, args, out any, files ...*os.File) error {
	return c.decode(ctx, request{Execute: cmd, Arguments: args}, out, files)
}

// DoOOB executes a command out of band: QEMU's monitor thread runs it although the main loop may be stuck. QEMU
// accepts few commands so, among them migrate-pause and migrate-recover.
func (c *Conn) DoOOB(ctx context.Context, cmd string, args, out any) error {
	if !c.oob {
		return &QMPError{Command: cmd, Class: "CommandNotFound", Desc: "this monitor has no out-of-band commands"}
	}
	return c.decode(ctx, request{ExecOOB: cmd, Arguments: args}, out, nil)
}

func (c *Conn) decode(ctx context.Context, req request, out any, files []*os.File) error {
	result, err := c.run(ctx, req, files)
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(result, out); err != nil {
		return fmt.Errorf("qmp %s: result: %w", req.name(), err)
	}
	return nil
}

func (r request) name() string { return r.Execute + r.ExecOOB }

// run sends one command and waits for its result.
func (c *Conn) run(ctx context.Context, req request, files []*os.File) (json.RawMessage, error) {
	slots := c.slots
	if req.ExecOOB != "" {
		slots = c.oobSlots
	}
	if err := c.acquire(ctx, slots); err != nil {
		return nil, fmt.Errorf("qmp %s: %w", req.name(), err)
	}
	call, id := c.calls.register(slots)
	req.ID = id
	if err := c.send(ctx, req, files); err != nil {
		c.calls.forget(id)
		return nil, fmt.Errorf("qmp %s: %w", req.name(), err)
	}
	select {
	case m := <-call.reply:
		return m.result(req)
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: %w", req.name(), context.Cause(ctx))
	case <-c.done:
	}
	select {
	case m := <-call.reply: // it came before the end
		return m.result(req)
	default:
		return nil, fmt.Errorf("qmp %s: %w", req.name(), c.err)
	}
}

// result is what a reply says about a command.
func (m Message) result(req request) (json.RawMessage, error) {
	if m.Error != nil {
		return nil, &QMPError{Command: req.name(), Class: m.Error.Class, Desc: m.Error.Desc}
	}
	return m.Return, nil
}

// acquire takes a place in a channel used as a semaphore.
func (c *Conn) acquire(ctx context.Context, sem chan struct{}) error {
	select {
	case sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-c.done:
		return c.err
	}
}

// send writes the command. Half a command cannot be taken back, so then the connection is closed.
func (c *Conn) send(ctx context.Context, req request, files []*os.File) error {
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	if err := c.acquire(ctx, c.writing); err != nil {
		return err
	}
	defer func() { <-c.writing }()
	release := deadlineOn(ctx, c.conn.SetWriteDeadline)
	n, err := writeWithFiles(c.conn, append(line, '\n'), files)
	release()
	if err == nil {
		return nil
	}
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.fail(fmt.Errorf("%w: qmp socket %s: %w", ErrClosed, c.socket, err))
		return c.Err()
	}
	return context.Cause(ctx)
}

// writeWithFiles writes b; the files go with its first byte.
func writeWithFiles(conn *net.UnixConn, b []byte, files []*os.File) (int, error) {
	if len(files) == 0 {
		return conn.Write(b)
	}
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	n, _, err := conn.WriteMsgUnix(b, unix.UnixRights(fds...), nil)
	runtime.KeepAlive(files)
	if err != nil || n == len(b) {
		return n, err
	}
	m, err := conn.Write(b[n:])
	return n + m, err
}

// read hands out what QEMU sends until the connection ends.
func (c *Conn) read() {
	for {
		line, err := ReadLine(c.in)
		if err != nil {
			c.fail(c.endOf(err))
			return
		}
		m, err := ParseMessage(line)
		if err == nil {
			err = c.dispatch(m)
		}
		if err != nil {
			c.fail(fmt.Errorf("%w: %w", ErrClosed, &ProtocolError{Socket: c.socket, Err: err}))
			return
		}
	}
}

// endOf puts the end of the connection into words.
func (c *Conn) endOf(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, unix.ECONNRESET):
		return fmt.Errorf("%w: qmp socket %s: qemu (process %d) ended the connection", ErrClosed, c.socket, c.pid)
	case errors.Is(err, errLine):
		return fmt.Errorf("%w: %w", ErrClosed, &ProtocolError{Socket: c.socket, Err: err})
	}
	return fmt.Errorf("%w: qmp socket %s: %w", ErrClosed, c.socket, err)
}

// dispatch hands one message to whom it belongs.
func (c *Conn) dispatch(m Message) error {
	switch {
	case m.Event.Event != "":
		c.feed.publish(m.Event)
		return nil
	case m.Greeting != nil:
		return errors.New("second greeting")
	case m.ID == nil && m.Error != nil:
		return fmt.Errorf("command not understood: %s", m.Error.Desc)
	case m.ID == nil:
		return errors.New("reply without id")
	}
	call := c.calls.forget(*m.ID)
	if call == nil {
		return fmt.Errorf("reply to command %d, which is not pending", *m.ID)
	}
	call.reply <- m
	return nil
}

// fail ends the connection, the first reason wins.
func (c *Conn) fail(err error) {
	if c.end(err) {
		c.conn.Close()
	}
}

func (c *Conn) end(err error) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return false
	}
	c.err = err
	c.feed.end()
	close(c.done)
	return true
}

// Done is closed when the connection has ended; Err then tells why.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err is nil while the connection lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection and returns when its goroutines have ended. QEMU and its VM live on.
func (c *Conn) Close() error {
	c.fail(fmt.Errorf("%w: qmp socket %s", ErrClosed, c.socket))
	c.wg.Wait()
	return nil
}

// Socket is the path that was dialled.
func (c *Conn) Socket() string { return c.socket }

// PID is the process at the other end, as the kernel tells it; 0 if that process is out of our sight.
func (c *Conn) PID() int { return c.pid }

// Version is QEMU's: major, minor, micro.
func (c *Conn) Version() [3]int {
	v := c.version.QEMU
	return [3]int{v.Major, v.Minor, v.Micro}
}
