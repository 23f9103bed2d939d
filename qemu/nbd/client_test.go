package nbd

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// dial connects to a socket, once somebody listens there.
func dial(t *testing.T, socket, export string, contexts ...string) *Client {
	t.Helper()
	var conn net.Conn
	for range 500 {
		var err error
		if conn, err = net.Dial("unix", socket); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if conn == nil {
		t.Fatalf("nobody listens at %s", socket)
	}
	c, err := Connect(t.Context(), conn, export, contexts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Disconnect(context.Background()) // some have done so
		c.Close()
	})
	return c
}

// exercise writes to an export of zeros from many goroutines at once, and makes sure that it reads as it must.
func exercise(t *testing.T, c *Client) []byte {
	t.Helper()
	ctx, want := t.Context(), make([]byte, c.Size)
	var wg sync.WaitGroup
	for i := range 8 {
		part := want[i*len(want)/8 : (i+1)*len(want)/8]
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			at := func(off int) uint64 { return uint64(i*len(want)/8 + off) }
			for range 40 {
				off := rng.IntN(len(part)/512-256) * 512
				some := part[off : off+(1+rng.IntN(256))*512]
				if rng.IntN(4) == 0 {
					clear(some)
					if err := c.Zero(ctx, at(off), uint64(len(some)), rng.IntN(2) == 0); err != nil {
						t.Error(err)
					}
					continue
				}
				for k := range some {
					some[k] = byte(rng.Uint32())
				}
				if err := c.Write(ctx, some, at(off)); err != nil {
					t.Error(err)
				}
				back := make([]byte, len(some))
				if err := c.Read(ctx, back, at(off)); err != nil || !bytes.Equal(back, some) {
					t.Errorf("at %d: other bytes, %v", at(off), err)
				}
			}
		})
	}
	wg.Wait()
	if err := c.Flush(ctx); err != nil {
		t.Error(err)
	}
	got := make([]byte, len(want))
	for off := uint64(0); off < c.Size; {
		all, err := c.Extents(ctx, off, c.Size-off)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if !e.Zero {
				if err := c.Read(ctx, got[off:off+e.Bytes], off); err != nil {
					t.Fatal(err)
				}
			}
			off += e.Bytes
		}
	}
	if !bytes.Equal(got, want) {
		t.Error("other bytes where it is said to hold some")
	}
	return want
}

