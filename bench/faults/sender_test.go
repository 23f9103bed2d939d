//go:build lab

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/scatter"
)

// sender is a `scatter send` whose trace the test reads line by line. It traces each event that it acts on and each action
// before it is begun, and there it waits for the test.
type sender struct {
	s              *scene
	guests         []*lab.Guest // in the order of their --vm
	cmd            *exec.Cmd
	tape           *tape
	stdout, stderr lab.Buffer
	file           string // of the report

	exited chan struct{}
	trace  []string       // lines taken off the tape
	state  map[int]string // of each VM, by the lines taken off
}

// line is one line of the trace.
type line struct {
	Event, Action, Record, State string
	VM                           int
}

// placed says that each guest goes to its target.
func (s *scene) placed(guests []*lab.Guest) (flags []string) {
	for _, g := range guests {
		flags = append(flags, "--place", g.Name+"="+s.target(g).Name)
	}
	return flags
}

// flags are what every sender of the lab needs: guests, all targets, and what belongs to the host.
func (s *scene) flags(guests []*lab.Guest) []string {
	flags := append(s.pathFlags(), s.toFlags()...)
	for _, g := range guests {
		flags = append(flags, "--vm", g.QMP)
	}
	return flags
}

func (s *scene) pathFlags() []string {
	return []string{"--interface", s.Source.Interface, "--tls-dir", deploy.TLSDir(s.Source), "--run-dir", deploy.RunDir(s.Source)}
}

func (s *scene) toFlags() (flags []string) {
	for _, h := range s.Targets {
		flags = append(flags, "--to", h.Name+"="+address(h))
	}
	return flags
}

func address(h *lan.Host) string { return netip.AddrPortFrom(h.Addr, deploy.Port).String() }

// send starts an evacuation of all guests, each to its target. With one converge slot they go one after the other.
func (s *scene) send(flags ...string) *sender {
	s.t.Helper()
	return s.sendGuests(s.guests, append(s.placed(s.guests), flags...)...)
}

// sendGuests starts an evacuation of some guests.
func (s *scene) sendGuests(guests []*lab.Guest, flags ...string) *sender {
	s.t.Helper()
	usual := append(s.flags(guests), "--verify", "--parallel", "1", "--rate", "500mbit")
	x := s.sendAs(append(usual, flags...)...)
	x.guests = guests
	return x
}

// sendAs starts a sender with just these flags, and those that make it talk to the test.
func (s *scene) sendAs(flags ...string) *sender {
	s.t.Helper()
	n := len(s.senders)
	x := &sender{s: s, state: make(map[int]string), exited: make(chan struct{}), file: filepath.Join(s.dir, fmt.Sprintf("report%d", n))}
	var err error
	x.tape, err = newTape(filepath.Join(s.dir, fmt.Sprintf("trace%d", n)))
	s.must(err)
	args := append([]string{"send", "--json", "--trace", x.tape.path, "--report", x.file, "--log-level", "info"}, flags...)
	argv := append(slices.Clone(s.prefix), append([]string{program}, args...)...)
	x.cmd = s.Source.Command(context.Background(), argv[0], argv[1:]...)
	x.cmd.Stdout, x.cmd.Stderr = &x.stdout, &x.stderr
	s.must(x.cmd.Start())
	s.senders = append(s.senders, x)
	go func() {
		defer close(x.exited)
		_ = x.cmd.Wait() // outcome reads the exit status
	}()
	s.awaits("the sender to open its trace", func() error {
		if x.gone() {
			return nil
		}
		return x.tape.thread(x.cmd.Process.Pid)
	})
	return x
}

func (x *sender) gone() bool {
	select {
	case <-x.exited:
		return true
	default:
		return false
	}
}

// eventTime is how long a sender may be silent: it gives up on silent targets in less.
const eventTime = 60 * time.Second

// next returns the next line of the trace, which stays on the tape: what it says is decided, and not begun if it is an
// action.
func (x *sender) next(patience time.Duration) (line, error) {
	var l line
	b, err := x.tape.peek(patience)
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(b, &l); err != nil {
		return l, fmt.Errorf("trace: %q: %w", b, err)
	}
	return l, nil
}

// take lets the sender go on by one line.
func (x *sender) take(l line) error {
	if l.State != "" {
		x.state[l.VM] = l.State
	}
	x.trace = append(x.trace, fmt.Sprintf("%+v", l))
	return x.tape.take()
}

// until lets the sender go on to the first line that fits, and lets that happen. What follows from it is decided, but not begun.
func (x *sender) until(what string, fits func(line) bool) line {
	x.s.t.Helper()
	for {
		l, err := x.next(eventTime)
		if err != nil {
			x.s.t.Fatalf("sender before %s: %v", what, err)
		}
		x.s.must(x.take(l))
		if fits(l) {
			return l
		}
	}
}

// begins lets the sender go on until it begins an action for a VM, and returns the guest.
func (x *sender) begins(action string) *lab.Guest {
	x.s.t.Helper()
	return x.guests[x.until("action "+action, func(l line) bool { return l.Action+l.Record == action }).VM]
}

