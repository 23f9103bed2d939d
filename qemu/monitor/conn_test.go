package monitor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

func TestClientIgnoresEventsDuringHandshake(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Say("%s\r\n%s", kit.Greeting, `{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}`)
		cmd, _ := p.Next()
		p.Say(`{"event": "RESUME", "timestamp": {"seconds": 1, "microseconds": 2}}`)
		p.Reply(cmd, "{}")
		cmd, _ = p.Next()
		p.Reply(cmd, `{"status": "running", "running": true}`)
		p.Hold()
	}))
	if s, err := RunControlOf(c).Status(t.Context()); err != nil || s != (RunState{"running", true}) {
		t.Errorf("status %+v, %v", s, err)
	}
	if c.Version() != [3]int{7, 2, 22} || c.PID() != os.Getpid() {
		t.Errorf("version %v, pid %d", c.Version(), c.PID())
	}
}

// Replies must stay what they are while further lines arrive, and find the command that they belong to.
func TestClientConcurrentCommands(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		var wg sync.WaitGroup
		defer wg.Wait()
		for {
			cmd, ok := p.Next()
			if !ok {
				return
			}
			wg.Go(func() { // so replies come in another order than commands
				p.Say(`{"return": %s, "id": %d}`+"\n"+`{"event": "NOISE", "data": {"x": "%s"}}`,
					cmd.Arguments, cmd.ID, strings.Repeat("n", 300))
			})
		}
	}))
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 40 {
				want := fmt.Sprintf("%d-%d", g, i)
				var got map[string]string
				if err := c.Do(t.Context(), "echo", map[string]string{"v": want}, &got); err != nil || got["v"] != want {
					t.Errorf("got %v, %v, want %s", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestClientLongReply(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		cmd, _ := p.Next()
		p.Reply(cmd, `"`+long+`"`)
		p.Hold()
	}))
	var got string
	if err := c.Do(t.Context(), "long", nil, &got); err != nil || got != long {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// Each of these lines ends the connection, with an error that shows it.
func TestClientProtocolErrors(t *testing.T) {
	for _, test := range []struct{ name, line, want string }{
		{"garbage", "\x00\xffgarbage", "garbage"},
		{"half", `{"return": {`, "return"},
		{"neither", `{"id": 2}`, "neither"},
		{"both", `{"return": {}, "event": "X", "id": 2}`, "neither"},
		{"second greeting", kit.Greeting, "second greeting"},
		{"unknown id", `{"return": {}, "id": 77}`, "not pending"},
		{"no id", `{"return": {}}`, "without id"},
		{"not understood", `{"error": {"class": "GenericError", "desc": "no JSON"}}`, "no JSON"},
		{"too long", strings.Repeat("y", MaxLine+10), "longer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, kit.Monitor(t, func(p *kit.Peer) { p.Greet(); p.Next(); p.Say("%s", test.line); p.Hold() }))
			err := c.Do(t.Context(), "query-status", nil, nil)
			_, typed := errors.AsType[*ProtocolError](err)
			if !errors.Is(err, ErrClosed) || !typed || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %.200v", err)
			}
			if err := c.Do(t.Context(), "again", nil, nil); !errors.Is(err, ErrClosed) {
				t.Errorf("later error %v", err)
			}
		})
	}
}

func TestClientSecondReply(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) { p.Greet(); cmd, _ := p.Next(); p.Reply(cmd, "1"); p.Reply(cmd, "2"); p.Hold() }))
	var got int
	if err := c.Do(t.Context(), "once", nil, &got); err != nil || got != 1 {
		t.Errorf("got %d, %v", got, err)
	}
	<-c.Done()
	if err := c.Err(); !strings.Contains(err.Error(), "not pending") {
		t.Errorf("error %v", err)
	}
}

