package nbd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// client is the raw end of a connection.
type client struct {
	net.Conn
	t      testing.TB
	ended  chan error // of Serve
	cancel context.CancelFunc
}

// connect serves exports to a client that has read the greeting.
func connect(t testing.TB, exports ...Export) *client {
	t.Helper()
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	c := &client{Conn: ours, t: t, ended: make(chan error, 1), cancel: cancel}
	go func() { c.ended <- Serve(ctx, theirs, exports...) }()
	t.Cleanup(func() {
		cancel()
		ours.Close()
	})
	if got := c.read(18); string(got) != "NBDMAGICIHAVEOPT\x00\x03" {
		t.Fatalf("greeting %q", got)
	}
	return c
}

func (c *client) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *client) write(parts ...any) {
	c.t.Helper()
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			b, _ = binary.Append(b, binary.BigEndian, p)
		}
	}
	if _, err := c.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) option(number uint32, data string) {
	c.write("IHAVEOPT", number, uint32(len(data)), data)
}

// reply reads the answer to an option.
func (c *client) reply() (kind uint32, data []byte) {
	c.t.Helper()
	head := c.read(20)
	if m := binary.BigEndian.Uint64(head); m != magicReply {
		c.t.Fatalf("reply with magic %#x", m)
	}
	return binary.BigEndian.Uint32(head[12:]), c.read(int(binary.BigEndian.Uint32(head[16:])))
}

// begin chooses an export in the oldest way.
func (c *client) begin(name string) {
	c.t.Helper()
	c.write(uint32(fixedNewstyle | noZeroes))
	c.option(optExportName, name)
	c.read(10)
}

func (c *client) request(command, flags uint16, cookie, off uint64, length uint32) {
	c.write(uint32(magicRequest), flags, command, cookie, off, length)
}

// simple reads a simple reply.
func (c *client) simple() (code uint32, cookie uint64) {
	c.t.Helper()
	b := c.read(16)
	if m := binary.BigEndian.Uint32(b); m != magicSimple {
		c.t.Fatalf("reply with magic %#x", m)
	}
	return binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:])
}

// TestRefusedRequests: what cannot be done is answered by its number, and the connection goes on.
func TestRefusedRequests(t *testing.T) {
	c := connect(t, Export{Name: "d", Size: 4096, Device: newMemory(1)})
	c.begin("d")
	for i, r := range []struct {
		command, flags uint16
		off            uint64
		length         uint32
		want           uint32
	}{
		{cmdRead, 0, 0, 4097, errInvalid},
		{cmdRead, 0, 1 << 63, 1, errInvalid},
		{cmdRead, 0, 0, MaxRequest + 1, errInvalid},
		{cmdRead, 1 << 9, 0, 1, errInvalid},
		{cmdTrim, 0, 4096, 1, errNoSpace},
		{cmdWriteZeroes, 0, ^uint64(0), 2, errNoSpace},
		{cmdBlockStatus, 0, 0, 1, errInvalid}, // nothing was said of it
		{5, 0, 0, 1, errInvalid},
		{99, 0, 0, 0, errInvalid},
		{cmdFlush, 0, 1 << 40, 0, 0}, // whose offset means nothing
		{cmdWriteZeroes, flagNoHole, 0, 4096, 0},
	} {
		c.request(r.command, r.flags, uint64(i), r.off, r.length)
		if code, cookie := c.simple(); code != r.want || cookie != uint64(i) {
			t.Errorf("%+v: %d (cookie %d)", r, code, cookie)
		}
	}
	c.request(cmdDisconnect, 0, 0, 0, 0)
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
}

// TestReadOnly: nothing that would change an export is done.
func TestReadOnly(t *testing.T) {
	m := newMemory(1)
	c := connect(t, Export{Name: "d", Size: 4096, ReadOnly: true, Device: m})
	c.begin("d")
	c.request(cmdWrite, 0, 1, 0, 3)
	c.write("abc")
	if code, _ := c.simple(); code != errPerm || m.held[0] {
		t.Errorf("write: %d", code)
	}
}

// TestErrors: what a device says becomes the protocol's number of it.
func TestErrors(t *testing.T) {
	for _, e := range []struct {
		err  error
		want uint32
	}{{fmt.Errorf("x: %w", syscall.ENOSPC), errNoSpace}, {syscall.EROFS, errPerm}, {context.Canceled, errShutdown}, {io.EOF, errIO}} {
		if got := codeOf(e.err); got != e.want {
			t.Errorf("%v: %d", e.err, got)
		}
	}
}

