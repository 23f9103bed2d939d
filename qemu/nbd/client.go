package nbd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Depth is the metadata context of QEMU in which the state of a run is how many layers lie above the one that it is allocated in, and that one
// itself: 1 is the export's own, 0 none.
const Depth = "qemu:allocation-depth"

// Client is one connection to an export. Its methods may be called from many goroutines at once, and obey their context: an answer that nobody waits for
// any more is thrown away. After an error that is no *Error the connection is of no use.
type Client struct {
	Size     uint64 // bytes of the export
	ReadOnly bool

	conn       net.Conn
	in         io.Reader
	structured bool
	contexts   map[uint32]string
	largest    uint32 // bytes of one READ or WRITE

	flight *semaphore.Weighted // requests that are under way
	turn   chan struct{}       // held while a request is written
	ended  chan struct{}       // closed when nothing is read any more

	mu     sync.Mutex // guards the fields below
	cookie uint64
	asked  map[uint64]*asked
	err    error // why nothing more can be asked
}

// Connect chooses an export of the server at the other end of a connection, which becomes the client's. contexts are those that Runs is to tell of, as far as
// the server has them; without any there is base:allocation.
func Connect(ctx context.Context, conn net.Conn, export string, contexts ...string) (*Client, error) {
	if len(contexts) == 0 {
		contexts = []string{baseAllocation}
	}
	in := bufio.NewReaderSize(conn, 64<<10)
	g := greeting{name: export, rw: struct {
		io.Reader
		io.Writer
	}{in, conn}}
	err := conn.SetDeadline(time.Now().Add(handshakeTime))
	if err == nil {
		defer context.AfterFunc(ctx, func() { conn.Close() })()
		err = g.run(contexts)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("nbd: export %s: %w", export, err)
	}
	c := &Client{Size: g.size, ReadOnly: g.flags&readOnly != 0, conn: conn, in: in, structured: g.structured, contexts: g.contexts, largest: MaxRequest,
		flight: semaphore.NewWeighted(maxAtOnce), turn: make(chan struct{}, 1), ended: make(chan struct{}), asked: make(map[uint64]*asked)}
	if g.largest >= preferredBlock {
		c.largest = min(c.largest, g.largest/preferredBlock*preferredBlock)
	}
	go func() { // ends with the connection, which Close waits for
		defer close(c.ended)
		c.fail(c.readReplies())
	}()
	return c, nil
}

// Close ends the connection at once.
func (c *Client) Close() error {
	c.fail(net.ErrClosed)
	<-c.ended
	return nil
}

