package carry

import (
	"context"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/planning"
)

// FrameWriter cuts a stream into frames, paces them before bulk and compresses what gains.
type FrameWriter struct {
	Ctx   context.Context
	Conn  *control.Conn
	Pacer *multicast.Pacer
	Pack  *Packer     // nil: nothing is compressed
	Count func(int64) // is told the bytes of each frame

	buf []byte
}

// Write takes any piece of the stream.
func (w *FrameWriter) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		k := min(len(b), FrameSize-len(w.buf))
		w.buf = append(w.buf, b[:k]...)
		b = b[k:]
		if len(w.buf) == FrameSize {
			if err := w.Flush(); err != nil {
				return 0, err
			}
		}
	}
	return n, nil
}

// Flush sends what has been written.
func (w *FrameWriter) Flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	if small, ok := w.Pack.Try(w.buf); ok {
		if err := w.send(w.Ctx, control.Packed{Body: small}, len(small)); err != nil {
			return err
		}
	} else if err := w.send(w.Ctx, control.Data{Body: w.buf}, len(w.buf)); err != nil {
		return err
	}
	w.buf = w.buf[:0]
	return nil
}

// Pages sends pages of disks (control.Pages) in a message of their own.
func (w *FrameWriter) Pages(ctx context.Context, body []byte) error {
	if small, ok := w.Pack.Try(body); ok {
		return w.send(ctx, control.PackedPages{Body: small}, len(small))
	}
	return w.send(ctx, control.Pages{Body: body}, len(body))
}

// send sends a message with so many bytes in it, when it is its turn.
func (w *FrameWriter) send(ctx context.Context, m control.Message, size int) error {
	if err := w.Pacer.Wait(ctx, int(planning.TCPBytes(int64(size))), multicast.Urgent); err != nil {
		return err
	}
	if err := w.Conn.Send(m); err != nil {
		return err
	}
	w.Count(int64(size))
	return nil
}