func TestDialRefusesOtherGreetings(t *testing.T) {
	for _, line := range []string{"SSH-2.0-OpenSSH", `{"return": {}}`, `{"event": "STOP"}`} {
		_, err := Dial(t.Context(), kit.Monitor(t, func(p *kit.Peer) { p.Say("%s", line); p.Hold() }))
		if _, ok := errors.AsType[*ProtocolError](err); !ok {
			t.Errorf("%s: %v", line, err)
		}
	}
	if _, err := Dial(t.Context(), kit.ShortDir(t)+"/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no socket: %v", err)
	}
}

// QEMU serves one client; a second one is told so, and gets its turn when the first has left.
func TestDialSecondClient(t *testing.T) {
	socket := kit.Monitor(t, func(p *kit.Peer) { p.Greet(); p.Hold() })
	first := dial(t, socket)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Dial(ctx, socket); !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("second client: %v", err)
	}
	first.Close()
	dial(t, socket)
}

// A command that is given up keeps its place in QEMU's queue, and its late reply confuses nobody.
func TestClientLateReply(t *testing.T) {
	release := make(chan struct{})
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		slow, _ := p.Next()
		<-release
		p.Reply(slow, `"late"`)
		next, _ := p.Next()
		p.Reply(next, `"second"`)
		p.Hold()
	}))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("given up")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	if err := c.Do(ctx, "slow", nil, nil); !errors.Is(err, why) {
		t.Fatalf("error %v", err)
	}
	if n := len(c.slots); n != 1 {
		t.Errorf("%d commands in QEMU's queue, want 1", n)
	}
	close(release)
	var got string
	if err := c.Do(t.Context(), "next", nil, &got); err != nil || got != "second" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := len(c.slots); n != 0 {
		t.Errorf("%d commands in QEMU's queue, want 0", n)
	}
}

// QEMU stops reading when 8 commands wait, so no more than MaxInFlight are sent; out-of-band ones pass.
func TestClientBoundsCommandsInFlight(t *testing.T) {
	got := make(chan kit.Command, 100)
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		for {
			cmd, ok := p.Next()
			if !ok {
				return
			}
			got <- cmd
			if cmd.ExecOOB != "" {
				p.Reply(cmd, "{}")
			}
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 3 * MaxInFlight {
		wg.Go(func() { c.Do(ctx, "slow", nil, nil) })
	}
	for range MaxInFlight {
		<-got
	}
	if err := c.DoOOB(ctx, "migrate-pause", nil, nil); err != nil {
		t.Error(err)
	}
	if cmd := <-got; cmd.ExecOOB != "migrate-pause" {
		t.Errorf("got %+v although %d commands wait", cmd, MaxInFlight)
	}
	cancel()
	wg.Wait()
}

// A peer that does not read blocks the writer until its context ends. Half a command cannot be taken back.
func TestClientWriteBlocks(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		p.Read(make([]byte, 1))
		close(started)
		<-release
	}))
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	err := c.Do(ctx, "big", strings.Repeat("z", 8<<20), nil)
	if !errors.Is(err, ErrClosed) {
		t.Errorf("error %v", err)
	}
	<-c.Done()
}

func TestClientPeerDies(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) { p.Greet(); p.Next() }))
	s := c.Subscribe(1)
	err := c.Do(t.Context(), "query-status", nil, nil)
	if !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "ended the connection") {
		t.Errorf("error %v", err)
	}
	<-c.Done()
	if _, ok := <-s.C; ok || !errors.Is(c.Err(), ErrClosed) {
		t.Errorf("subscription open, err %v", c.Err())
	}
	if err := RunControlOf(c).Quit(t.Context()); err != nil {
		t.Errorf("quit of a QEMU that went: %v", err)
	}
}

