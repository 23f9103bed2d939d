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
	"syscall"
	"time"

	"golang.org/x/sync/semaphore"
)

// handshakeTime bounds the handshake.
const handshakeTime = 10 * time.Second

// Serve serves the exports to one client, and closes its connection. It returns when the client disconnects, which is no error, or breaks off, or ctx
// ends; no request is under way any more then.
func Serve(ctx context.Context, c net.Conn, exports ...Export) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	err := serve(ctx, c, exports)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func serve(ctx context.Context, c net.Conn, exports []Export) error {
	in := bufio.NewReaderSize(c, 64<<10)
	h := handshake{rw: struct {
		io.Reader
		io.Writer
	}{in, c}, exports: exports}
	if err := c.SetDeadline(time.Now().Add(handshakeTime)); err != nil {
		return err
	}
	e, err := h.run()
	switch {
	case errors.Is(err, errAborted), errors.Is(err, io.EOF): // to look is no fault
		return nil
	case err != nil:
		return fmt.Errorf("nbd: handshake: %w", err)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return err
	}
	s := &session{out: c, in: in, export: e, structured: h.structured, mapped: h.maps && h.mapped == e.Name, flight: semaphore.NewWeighted(maxFlight)}
	return s.run(ctx)
}

// session is the talk with a client that has chosen an export.
type session struct {
	in         io.Reader
	export     Export
	structured bool
	mapped     bool // what is allocated may be asked

	flight *semaphore.Weighted // bytes of the requests that are under way
	wg     sync.WaitGroup      // of these

	mu  sync.Mutex // held while a reply is written
	out io.Writer
}

// request is one of the client's.
type request struct {
	flags, command uint16
	cookie, off    uint64
	length         uint32
	data           []byte // of a WRITE
}

const requestBytes = 28

func parseRequest(b *[requestBytes]byte) (r request, err error) {
	if m := binary.BigEndian.Uint32(b[:]); m != magicRequest {
		return r, fmt.Errorf("request with magic %#x", m)
	}
	return request{flags: binary.BigEndian.Uint16(b[4:]), command: binary.BigEndian.Uint16(b[6:]), cookie: binary.BigEndian.Uint64(b[8:]),
		off: binary.BigEndian.Uint64(b[16:]), length: binary.BigEndian.Uint32(b[24:])}, nil
}

// carries is how many bytes of data a request or its reply takes along.
func (r request) carries() uint32 {
	if r.command == cmdRead || r.command == cmdWrite {
		return r.length
	}
	return 0
}

// run answers requests, many at a time, until the client disconnects.
func (s *session) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.wg.Wait()
	defer cancel() // ahead of those that are waited for: nobody wants their answers
	for {
		var head [requestBytes]byte
		if _, err := io.ReadFull(s.in, head[:]); err != nil {
			return fmt.Errorf("nbd: %w", err)
		}
		r, err := parseRequest(&head)
		if err != nil {
			return fmt.Errorf("nbd: %w", err)
		}
		if r.command == cmdDisconnect {
			s.wg.Wait()
			return nil
		}
		if r.command == cmdWrite && r.length > MaxRequest {
			return fmt.Errorf("nbd: a write of %d bytes", r.length)
		}
		cost := int64(max(leastCost, min(r.carries(), MaxRequest)))
		if err := s.flight.Acquire(ctx, cost); err != nil {
			return err
		}
		if r.command == cmdWrite {
			r.data = make([]byte, r.length)
			if _, err := io.ReadFull(s.in, r.data); err != nil {
				s.flight.Release(cost)
				return fmt.Errorf("nbd: %w", err)
			}
		}
		s.wg.Go(func() {
			defer s.flight.Release(cost)
			s.answer(ctx, r)
		})
	}
}

// answer does what is asked and replies. A reply that cannot be written is of no use any more: who reads requests finds that out. What fails because ctx
// has ended is not replied to: a client that comes back asks again, one that was told of an error would tell its guest.
func (s *session) answer(ctx context.Context, r request) {
	var err error
	switch code := s.refuse(r); {
	case code != 0:
		err = s.fail(ctx, r, code)
	case r.command == cmdRead:
		err = s.read(ctx, r)
	case r.command == cmdBlockStatus:
		err = s.blockStatus(ctx, r)
	default:
		err = s.done(ctx, r, s.change(ctx, r))
	}
	if err != nil {
		s.hangUp()
	}
}

// hangUp ends a connection whose replies are not taken.
func (s *session) hangUp() {
	if c, ok := s.out.(io.Closer); ok {
		c.Close()
	}
}

