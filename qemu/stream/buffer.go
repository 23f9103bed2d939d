package stream

import (
	"encoding/binary"
	"fmt"
	"io"
)

// buffer reads a stream in large pieces and hands out slices of itself. A token is the run of bytes between begin and
// the current position: it stays in one piece while it grows, and a slice of it is valid until the next begin.
type buffer struct {
	r     io.Reader
	idle  func() error // see Options.Idle
	buf   []byte
	base  uint64 // stream offset of buf[0]
	start int    // first byte of the token
	pos   int    // end of the token, next byte to parse
	end   int    // end of the bytes received
	err   error  // of r, once it failed
}

const maxEmptyReads = 100

// offset is the stream offset of the next byte to parse.
func (b *buffer) offset() uint64 { return b.base + uint64(b.pos) }

// begin opens a token at the current position.
func (b *buffer) begin() {
	if invariants {
		mangle(b.buf[b.start:b.pos])
	}
	b.start = b.pos
}

// token is the open token so far.
func (b *buffer) token() []byte { return b.buf[b.start:b.pos] }

// need makes at least n bytes available behind the current position. The source ending before is
// io.ErrUnexpectedEOF.
func (b *buffer) need(n int) error {
	for b.end-b.pos < n {
		if err := b.fill(n); err == io.EOF {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
	return nil
}

// fill reads once, into a buffer that can take n bytes behind the current position.
func (b *buffer) fill(n int) error {
	if b.err != nil {
		return b.err
	}
	if err := b.room(n); err != nil {
		return err
	}
	if b.idle != nil {
		if err := b.idle(); err != nil {
			return err
		}
	}
	for range maxEmptyReads {
		got, err := b.r.Read(b.buf[b.end:])
		b.end += got
		if err == io.EOF {
			b.err = err
		}
		if got > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// room moves the token to the front when the rest of the buffer is short, and grows a buffer that cannot hold it.
func (b *buffer) room(n int) error {
	want := b.pos - b.start + n
	if want > maxItem {
		return &FormatError{"item exceeds its bound", b.base + uint64(b.start)}
	}
	if len(b.buf)-b.end >= len(b.buf)/2 && b.start+want <= len(b.buf) {
		return nil
	}
	if b.start == 0 && want <= len(b.buf) {
		return nil
	}
	dst := b.buf
	if want > len(dst) {
		dst = make([]byte, max(2*len(dst), want))
	}
	copy(dst, b.buf[b.start:b.end])
	b.base += uint64(b.start)
	b.buf, b.pos, b.end, b.start = dst, b.pos-b.start, b.end-b.start, 0
	return nil
}

// take ends the token and returns everything received behind it.
func (b *buffer) take() []byte {
	b.begin()
	b.pos = b.end
	return b.token()
}

// bytes consumes n bytes.
func (b *buffer) bytes(n int) ([]byte, error) {
	if err := b.need(n); err != nil {
		return nil, err
	}
	p := b.buf[b.pos : b.pos+n : b.pos+n]
	b.pos += n
	return p, nil
}

// peek returns the next byte without consuming it.
func (b *buffer) peek() (byte, error) {
	if err := b.need(1); err != nil {
		return 0, err
	}
	return b.buf[b.pos], nil
}

func (b *buffer) u8() (byte, error) {
	p, err := b.bytes(1)
	if err != nil {
		return 0, err
	}
	return p[0], nil
}

func (b *buffer) u32() (uint32, error) {
	p, err := b.bytes(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(p), nil
}

func (b *buffer) u64() (uint64, error) {
	p, err := b.bytes(8)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(p), nil
}

// str8 consumes a string that follows its u8 length.
func (b *buffer) str8() ([]byte, error) {
	n, err := b.u8()
	if err != nil {
		return nil, err
	}
	return b.bytes(int(n))
}

// malformed says that the token is what no QEMU sends.
func (b *buffer) malformed(format string, args ...any) error {
	return &FormatError{fmt.Sprintf(format, args...), b.base + uint64(b.start)}
}

// refused says that the token is of something that this package does not know.
func (b *buffer) refused(format string, args ...any) error {
	return &RefusedError{fmt.Sprintf(format, args...), b.base + uint64(b.start)}
}

func mangle(p []byte) {
	for i := range p {
		p[i] = 0xdb
	}
}
