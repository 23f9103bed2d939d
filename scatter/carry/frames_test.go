package carry

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// framed writes pieces through a FrameWriter and returns what arrives: the frames, and their bytes unpacked.
func framed(t *testing.T, pack *Packer, pieces [][]byte) (frames []control.Message, stream []byte, counted int64) {
	t.Helper()
	near, far := net.Pipe()
	defer near.Close()
	received := make(chan struct{})
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(control.MaxFrame))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	go func() {
		defer close(received)
		c := control.NewConn(far, "source", wire.LostAfter)
		for {
			m, err := c.Receive()
			if err != nil {
				return
			}
			switch m := m.(type) {
			case control.Data:
				frames = append(frames, control.Data{Body: bytes.Clone(m.Body)})
				stream = append(stream, m.Body...)
			case control.Packed:
				frames = append(frames, control.Packed{Body: bytes.Clone(m.Body)})
				if stream, err = z.DecodeAll(m.Body, stream); err != nil {
					t.Error(err)
				}
			default:
				t.Errorf("unexpected %s", m.Type())
			}
		}
	}()
	w := &FrameWriter{Ctx: t.Context(), Conn: control.NewConn(near, "target", wire.LostAfter), Pacer: multicast.NewPacer(1<<40, 1<<30), Pack: pack,
		Count: func(n int64) { counted += n }}
	for _, b := range pieces {
		if n, err := w.Write(b); n != len(b) || err != nil {
			t.Fatalf("wrote %d of %d bytes: %v", n, len(b), err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	near.Close()
	<-received
	return frames, stream, counted
}

func size(m control.Message) int {
	if p, ok := m.(control.Packed); ok {
		return len(p.Body)
	}
	return len(m.(control.Data).Body)
}

// TestFrameWriterKeepsBytes: however a stream is cut, its bytes arrive in order, in frames that are as large as can be.
func TestFrameWriterKeepsBytes(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	all := kit.Noise(5*FrameSize + 77)
	var pieces [][]byte
	for rest := all; len(rest) > 0; {
		n := min(len(rest), 1+rnd.IntN(2*FrameSize))
		pieces, rest = append(pieces, rest[:n]), rest[n:]
	}
	frames, got, counted := framed(t, nil, pieces)
	if !bytes.Equal(got, all) || counted != int64(len(all)) {
		t.Fatalf("%d bytes arrived of %d, %d counted", len(got), len(all), counted)
	}
	for i, m := range frames {
		if want := min(FrameSize, len(all)-i*FrameSize); m.Type() != control.TypeData || size(m) != want {
			t.Errorf("frame %d: %s of %d bytes, want %d", i, m.Type(), size(m), want)
		}
	}
}

// TestFrameWriterPacks: frames that gain are sent compressed and counted as sent, others as they are.
func TestFrameWriterPacks(t *testing.T) {
	pack, err := NewPacker(func() int64 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), FrameSize/16)
	all := [][]byte{text, kit.Noise(FrameSize), text, text[:100]}
	frames, got, counted := framed(t, pack, all)
	if !bytes.Equal(got, bytes.Join(all, nil)) {
		t.Fatal("the stream was changed")
	}
	want := []control.Type{control.TypePacked, control.TypeData, control.TypeData, control.TypePacked} // after noise one frame is not tried
	var sum int64
	for i, m := range frames {
		if i >= len(want) || m.Type() != want[i] {
			t.Errorf("frame %d: %s", i, m.Type())
		}
		sum += int64(size(m))
	}
	if counted != sum || len(frames) != len(want) {
		t.Errorf("%d frames, counted %d bytes, sent %d", len(frames), counted, sum)
	}
}

// TestFrameWriterWaitsForThePacer: what the pacer does not let through is not sent, and the wait ends with its context.
func TestFrameWriterWaitsForThePacer(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(model.ErrCancelled)
	w := &FrameWriter{Ctx: ctx, Conn: control.NewConn(near, "target", wire.LostAfter), Pacer: multicast.NewPacer(1, 1), Count: func(int64) {}}
	if _, err := w.Write(make([]byte, FrameSize)); !errors.Is(err, model.ErrCancelled) {
		t.Errorf("got %v", err)
	}
}