// A flood of events is the problem of him who does not read it, and of nobody else.
func TestSubscriptionFlood(t *testing.T) {
	const events = 5000
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		for {
			cmd, ok := p.Next()
			if !ok {
				return
			}
			for i := range events {
				p.Say(`{"event": "E", "data": {"n": %d}}`, i)
			}
			p.Reply(cmd, "{}")
		}
	}))
	slow, all := c.Subscribe(10), c.Subscribe(events)
	if err := c.Do(t.Context(), "flood", nil, nil); err != nil {
		t.Fatal(err)
	}
	if len(slow.C) != 10 || slow.Dropped() != events-10 || len(all.C) != events || all.Dropped() != 0 {
		t.Errorf("slow has %d and lost %d, the other has %d and lost %d", len(slow.C), slow.Dropped(), len(all.C), all.Dropped())
	}
	for i := range events {
		if ev := <-all.C; ev.Event != "E" || ev.Data["n"] != float64(i) {
			t.Fatalf("event %d is %+v", i, ev)
		}
	}
	all.Close()
	all.Close()
	if _, ok := <-all.C; ok {
		t.Error("closed subscription is open")
	}
}

func TestClientClose(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) { p.Greet(); p.Hold() }))
	done := make(chan error)
	go func() { done <- c.Do(t.Context(), "never", nil, nil) }()
	c.Close()
	c.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("pending command: %v", err)
	}
	if _, ok := <-c.Subscribe(1).C; ok {
		t.Error("subscription after close is open")
	}
	if _, err := c.Events(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("events after close: %v", err)
	}
}

func TestMonitorInterface(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) {
		p.Greet()
		for {
			cmd, ok := p.Next()
			switch {
			case !ok:
				return
			case cmd.Execute == "bad":
				p.Say(`{"error": {"class": "CommandNotFound", "desc": "no such"}, "id": %d}`, cmd.ID)
			default:
				p.Say(`{"event": "SEEN"}`)
				p.Reply(cmd, string(cmd.Arguments))
			}
		}
	}))
	ctx, cancel := context.WithCancel(t.Context())
	events, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.Run([]byte(`{"execute": "echo", "arguments": {"a": 1}}`))
	if err != nil || string(out) != `{"return":{"a":1}}` {
		t.Errorf("run: %s, %v", out, err)
	}
	if ev := <-events; ev.Event != "SEEN" {
		t.Errorf("event %+v", ev)
	}
	cancel()
	for range events {
	}
	_, err = c.Run([]byte(`{"execute": "bad"}`))
	if e, ok := errors.AsType[*QMPError](err); !ok || *e != (QMPError{"bad", "CommandNotFound", "no such"}) {
		t.Errorf("refusal: %v", err)
	}
	for _, bad := range []string{"", "{}", `{"execute": "a", "exec-oob": "b"}`} {
		if _, err := c.Run([]byte(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if c.Connect() != nil || c.Disconnect() != nil || c.Connect() == nil {
		t.Error("connect and disconnect")
	}
}

func TestDoReportsUnreadableResult(t *testing.T) {
	c := dial(t, kit.Monitor(t, func(p *kit.Peer) { p.Greet(); cmd, _ := p.Next(); p.Reply(cmd, `"text"`); p.Hold() }))
	var n int
	if err := c.Do(t.Context(), "number", nil, &n); err == nil || !strings.Contains(err.Error(), "number") {
		t.Errorf("error %v", err)
	}
}

func FuzzParseMessage(f *testing.F) {
	for _, s := range []string{
		kit.Greeting, `{"return": {}, "id": 1}`, `{"return": null, "id": 1}`, `{"error": {"class": "a", "desc": "b"}, "id": 0}`,
		`{"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}, "data": {"a": [1, {"b": null}]}}`, `{`, `[]`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		m, err := ParseMessage(line)
		if err != nil {
			return
		}
		if m.Return != nil && !json.Valid(m.Return) {
			t.Errorf("return %q", m.Return)
		}
		clear(line) // nothing may be borrowed
		if m.Return != nil && !json.Valid(m.Return) {
			t.Errorf("return is borrowed")
		}
	})
}

// dial connects to a scripted monitor.
func dial(t testing.TB, socket string) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}
