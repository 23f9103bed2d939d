package qemu

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
)

// A scripted monitor shows the faults that a real QEMU does not.

const greetingLine = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "test"}, "capabilities": ["oob"]}}`

// peer is the scripted end of a connection.
type peer struct {
	net.Conn
	in *bufio.Scanner
}

// command is one command as the peer got it.
type command struct {
	Execute   string          `json:"execute"`
	ExecOOB   string          `json:"exec-oob"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

func (p *peer) say(format string, args ...any) { fmt.Fprintf(p, format+"\r\n", args...) }

func (p *peer) next() (command, bool) {
	var c command
	if !p.in.Scan() {
		return c, false
	}
	return c, json.Unmarshal(p.in.Bytes(), &c) == nil
}

func (p *peer) reply(c command, result string) { p.say(`{"return": %s, "id": %d}`, result, c.ID) }

// greet does QEMU's part of the negotiation.
func (p *peer) greet() {
	p.say(greetingLine)
	if c, ok := p.next(); ok {
		p.reply(c, "{}")
	}
}

// hold waits until the client has gone.
func (p *peer) hold() { io.Copy(io.Discard, p) }

// monitor serves each connection, one after the other as QEMU does, and returns the socket.
func monitor(t testing.TB, serve func(p *peer)) string {
	t.Helper()
	socket := filepath.Join(shortDir(t), "m.qmp")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			in := bufio.NewScanner(conn)
			in.Buffer(nil, 64<<20)
			serve(&peer{conn, in})
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return socket
}

// dial connects to a scripted monitor.
func dial(t testing.TB, socket string) *Client {
	t.Helper()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
