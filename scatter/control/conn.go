// Package control carries the messages between source and target of an
// evacuation over one TLS connection.
//
// Every message is a frame:
//
//	 0       4      5
//	+-------+------+-------------------+
//	| u32 n | type | body, n-1 bytes   |   big-endian, 1 <= n <= MaxFrame
//	+-------+------+-------------------+
//
// Bodies of control messages are JSON objects, which evolve by added fields;
// bodies of [Multicast] and [Data] frames are opaque bytes. The first frame in each
// direction is [Hello] and [Welcome]; they carry the protocol version, and a peer of
// another version is refused by an error that names both.
package control

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// MaxFrame bounds the length of a frame's type and body.
const MaxFrame = 1 << 20

const frameHeader = 4

// FrameError says that the peer sent a frame that cannot be accepted.
type FrameError struct {
	Peer   string
	Reason string
}

func (e *FrameError) Error() string { return fmt.Sprintf("peer %s: bad frame: %s", e.Peer, e.Reason) }

// Conn sends and receives frames. Send is safe for concurrent use, Receive
// belongs to one goroutine.
type Conn struct {
	c    net.Conn
	peer string
	r    *bufio.Reader
	body []byte

	wmu sync.Mutex // one frame at a time on the wire; guards w
	w   []byte

	writeTimeout time.Duration
	sent         atomic.Int64
}

// NewConn frames c, usually a TLS connection. A frame that the peer does not
// take within writeTimeout breaks the connection.
func NewConn(c net.Conn, peer string, writeTimeout time.Duration) *Conn {
	return &Conn{c: c, peer: peer, r: bufio.NewReaderSize(c, 64<<10), writeTimeout: writeTimeout}
}

// Peer is the name of the other side.
func (c *Conn) Peer() string { return c.peer }

// SetPeer names the other side, once it is known.
func (c *Conn) SetPeer(name string) { c.peer = name }

// LocalAddr is the address of this end; the zero Addr where it has none.
func (c *Conn) LocalAddr() netip.Addr {
	a, err := netip.ParseAddrPort(c.c.LocalAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}

// Sent returns how many bytes of frames have been sent.
func (c *Conn) Sent() int64 { return c.sent.Load() }

// Close breaks the connection; a blocked Send or Receive returns.
func (c *Conn) Close() error { return c.c.Close() }

// SetReadDeadline bounds the wait of Receive.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.c.SetReadDeadline(t) }

// Send sends one message.
func (c *Conn) Send(m Message) error {
	if raw, ok := m.(rawMessage); ok {
		return c.sendFrame(m.Type(), raw.bytes())
	}
	body, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("message %s: %w", m.Type(), err)
	}
	return c.sendFrame(m.Type(), body)
}

func (c *Conn) sendFrame(t Type, body []byte) error {
	if len(body)+1 > MaxFrame {
		return fmt.Errorf("message %s of %d bytes: longer than %d", t, len(body), MaxFrame-1)
	}
	c.wmu.Lock()
	defer c.wmu.Unlock()
	c.w = binary.BigEndian.AppendUint32(c.w[:0], uint32(len(body)+1))
	c.w = append(c.w, byte(t))
	c.w = append(c.w, body...)
	if err := c.c.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return fmt.Errorf("peer %s: %w", c.peer, err)
	}
	n, err := c.c.Write(c.w)
	c.sent.Add(int64(n))
	if err != nil {
		c.c.Close() // nothing may follow half a frame, and our reader must know too
		return fmt.Errorf("peer %s: send %s: %w", c.peer, t, err)
	}
	return nil
}

// Receive returns the next message. Opaque bodies are valid until the next call. It
// returns io.EOF when the peer closed the connection between two frames.
func (c *Conn) Receive() (Message, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(c.r, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		return nil, fmt.Errorf("peer %s: %w", c.peer, noEOF(err))
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > MaxFrame {
		return nil, &FrameError{c.peer, fmt.Sprintf("length %d", n)}
	}
	if cap(c.body) < int(n) {
		c.body = make([]byte, n)
	}
	c.body = c.body[:n]
	if _, err := io.ReadFull(c.r, c.body); err != nil {
		return nil, fmt.Errorf("peer %s: %w", c.peer, noEOF(err))
	}
	m, err := parse(Type(c.body[0]), c.body[1:])
	if err != nil {
		return nil, &FrameError{c.peer, err.Error()}
	}
	return m, nil
}

// noEOF keeps an end inside a frame from looking like a clean close.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cutError{}
	}
	return err
}

// cutError is an end inside a frame.
type cutError struct{}

func (cutError) Error() string        { return "closed the connection in the middle of a message" }
func (cutError) Is(target error) bool { return target == io.ErrUnexpectedEOF }