// TestClientAndServer: our two ends understand one another.
func TestClientAndServer(t *testing.T) {
	m := newMemory(256)
	c := dial(t, listen(t, m.export("disk"), Export{Name: "fixed", Size: unit, ReadOnly: true, Device: newMemory(1)}), "disk")
	if want := exercise(t, c); !bytes.Equal(m.bytes(), want) || m.flushes != 1 {
		t.Errorf("written: other bytes, or %d flushes", m.flushes)
	}
	large := make([]byte, 2*MaxRequest)
	if err := c.Read(t.Context(), large, 0); err == nil {
		t.Error("what is outside was read")
	}
	if err := c.Disconnect(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Read(t.Context(), make([]byte, 1), 0); !errors.Is(err, errEnded) {
		t.Errorf("read after the end: %v", err)
	}
}

// TestClientRefused: what a server refuses is an error, after which it is asked on.
func TestClientRefused(t *testing.T) {
	socket := listen(t, Export{Name: "fixed", Size: unit, ReadOnly: true, Device: newMemory(1)}, newMemory(1).export("b"))
	c := dial(t, socket, "fixed")
	if err := c.Write(t.Context(), make([]byte, 512), 0); !c.ReadOnly || !errors.Is(err, syscall.EPERM) {
		t.Errorf("written to what is only read: %v", err)
	}
	if err := c.Read(t.Context(), make([]byte, 512), unit-512); err != nil {
		t.Error(err)
	}
	if _, err := c.Runs(t.Context(), Depth, 0, unit); err == nil {
		t.Error("our server tells of depths")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(t.Context(), conn, "none"); err == nil || !strings.Contains(err.Error(), "export none: the server refuses") {
		t.Error(err)
	}
}

// TestClientAndQEMU: qemu-nbd has a qcow2 image as the client writes it, tells which layer it is in, and ends when that has disconnected.
func TestClientAndQEMU(t *testing.T) {
	dir := kit.ShortDir(t)
	base, image, socket := filepath.Join(dir, "base"), filepath.Join(dir, "image"), filepath.Join(dir, "s")
	tool(t, "qemu-img", "create", "-f", "qcow2", base, "16M")
	tool(t, "qemu-img", "create", "-f", "qcow2", "-b", base, "-F", "qcow2", image)
	cmd := exec.CommandContext(t.Context(), "qemu-nbd", "-f", "qcow2", "-k", socket, "--discard=unmap", "-A", "-x", "it", image)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := dial(t, socket, "it", baseAllocation, Depth)
	runs, err := c.Runs(t.Context(), Depth, 0, c.Size)
	if err != nil || len(runs) != 1 || runs[0] != (Run{16 << 20, 0}) {
		t.Errorf("%v, %v", runs, err)
	}
	want := exercise(t, c)
	if runs, err = c.Runs(t.Context(), Depth, 0, c.Size); err != nil || len(runs) < 2 || runs[0].State > 1 {
		t.Errorf("%v, %v", runs, err)
	}
	if err := c.Disconnect(t.Context()); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	tool(t, "qemu-img", "check", image)
	tool(t, "qemu-img", "convert", "-O", "raw", image, image+".raw")
	if got, err := os.ReadFile(image + ".raw"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("other bytes (%v)", err)
	}
}

// server is the raw end of a connection that a client has.
type server struct{ client }

// serving has a client connect to a server that the test plays, and choose an export of 1 MiB.
func serving(t testing.TB, structured bool) (*Client, *server) {
	t.Helper()
	ours, theirs := net.Pipe()
	s := &server{client{Conn: theirs, t: t}}
	connected := make(chan *Client)
	go func() {
		c, err := Connect(context.Background(), ours, "x")
		if err != nil {
			t.Error(err)
		}
		connected <- c
	}()
	s.write("NBDMAGICIHAVEOPT", uint16(fixedNewstyle))
	s.read(4)
	s.option(optStructuredReply)
	if !structured {
		s.answer(optStructuredReply, repUnsup, "no")
	} else {
		s.answer(optStructuredReply, repAck, "")
		s.option(optSetMeta)
		s.answer(optSetMeta, repMeta, "\x00\x00\x00\x07"+baseAllocation)
		s.answer(optSetMeta, repAck, "")
	}
	s.option(optGo)
	s.answer(optGo, repInfo, "\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01")
	s.answer(optGo, repAck, "")
	c := <-connected
	t.Cleanup(func() {
		theirs.Close()
		c.Close()
	})
	return c, s
}

func (s *server) option(want uint32) {
	s.t.Helper()
	head := s.read(16)
	if got := binary.BigEndian.Uint32(head[8:]); got != want {
		s.t.Fatalf("option %d, want %d", got, want)
	}
	s.read(int(binary.BigEndian.Uint32(head[12:])))
}

func (s *server) answer(option, kind uint32, data string) {
	s.write(uint64(magicReply), option, kind, uint32(len(data)), data)
}

// request is the cookie of the next request.
func (s *server) request() uint64 { return binary.BigEndian.Uint64(s.read(requestBytes)[8:]) }

// TestClientLeaves: who does not wait for an answer any more gets none, and others do.
func TestClientLeaves(t *testing.T) {
	c, s := serving(t, true)
	ctx, cancel := context.WithCancelCause(t.Context())
	left, mine := make(chan error, 1), make([]byte, 4)
	go func() { left <- c.Read(ctx, mine, 0) }()
	first := s.request()
	cancel(errNone)
	if err := <-left; err != errNone {
		t.Error(err)
	}
	done, got := make(chan error, 1), make([]byte, 4)
	go func() { done <- c.Read(t.Context(), got, 8) }()
	second := s.request()
	s.write(uint32(magicStructured), uint16(chunkDone), uint16(chunkOffsetData), first, uint32(12), uint64(0), "lost")
	s.write(uint32(magicStructured), uint16(0), uint16(chunkOffsetHole), second, uint32(12), uint64(10), uint32(2))
	s.write(uint32(magicStructured), uint16(chunkDone), uint16(chunkOffsetData), second, uint32(10), uint64(8), "ab")
	if err := <-done; err != nil || string(got) != "ab\x00\x00" || string(mine) != "\x00\x00\x00\x00" {
		t.Errorf("%q, %q, %v", got, mine, err)
	}
	go func() { done <- c.Write(t.Context(), []byte("12"), 0) }()
	third := s.request()
	s.read(2)
	s.write(uint32(magicSimple), uint32(0), third) // also where replies are structured
	if err := <-done; err != nil {
		t.Error(err)
	}
}

var errNone = errors.New("nobody wants it")

// TestClientHearsNonsense: a server that breaks the protocol ends the connection, and whoever waits learns why.
func TestClientHearsNonsense(t *testing.T) {
	part := func(kind uint16, flags uint16, parts ...any) func(uint64) []any {
		return func(cookie uint64) []any {
			var b []byte
			for _, p := range parts {
				switch p := p.(type) {
				case string:
					b = append(b, p...)
				default:
					b, _ = binary.Append(b, binary.BigEndian, p)
				}
			}
			return []any{uint32(magicStructured), flags, kind, cookie, uint32(len(b)), b}
		}
	}
	cases := map[string]func(cookie uint64) []any{
		"magic":                                  func(uint64) []any { return []any{uint32(1)} },
		"was not asked":                          func(cookie uint64) []any { return []any{uint32(magicSimple), uint32(0), cookie + 1} },
		"a simple reply":                         func(cookie uint64) []any { return []any{uint32(magicSimple), uint32(0), cookie} },
		"4 bytes at 1, which":                    part(chunkOffsetData, 0, uint64(1), "four"),
		"5 bytes at 0, which":                    part(chunkOffsetData, 0, uint64(0), "fiver"),
		"4 bytes at 18446744073709551615, which": part(chunkOffsetHole, 0, ^uint64(0), uint32(4)),
		"0 bytes at 0, which":                    part(chunkOffsetHole, 0, uint64(0), uint32(0)),
		"lacks a part":                           part(chunkOffsetData, chunkDone, uint64(0), "two"),
		"a chunk of kind 5":                      part(chunkBlockStatus, chunkDone, uint32(7), uint64(1)),
		"a chunk of kind 0":                      part(chunkNone, chunkDone, uint64(1)),
		"an error of 2 bytes":                    part(chunkError, chunkDone, uint16(1)),
		"more text than it has":                  part(chunkError, chunkDone, uint32(5), uint16(9), "short"),
		"an error of 70000 bytes":                part(chunkError, chunkDone, strings.Repeat("x", 70000)),
	}
	tried.Inputs(t, "answer of an NBD server", len(cases))
	for want, reply := range cases {
		c, s := serving(t, true)
		done := make(chan error, 1)
		go func() { done <- c.Read(t.Context(), make([]byte, 4), 0) }()
		cookie := s.request()
		go func() { _, _ = io.Copy(s, bytes.NewReader(flat(reply(cookie)))) }()
		if err := <-done; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err := c.Flush(t.Context()); err == nil {
			t.Errorf("%s: the connection goes on", want)
		}
	}
}

// flat are the bytes of numbers and texts.
func flat(parts []any) (b []byte) {
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		default:
			b, _ = binary.Append(b, binary.BigEndian, p)
		}
	}
	return b
}