// Disconnect ends the connection in good order: the server answers what it was asked, and hangs up.
func (c *Client) Disconnect(ctx context.Context) error {
	if err := c.flight.Acquire(ctx, maxAtOnce); err != nil {
		return context.Cause(ctx)
	}
	defer c.flight.Release(maxAtOnce)
	if err := c.sendWhile(ctx, request{command: cmdDisconnect}); err != nil { // nobody else has the turn
		return fmt.Errorf("nbd: %w", err)
	}
	select {
	case <-c.ended:
		c.conn.Close()
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fail notes that nothing more can be asked, and hangs up. The first reason counts.
func (c *Client) fail(err error) {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = fmt.Errorf("nbd: connection: %w", err)
	}
	for cookie, a := range c.asked {
		if !a.filling { // else whoever reads its answer is about to notice
			delete(c.asked, cookie)
			a.end(c.err)
		}
	}
}

// Read fills p with what lies at off.
func (c *Client) Read(ctx context.Context, p []byte, off uint64) error {
	return c.inParts(off, p, func(p []byte, off uint64) error {
		_, err := c.do(ctx, request{command: cmdRead, off: off, length: uint32(len(p))}, p)
		return err
	})
}

// Write puts p there.
func (c *Client) Write(ctx context.Context, p []byte, off uint64) error {
	return c.inParts(off, p, func(p []byte, off uint64) error {
		_, err := c.do(ctx, request{command: cmdWrite, off: off, length: uint32(len(p)), data: p}, nil)
		return err
	})
}

// inParts does what is too large for one request in several.
func (c *Client) inParts(off uint64, p []byte, do func(p []byte, off uint64) error) error {
	for len(p) > 0 {
		n := min(len(p), int(c.largest))
		if err := do(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+uint64(n)
	}
	return nil
}

// mostZeroes is how much is zeroed or asked about by one request at most.
const mostZeroes = 1 << 30

// Zero has n bytes read as zero; hole: their room need not be kept.
func (c *Client) Zero(ctx context.Context, off, n uint64, hole bool) error {
	var flags uint16
	if !hole {
		flags = flagNoHole
	}
	for n > 0 {
		part := min(n, mostZeroes)
		if _, err := c.do(ctx, request{command: cmdWriteZeroes, flags: flags, off: off, length: uint32(part)}, nil); err != nil {
			return err
		}
		off, n = off+part, n-part
	}
	return nil
}

// Flush returns when all that was answered before outlives a crash of the host.
func (c *Client) Flush(ctx context.Context) error {
	_, err := c.do(ctx, request{command: cmdFlush}, nil)
	return err
}

// Run is a run of bytes that are in the same state.
type Run struct {
	Bytes uint64
	State uint32 // in the numbers of its context
}

// Extent is what the state means in base:allocation.
func (r Run) Extent() Extent {
	return Extent{Bytes: r.Bytes, Hole: r.State&stateHole != 0, Zero: r.State&stateZero != 0}
}

// Tells says whether the server tells of a context.
func (c *Client) Tells(name string) bool {
	for _, known := range c.contexts {
		if known == name {
			return true
		}
	}
	return false
}

// Extents tells what of n bytes from off on is allocated: at least of the first ones.
func (c *Client) Extents(ctx context.Context, off, n uint64) (all []Extent, err error) {
	runs, err := c.Runs(ctx, baseAllocation, off, n)
	for _, r := range runs {
		all = append(all, r.Extent())
	}
	return all, err
}

// Runs tells of n bytes from off on in a context: at least of the first ones, and of no more than n.
func (c *Client) Runs(ctx context.Context, name string, off, n uint64) ([]Run, error) {
	n = min(n, mostZeroes)
	if n == 0 || !c.Tells(name) {
		return nil, fmt.Errorf("nbd: the server does not tell of %s", name)
	}
	a, err := c.do(ctx, request{command: cmdBlockStatus, off: off, length: uint32(n)}, nil)
	if err != nil {
		return nil, err
	}
	runs := a.runs[name]
	for i, left := 0, n; i < len(runs); i++ {
		runs[i].Bytes = min(runs[i].Bytes, left)
		if left -= runs[i].Bytes; left == 0 {
			runs = runs[:i+1]
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("nbd: the server has said nothing of %s", name)
	}
	return runs, nil
}

// do asks for something, and returns when it is answered. dst gets what is read.
func (c *Client) do(ctx context.Context, r request, dst []byte) (*asked, error) {
	if r.command != cmdFlush && (r.off > c.Size || uint64(r.length) > c.Size-r.off) {
		return nil, fmt.Errorf("nbd: %d bytes at %d of an export of %d", r.length, r.off, c.Size)
	}
	if err := c.flight.Acquire(ctx, 1); err != nil {
		return nil, context.Cause(ctx)
	}
	defer c.flight.Release(1)
	a := &asked{request: r, dst: dst, done: make(chan struct{})}
	if err := c.ask(ctx, a); err != nil {
		return nil, err
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if !c.leave(a) {
			c.conn.Close() // an answer is being written to dst, which must not be so when we have returned
			<-a.done
		}
		return nil, context.Cause(ctx)
	}
	return a, a.err
}

// ask sends a request. If ctx ends in the middle of that, the connection does.
func (c *Client) ask(ctx context.Context, a *asked) error {
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := c.enter(a); err != nil {
		return err
	}
	if err := c.sendWhile(ctx, a.request); err != nil {
		c.fail(err)
		<-a.done
		return err
	}
	return nil
}

// sendWhile is send for as long as ctx lasts. What was sent whole is sent, whether or not ctx ends in the same moment.
func (c *Client) sendWhile(ctx context.Context, r request) error {
	hurried := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(hurried)
		_ = c.conn.SetWriteDeadline(time.Now())
	})
	err := c.send(r)
	if !stop() {
		<-hurried
		if err != nil {
			return context.Cause(ctx)
		}
		return c.conn.SetWriteDeadline(time.Time{})
	}
	return err
}

// enter gives a request its cookie.
func (c *Client) enter(a *asked) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.cookie++
	a.cookie = c.cookie
	c.asked[a.cookie] = a
	return nil
}

// leave has the answer to a request thrown away. It tells whether none of it is being written.
func (c *Client) leave(a *asked) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.filling {
		return false
	}
	a.dst = nil
	return true
}

// send writes a request. It is the caller's turn.
func (c *Client) send(r request) error {
	b := make([]byte, 0, requestBytes)
	b = binary.BigEndian.AppendUint32(b, magicRequest)
	b = binary.BigEndian.AppendUint16(b, r.flags)
	b = binary.BigEndian.AppendUint16(b, r.command)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	b = binary.BigEndian.AppendUint64(b, r.off)
	b = binary.BigEndian.AppendUint32(b, r.length)
	if len(r.data) == 0 {
		_, err := c.conn.Write(b)
		return err
	}
	both := net.Buffers{b, r.data}
	_, err := both.WriteTo(c.conn)
	return err
}

// errEnded: the server has hung up.
var errEnded = errors.New("the server has hung up")