// beginsLast is begins for the VM that comes last: all others have arrived or stay.
func (x *sender) beginsLast(action string) *lab.Guest {
	x.s.t.Helper()
	return x.guests[x.until("action "+action+" for the last VM", func(l line) bool {
		return l.Action+l.Record == action && x.othersFinal(l.VM)
	}).VM]
}

// meets lets the sender go on until it has seen an event of a VM, and returns the guest.
func (x *sender) meets(event string) *lab.Guest {
	x.s.t.Helper()
	return x.guests[x.until("event "+event, func(l line) bool { return l.Event == event }).VM]
}

// meetsLast is meets for the VM that comes last.
func (x *sender) meetsLast(event string) *lab.Guest {
	x.s.t.Helper()
	return x.guests[x.until("event "+event+" of the last VM", func(l line) bool {
		return l.Event == event && x.othersFinal(l.VM)
	}).VM]
}

func (x *sender) othersFinal(vm int) bool {
	n := 0
	for other, state := range x.state {
		if other != vm && slices.Contains([]string{evacuated, onSource, inDoubt}, state) {
			n++
		}
	}
	return n == len(x.guests)-1
}

// knows waits until the sender knows of an event, and holds it before it does anything about it.
func (x *sender) knows(g *lab.Guest, event string) {
	x.s.t.Helper()
	l, err := x.next(eventTime)
	x.s.must(err)
	if l.Event != event || x.guests[l.VM] != g {
		x.s.t.Fatalf("sender meets %+v instead of %s of %s", l, event, g.Name)
	}
}

// goOn lets the sender go on until look returns nil.
func (x *sender) goOn(what string, look func() error) {
	x.s.t.Helper()
	for until := time.Now().Add(eventTime); ; {
		gone := x.gone() // before the look, which then sees all there will ever be
		err := look()
		if err == nil {
			return
		}
		l, terr := x.next(pollEvery)
		switch {
		case terr == nil:
			x.s.must(x.take(l))
		case !errors.Is(terr, errSilent):
			x.s.t.Fatal(terr)
		case gone || time.Now().After(until):
			x.s.t.Fatalf("waiting for %s: %v", what, err)
		}
	}
}

// events returns what it has told so far.
func (x *sender) events() (events []scatter.Event) {
	for line := range bytes.Lines([]byte(x.stdout.String())) {
		var ev scatter.Event
		if bytes.HasSuffix(line, []byte("\n")) && json.Unmarshal(line, &ev) == nil {
			events = append(events, ev)
		}
	}
	return events
}

// reaches lets the sender go on until it tells of an event.
func (x *sender) reaches(what string, fits func(scatter.Event) bool) {
	x.s.t.Helper()
	x.goOn(what, func() error {
		if slices.ContainsFunc(x.events(), fits) {
			return nil
		}
		return errors.New("it was not told")
	})
}

// reachesStage lets the sender go on to a stage of the evacuation.
func (x *sender) reachesStage(stage string) {
	x.s.t.Helper()
	x.reaches("stage "+stage, func(ev scatter.Event) bool { return ev.Type == "stage" && ev.Stage == stage })
}

// sends lets the sender go on until so many bytes have left the source.
func (x *sender) sends(n int64) {
	x.s.t.Helper()
	x.reaches("progress", func(ev scatter.Event) bool { return ev.Type == "progress" && ev.WireSent >= n })
}

// misses waits until a sender, held or not, has told that it has lost a target.
func (x *sender) misses(h *lan.Host) {
	x.s.t.Helper()
	x.s.awaits("the sender to miss "+h.Name, func() error {
		for _, ev := range x.events() {
			if ev.Type == "warning" && ev.Host == h.Name && (strings.Contains(ev.Message, "closed") || strings.Contains(ev.Message, "is lost")) {
				return nil
			}
		}
		return errors.New("it has not said so")
	})
}

// kill ends the sender as a crash would.
func (x *sender) kill() {
	x.s.t.Helper()
	x.s.must(x.cmd.Process.Kill())
	<-x.exited
}

// interrupt is Ctrl-C. It returns when the sender has seen it.
func (x *sender) interrupt() {
	x.s.t.Helper()
	x.s.must(x.cmd.Process.Signal(syscall.SIGINT))
	x.s.awaits("the sender to see Ctrl-C", func() error {
		if strings.Contains(x.stderr.String(), "cancelling") {
			return nil
		}
		return errors.New("it has not said so")
	})
}

// abandon ends a sender that the test has not waited for.
func (x *sender) abandon() error {
	if !x.gone() {
		_ = x.cmd.Process.Kill() // it may end this moment
		<-x.exited
	}
	return x.tape.close()
}

// finish lets the sender go on to its end.
func (x *sender) finish() *outcome {
	x.s.t.Helper()
	x.goOn("the end of the sender", func() error {
		if x.gone() {
			return nil
		}
		return errors.New("it has not ended")
	})
	return x.outcome()
}