// FuzzClient: whatever a server says, the client neither crashes, nor waits on when the server has gone, nor takes an answer that lacks something for one.
func FuzzClient(f *testing.F) {
	greet := "NBDMAGICIHAVEOPT\x00\x03" + reply(optStructuredReply, repAck, "") + reply(optSetMeta, repMeta, "\x00\x00\x00\x07"+baseAllocation) + reply(optSetMeta, repAck, "") +
		reply(optGo, repInfo, "\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x01") + reply(optGo, repAck, "")
	f.Add([]byte(greet))
	f.Add([]byte(greet + string(flat([]any{uint32(magicStructured), uint16(chunkDone), uint16(chunkOffsetHole), uint64(1), uint32(12), uint64(0), uint32(4096)}))))
	f.Add([]byte(greet + string(flat([]any{uint32(magicSimple), uint32(0), uint64(1), uint32(magicStructured), uint16(chunkDone), uint16(chunkBlockStatus), uint64(2), uint32(12), uint32(7), uint32(9), uint32(3)}))))
	f.Fuzz(func(t *testing.T, said []byte) {
		ours, theirs := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, theirs) }()
		go func() {
			_, _ = theirs.Write(said)
			theirs.Close()
		}()
		c, err := Connect(t.Context(), ours, "x")
		if err != nil {
			return
		}
		defer c.Close()
		p := bytes.Repeat([]byte{1}, 4096)
		if err := c.Read(t.Context(), p, 0); err == nil && c.Size < 4096 {
			t.Error("what is outside was read")
		}
		if runs, err := c.Runs(t.Context(), baseAllocation, 0, c.Size); err == nil {
			sum := uint64(0)
			for _, r := range runs {
				sum += r.Bytes
			}
			if sum == 0 || sum > c.Size {
				t.Errorf("%d bytes of %d", sum, c.Size)
			}
		}
	})
}

func reply(option, kind uint32, data string) string {
	return string(flat([]any{uint64(magicReply), option, kind, uint32(len(data))})) + data
}