// refuse tells why a request cannot be served; 0: it can.
func (s *session) refuse(r request) uint32 {
	allowed := map[uint16]uint16{cmdRead: flagFUA, cmdWrite: flagFUA, cmdFlush: flagFUA, cmdTrim: flagFUA, cmdWriteZeroes: flagFUA | flagNoHole,
		cmdBlockStatus: flagFUA | flagReqOne}
	flags, known := allowed[r.command]
	writes := r.command == cmdWrite || r.command == cmdTrim || r.command == cmdWriteZeroes
	outside := r.command != cmdFlush && (r.off > s.export.Size || uint64(r.length) > s.export.Size-r.off)
	switch {
	case !known, r.flags&^flags != 0, r.command == cmdBlockStatus && (!s.mapped || r.length == 0), r.command == cmdRead && r.length > MaxRequest:
		return errInvalid
	case writes && s.export.ReadOnly:
		return errPerm
	case outside && writes:
		return errNoSpace
	case outside:
		return errInvalid
	}
	return 0
}

// change does what needs no data in the answer.
func (s *session) change(ctx context.Context, r request) (err error) {
	d := s.export.Device
	switch r.command {
	case cmdWrite:
		err = d.Write(ctx, r.data, r.off)
	case cmdTrim:
		err = d.Zero(ctx, r.off, uint64(r.length), true)
	case cmdWriteZeroes:
		err = d.Zero(ctx, r.off, uint64(r.length), r.flags&flagNoHole == 0)
	case cmdFlush:
		return d.Flush(ctx)
	}
	if err == nil && r.flags&flagFUA != 0 {
		err = d.Flush(ctx)
	}
	return err
}

func (s *session) done(ctx context.Context, r request, err error) error {
	if err != nil {
		return s.fail(ctx, r, codeOf(err))
	}
	return s.simple(r, 0, nil)
}

func (s *session) read(ctx context.Context, r request) error {
	data := make([]byte, r.length)
	if err := s.export.Device.Read(ctx, data, r.off); err != nil {
		return s.fail(ctx, r, codeOf(err))
	}
	if !s.structured {
		return s.simple(r, 0, data)
	}
	return s.chunk(r, chunkOffsetData, binary.BigEndian.AppendUint64(nil, r.off), data)
}

// blockStatus tells what of a run is allocated.
func (s *session) blockStatus(ctx context.Context, r request) error {
	body := binary.BigEndian.AppendUint32(nil, contextID)
	left, count := uint64(r.length), 0
	for e, err := range s.export.Device.(Mapper).Extents(ctx, r.off, left) {
		if err != nil {
			return s.fail(ctx, r, codeOf(err))
		}
		n := min(e.Bytes, left)
		state := uint32(0)
		if e.Hole {
			state |= stateHole
		}
		if e.Zero {
			state |= stateZero
		}
		body = binary.BigEndian.AppendUint32(body, uint32(n))
		body = binary.BigEndian.AppendUint32(body, state)
		left -= n
		if count++; left == 0 || count == maxExtents || r.flags&flagReqOne != 0 {
			break
		}
	}
	if count == 0 {
		return s.fail(ctx, r, errIO)
	}
	return s.chunk(r, chunkBlockStatus, body, nil)
}

// fail replies with an error.
func (s *session) fail(ctx context.Context, r request, code uint32) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !s.structured {
		return s.simple(r, code, nil)
	}
	return s.chunk(r, chunkError, binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint32(nil, code), 0), nil)
}

func (s *session) simple(r request, code uint32, data []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 16), magicSimple)
	b = binary.BigEndian.AppendUint32(b, code)
	return s.write(binary.BigEndian.AppendUint64(b, r.cookie), data)
}

// chunk replies with a structured reply of one chunk.
func (s *session) chunk(r request, kind uint16, head, data []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 0, 64), magicStructured)
	b = binary.BigEndian.AppendUint16(b, chunkDone)
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint64(b, r.cookie)
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)+len(data)))
	return s.write(append(b, head...), data)
}

func (s *session) write(head, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(data) == 0 {
		_, err := s.out.Write(head)
		return err
	}
	both := net.Buffers{head, data}
	_, err := both.WriteTo(s.out)
	return err
}

// codeOf is the protocol's number of an error.
func codeOf(err error) uint32 {
	for _, known := range []struct {
		err  error
		code uint32
	}{{syscall.ENOSPC, errNoSpace}, {syscall.EDQUOT, errNoSpace}, {syscall.EPERM, errPerm}, {syscall.EROFS, errPerm}, {syscall.EINVAL, errInvalid},
		{context.Canceled, errShutdown}, {context.DeadlineExceeded, errShutdown}} {
		if errors.Is(err, known.err) {
			return known.code
		}
	}
	return errIO
}
