// Package kit is for tests of what talks to a QEMU.
package kit

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// A scripted monitor shows the faults that a real QEMU does not.

// Greeting is what a QEMU 7.2 says first.
const Greeting = `{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "test"}, "capabilities": ["oob"]}}`

// Peer is the scripted end of a connection.
type Peer struct {
	net.Conn
	in *bufio.Scanner
}

// Command is one command as the peer got it.
type Command struct {
	Execute   string          `json:"execute"`
	ExecOOB   string          `json:"exec-oob"`
	Arguments json.RawMessage `json:"arguments"`
	ID        uint64          `json:"id"`
}

// Say says a line.
func (p *Peer) Say(format string, args ...any) { fmt.Fprintf(p, format+"\r\n", args...) }

// Next is the next command; not ok at the end of the connection.
func (p *Peer) Next() (Command, bool) {
	var c Command
	if !p.in.Scan() {
		return c, false
	}
	return c, json.Unmarshal(p.in.Bytes(), &c) == nil
}

// Reply answers a command.
func (p *Peer) Reply(c Command, result string) { p.Say(`{"return": %s, "id": %d}`, result, c.ID) }

// Greet does QEMU's part of the negotiation.
func (p *Peer) Greet() {
	p.Say(Greeting)
	if c, ok := p.Next(); ok {
		p.Reply(c, "{}")
	}
}

// Hold waits until the client has gone.
func (p *Peer) Hold() { io.Copy(io.Discard, p) }

// Monitor serves each connection, one after the other as QEMU does, and returns the socket.
func Monitor(t testing.TB, serve func(p *Peer)) string {
	t.Helper()
	socket := filepath.Join(ShortDir(t), "m.qmp")
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
			serve(&Peer{conn, in})
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return socket
}

// QEMU is the program that the tests with a real VM start.
const QEMU = "/usr/bin/qemu-system-x86_64"

// NeedQEMU is QEMU. A test fails without it.
func NeedQEMU(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath(QEMU); err != nil {
		t.Fatalf("%s is needed: apt-get install qemu-system-x86 (%v)", QEMU, err)
	}
	return QEMU
}

// ShortDir is a temporary directory whose path leaves room for the names of sockets.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
