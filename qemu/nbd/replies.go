package nbd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"syscall"
)

// Error is a server's answer that something did not succeed.
type Error struct {
	Errno syscall.Errno
	Text  string // what the server says of it; "" = nothing
}

func (e *Error) Error() string {
	if e.Text == "" {
		return "nbd: " + e.Errno.Error()
	}
	return fmt.Sprintf("nbd: %v: %.256q", e.Errno, e.Text)
}

// Unwrap is the system's error.
func (e *Error) Unwrap() error { return e.Errno }

// asked is a request that has no answer yet.
type asked struct {
	request
	dst     []byte
	filling bool // its answer is being read; guarded by the client's mu

	got    []span // of dst, by chunks
	runs   map[string][]Run
	failed *Error
	err    error         // once done is closed
	done   chan struct{} // closed when it is answered
}

type span struct{ off, n uint64 }

func (a *asked) end(err error) {
	a.err = err
	close(a.done)
}

// readReplies reads replies until the connection ends.
func (c *Client) readReplies() error {
	for {
		var head [20]byte
		if _, err := io.ReadFull(c.in, head[:4]); errors.Is(err, io.EOF) {
			return errEnded
		} else if err != nil {
			return err
		}
		var err error
		switch magic := binary.BigEndian.Uint32(head[:]); {
		case magic == magicSimple:
			if _, err = io.ReadFull(c.in, head[4:16]); err == nil {
				err = c.simple(binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[4:]))
			}
		case magic == magicStructured && c.structured:
			if _, err = io.ReadFull(c.in, head[4:]); err == nil {
				err = c.chunk(chunk{binary.BigEndian.Uint16(head[4:]), binary.BigEndian.Uint16(head[6:]), binary.BigEndian.Uint64(head[8:]), binary.BigEndian.Uint32(head[16:])})
			}
		default:
			err = fmt.Errorf("reply with magic %#x", magic)
		}
		if err != nil {
			return err
		}
	}
}

// take finds the request that an answer is for, which begins to be read.
func (c *Client) take(cookie uint64) (*asked, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.asked[cookie]
	if a == nil {
		return nil, fmt.Errorf("an answer to what was not asked (%d)", cookie)
	}
	a.filling = true
	return a, nil
}

// put ends that; last: nothing more comes, or can.
func (c *Client) put(a *asked, last bool, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.filling = false
	switch {
	case err != nil:
		last = true
		a.end(fmt.Errorf("nbd: connection: %w", err))
	case last && a.failed != nil:
		a.end(a.failed)
	case last:
		a.end(nil)
	}
	if last {
		delete(c.asked, a.cookie)
	}
	return err
}

// simple reads the rest of a simple reply.
func (c *Client) simple(cookie uint64, code uint32) error {
	a, err := c.take(cookie)
	if err != nil {
		return err
	}
	switch reads := a.command == cmdRead; {
	case a.command == cmdBlockStatus && code == 0, reads && c.structured:
		err = fmt.Errorf("a simple reply to command %d", a.command)
	case code != 0:
		a.failed = &Error{Errno: errnoOf(code)}
	case reads:
		err = a.fill(c.in, 0, uint64(a.length))
	}
	return c.put(a, true, err)
}

// errnoOf is the system's number of an error of the protocol, which has Linux's.
func errnoOf(code uint32) syscall.Errno {
	if slices.Contains([]uint32{errPerm, errIO, errNoMemory, errInvalid, errNoSpace, errOverflow, errUnsupported, errShutdown}, code) {
		return syscall.Errno(code)
	}
	return syscall.EIO
}

// fill reads n bytes that lie at off of what was asked for. Where nobody wants them any more, they are thrown away.
func (a *asked) fill(in io.Reader, off, n uint64) error {
	if a.dst == nil {
		_, err := io.CopyN(io.Discard, in, int64(n))
		return err
	}
	_, err := io.ReadFull(in, a.dst[off:off+n])
	return err
}