// TestBrokenProtocol: what is none ends the connection, and says why.
func TestBrokenProtocol(t *testing.T) {
	for name, b := range map[string]struct {
		talk func(c *client)
		want string
	}{
		"flags":              {func(c *client) { c.write(uint32(0x80)) }, "flags 0x80"},
		"magic of an option": {func(c *client) { c.write(uint32(1), "IHAVENOT", uint32(1), uint32(0)) }, "option with magic"},
		"long option":        {func(c *client) { c.write(uint32(1), "IHAVEOPT", uint32(optGo), uint32(maxOption+1)) }, "option 7 of"},
		"no such export": {func(c *client) {
			c.write(uint32(1))
			c.option(optExportName, "e")
		}, `no export "e"`},
		"endless options": {func(c *client) {
			c.write(uint32(1))
			for range maxOptions {
				c.option(99, "")
				c.reply()
			}
		}, "too many options"},
		"magic of a request": {func(c *client) {
			c.begin("d")
			c.write(make([]byte, requestBytes))
		}, "request with magic 0x0"},
		"long write": {func(c *client) {
			c.begin("d")
			c.request(cmdWrite, 0, 1, 0, MaxRequest+1)
		}, "a write of"},
		"half a write": {func(c *client) {
			c.begin("d")
			c.request(cmdWrite, 0, 1, 0, 10)
			c.write("half")
			c.Close()
		}, "EOF"},
	} {
		c := connect(t, newMemory(1).export("d"), newMemory(1).export("f"))
		b.talk(c)
		if err := <-c.ended; err == nil || !strings.Contains(err.Error(), b.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHandshake: options that are wrong are refused, and the next one is answered.
func TestHandshake(t *testing.T) {
	c := connect(t, newMemory(1).export("d"), newMemory(1).export("f"))
	c.write(uint32(fixedNewstyle))
	text := func(s string) string {
		return string(binary.BigEndian.AppendUint32(nil, uint32(len(s)))) + s
	}
	for i, o := range []struct {
		number uint32
		data   string
		want   uint32
	}{
		{5, "", repUnsup}, {11, "", repUnsup}, {optList, "x", repInvalid}, {optStructuredReply, "x", repInvalid},
		{optGo, "", repInvalid}, {optGo, text("d"), repInvalid}, {optGo, text("d") + "\x00\x02\x00\x00", repInvalid}, {optGo, "\xff\xff\xff\xff", repInvalid},
		{optGo, text("e") + "\x00\x00", repUnknown}, {optInfo, text("") + "\x00\x00", repUnknown},
		{optSetMeta, text("d") + "\x00\x00\x00\x00", repInvalid}, // not structured yet
		{optStructuredReply, "", repAck},
		{optSetMeta, text("d") + "\xff\xff\xff\xff" + text("base:"), repInvalid},
		{optSetMeta, text("e") + "\x00\x00\x00\x00", repUnknown},
		{optSetMeta, text("d") + "\x00\x00\x00\x01" + text("base:"), repAck},
		{optListMeta, text("d") + "\x00\x00\x00\x01" + text("base:"), repMeta},
	} {
		c.option(o.number, o.data)
		if kind, _ := c.reply(); kind != o.want {
			t.Errorf("option %d (%d): %#x", i, o.number, kind)
		}
	}
	c.reply() // the end of the last one
	c.option(optAbort, "")
	if kind, _ := c.reply(); kind != repAck {
		t.Errorf("abort: %#x", kind)
	}
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
}

// stuck is a device of which nothing can be read until that is allowed.
type stuck struct {
	*memory
	free chan struct{}
}

func (s stuck) Read(ctx context.Context, p []byte, off uint64) error {
	select {
	case <-s.free:
		return s.memory.Read(ctx, p, off)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// TestHeldRead: a read that takes its time keeps no other request back, and is answered in the end.
func TestHeldRead(t *testing.T) {
	s := stuck{newMemory(1), make(chan struct{})}
	c := connect(t, Export{Name: "d", Size: unit, Device: s})
	c.begin("d")
	c.request(cmdRead, 0, 1, 0, 4)
	c.request(cmdWrite, 0, 2, 0, 4)
	c.write("data")
	if code, cookie := c.simple(); code != 0 || cookie != 2 {
		t.Fatalf("%d, cookie %d", code, cookie)
	}
	close(s.free)
	if code, cookie := c.simple(); code != 0 || cookie != 1 || string(c.read(4)) != "data" {
		t.Fatalf("%d, cookie %d", code, cookie)
	}
}

// TestEnd: with its context, or with its client, Serve ends although a request is being held.
func TestEnd(t *testing.T) {
	for name, end := range map[string]func(c *client){"context": func(c *client) { c.cancel() }, "client": func(c *client) { c.Close() }} {
		s := stuck{newMemory(1), make(chan struct{})}
		c := connect(t, Export{Name: "d", Size: unit, Device: s})
		c.begin("d")
		c.request(cmdRead, 0, 1, 0, 4)
		end(c)
		if err := <-c.ended; err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestSilentClient: one that says nothing is not waited for.
func TestSilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, newMemory(1).export("d"))
		if err := <-c.ended; !errors.Is(err, syscall.ETIMEDOUT) && (err == nil || !strings.Contains(err.Error(), "timeout")) {
			t.Errorf("%v", err)
		}
	})
}

// FuzzServe: whatever a client says, the server ends in good order, and what it makes room for stays in bounds.
func FuzzServe(f *testing.F) {
	head := binary.BigEndian.AppendUint32(nil, 1)
	choose := append([]byte("IHAVEOPT\x00\x00\x00\x01\x00\x00\x00\x01"), 'd')
	write := binary.BigEndian.AppendUint32(nil, magicRequest)
	write = append(write, 0, 1, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 'a', 'b')
	f.Add(append(append(head, choose...), write...))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x07\x00\x00\x00\x07\x00\x00\x00\x01d\x00\x00"))
	f.Add([]byte("\x00\x00\x00\x03IHAVEOPT\x00\x00\x00\x08\x00\x00\x00\x00IHAVEOPT\x00\x00\x00\x0a\x00\x00\x00\x18\x00\x00\x00\x01d\x00\x00\x00\x01\x00\x00\x00\x0fbase:allocation"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		ended := make(chan error, 1)
		go func() { ended <- Serve(context.Background(), theirs, newMemory(1).export("d")) }()
		read := make(chan struct{})
		go func() {
			defer close(read)
			io.Copy(io.Discard, ours)
		}()
		ours.Write(b)
		ours.Close()
		<-ended
		<-read
	})
}
