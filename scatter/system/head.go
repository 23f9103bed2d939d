package system

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/scatter-vm/scatter/qemu/stream"
)

// maxHead bounds the head of a stream that is kept.
const maxHead = 512 << 10

// ReadHead returns the bytes of a migration stream up to the end of the ram START section, which lists the RAM blocks.
func ReadHead(p *stream.Parser) ([]byte, error) {
	var head []byte
	for {
		it, err := p.Next()
		if err != nil {
			return nil, NoEOF(err)
		}
		if it.Kind == stream.KindPage || it.Kind == stream.KindZero || it.Kind == stream.KindTail || len(head) > maxHead {
			return nil, fmt.Errorf("no list of ram blocks before %s", it.Kind)
		}
		head = append(head, it.Raw...)
		if it.Kind == stream.KindFooter && len(p.Blocks()) > 0 {
			return head, nil
		}
	}
}

// WithoutAdvise is the head of a stream whose VM has all of its memory before it runs, of one that need not have.
func WithoutAdvise(head []byte) (out []byte, err error) {
	p := stream.NewParser(bytes.NewReader(head), stream.Options{})
	for {
		it, err := p.Next()
		if err != nil {
			return nil, fmt.Errorf("head of the stream: %w", NoEOF(err))
		}
		if it.Kind != stream.KindCommand || it.Command != stream.CmdPostcopyAdvise {
			out = append(out, it.Raw...)
		}
		if it.Kind == stream.KindFooter && len(p.Blocks()) > 0 {
			return out, nil
		}
	}
}

// HeadPing marks the end of the head in QEMU's own order of work.
const HeadPing = 0x5ca77e2d

// WriteHead writes the head of a stream, and a PING: when HeadPing comes back, QEMU has taken the head.
func WriteHead(w *stream.Writer, head []byte) error {
	p := stream.NewParser(bytes.NewReader(head), stream.Options{})
	for {
		it, err := p.Next()
		if err != nil {
			return fmt.Errorf("head of the stream: %w", NoEOF(err))
		}
		if err := w.Item(p, it); err != nil {
			return err
		}
		if it.Kind == stream.KindFooter && len(p.Blocks()) > 0 {
			break
		}
	}
	if err := w.Follow(p); err != nil {
		return err
	}
	if err := w.Command(stream.CmdPing, binary.BigEndian.AppendUint32(nil, HeadPing)); err != nil {
		return err
	}
	return w.Flush()
}