// chunk is the head of one chunk of a structured reply.
type chunk struct {
	flags, kind uint16
	cookie      uint64
	length      uint32
}

// chunk reads the rest of a chunk.
func (c *Client) chunk(h chunk) error {
	a, err := c.take(h.cookie)
	if err != nil {
		return err
	}
	last := h.flags&chunkDone != 0
	switch {
	case h.kind == chunkNone && h.length == 0 && last:
	case h.kind >= chunkErrors:
		err = a.readError(c.in, h)
	case h.kind == chunkOffsetData && a.command == cmdRead && h.length > 8, h.kind == chunkOffsetHole && a.command == cmdRead && h.length == 12:
		err = a.readPart(c.in, h)
	case h.kind == chunkBlockStatus && a.command == cmdBlockStatus && h.length >= 12 && h.length%8 == 4 && h.length <= 4+8*maxTold:
		err = c.readRuns(a, h)
	default:
		err = fmt.Errorf("a chunk of kind %d and %d bytes to command %d", h.kind, h.length, a.command)
	}
	if err == nil && last && a.command == cmdRead && a.failed == nil && !a.whole() {
		err = errors.New("an answer that lacks a part of what was to be read")
	}
	return c.put(a, last, err)
}

// readError reads what has failed, which the end of the reply makes known.
func (a *asked) readError(in io.Reader, h chunk) error {
	if h.length < 6 || h.length > 6+maxWords {
		return fmt.Errorf("an error of %d bytes", h.length)
	}
	body := make([]byte, h.length)
	if _, err := io.ReadFull(in, body); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(body[4:]))
	if n > len(body)-6 {
		return errors.New("an error with more text than it has")
	}
	if a.failed == nil {
		a.failed = &Error{errnoOf(binary.BigEndian.Uint32(body)), strings.ToValidUTF8(string(body[6:6+n]), "?")}
	}
	return nil
}

// readPart reads a part of what was to be read, or that it is a hole.
func (a *asked) readPart(in io.Reader, h chunk) error {
	var head [12]byte
	hole := h.kind == chunkOffsetHole
	used := head[:8]
	if hole {
		used = head[:]
	}
	if _, err := io.ReadFull(in, used); err != nil {
		return err
	}
	off, n := binary.BigEndian.Uint64(head[:]), uint64(h.length-8)
	if hole {
		n = uint64(binary.BigEndian.Uint32(head[8:]))
	}
	if off < a.off || n == 0 || n > uint64(a.length) || off-a.off > uint64(a.length)-n || len(a.got) == maxChunks {
		return fmt.Errorf("%d bytes at %d, which were not asked for", n, off)
	}
	a.got = append(a.got, span{off - a.off, n})
	if !hole {
		return a.fill(in, off-a.off, n)
	}
	if a.dst != nil {
		clear(a.dst[off-a.off:][:n])
	}
	return nil
}

// whole tells whether all was read that was to be, each byte once.
func (a *asked) whole() bool {
	slices.SortFunc(a.got, func(x, y span) int {
		if x.off < y.off {
			return -1
		}
		return 1
	})
	at := uint64(0)
	for _, s := range a.got {
		if s.off != at {
			return false
		}
		at += s.n
	}
	return at == uint64(a.length)
}

// readRuns reads the states of runs.
func (c *Client) readRuns(a *asked, h chunk) error {
	body := make([]byte, h.length)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return err
	}
	name, known := c.contexts[binary.BigEndian.Uint32(body)]
	if !known || a.runs[name] != nil {
		return fmt.Errorf("states in a context that was not asked for, or twice (%q)", name)
	}
	if a.runs == nil {
		a.runs = make(map[string][]Run)
	}
	for body = body[4:]; len(body) > 0; body = body[8:] {
		r := Run{uint64(binary.BigEndian.Uint32(body)), binary.BigEndian.Uint32(body[4:])}
		if r.Bytes == 0 {
			return errors.New("a run of no bytes")
		}
		a.runs[name] = append(a.runs[name], r)
	}
	return nil
}
