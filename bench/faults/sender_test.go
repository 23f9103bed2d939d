//go:build lab

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter"
)

// sender is a `scatter send` whose events the test reads one by one; it waits for the test.
type sender struct {
	s      *scene
	name   string
	cmd    *exec.Cmd
	tape   *tape
	stderr buffer
	trace  string // file
	file   string // of the report

	held   bool              // the next event was looked at and is still on the tape
	events []scatter.Event   // taken off
	lines  []string          // the same and all else, as printed
	stage  map[string]string // of each VM, by the events taken off
	ended  bool
}

// sendFlags are what every sender of the lab needs: all guests, all targets, each guest to the target of its number.
func (s *scene) sendFlags() []string {
	flags := s.pathFlags()
	for i, g := range s.guests {
		flags = append(flags, "--vm", g.QMP, "--place", g.Name+"="+s.Targets[i%len(s.Targets)].Name)
	}
	for _, h := range s.Targets {
		flags = append(flags, "--to", h.Name+"="+address(h))
	}
	return flags
}

func address(h *lab.Host) string { return netip.AddrPortFrom(h.Addr, deploy.Port).String() }

func (s *scene) pathFlags() []string {
	return []string{"--interface", s.Source.Interface, "--tls-dir", deploy.TLSDir(s.Source), "--run-dir", deploy.RunDir(s.Source)}
}

// send starts an evacuation of all guests to all targets. With one converge slot their order is known.
func (s *scene) send(flags ...string) *sender {
	s.t.Helper()
	return s.sendAs(append(s.sendFlags(), append([]string{"--verify", "--parallel", "1", "--rate", "500mbit"}, flags...)...)...)
}

// sendAs starts a sender with just these flags, and those that make it talk to the test.
func (s *scene) sendAs(flags ...string) *sender {
	s.t.Helper()
	n := len(s.senders)
	x := &sender{s: s, name: fmt.Sprint(n), stage: make(map[string]string),
		trace: filepath.Join(s.dir, fmt.Sprintf("trace%d", n)), file: filepath.Join(s.dir, fmt.Sprintf("report%d", n))}
	var err error
	x.tape, err = newTape()
	s.must(err)
	args := append([]string{"send", "--json", "--trace", x.trace, "--report", x.file, "--log-level", "info"}, flags...)
	x.cmd = s.Source.Command(context.Background(), binary, args...)
	x.cmd.Stdout, x.cmd.Stderr = x.tape.out, &x.stderr
	s.must(x.cmd.Start())
	x.tape.out.Close()
	s.senders = append(s.senders, x)
	return x
}

// eventTime is how long a sender may be silent: it gives up on silent targets in less.
const eventTime = 60 * time.Second

// next looks at the next event. io.EOF: there is none.
func (x *sender) next() (scatter.Event, error) {
	var ev scatter.Event
	line, err := x.tape.peek(eventTime)
	if err != nil {
		return ev, err
	}
	x.held = true
	x.lines = append(x.lines, string(line))
	return ev, json.Unmarshal(line, &ev)
}

// take takes the event that was looked at off the tape: the sender may go on to the one after the next.
func (x *sender) take(ev scatter.Event) {
	if ev.Type == "vm" {
		x.stage[ev.VM] = ev.Stage
	}
	x.events = append(x.events, ev)
	x.resume()
}

// resume lets a held sender go on.
func (x *sender) resume() {
	if x.held {
		x.held = false
		x.s.must(x.tape.take())
	}
}

// until lets the sender go on to the first event that fits, and holds it there: it does what the event announces, and
// nothing that it would announce by another one.
func (x *sender) until(what string, fits func(scatter.Event) bool) scatter.Event {
	x.s.t.Helper()
	x.resume()
	for {
		ev, err := x.next()
		if err != nil {
			x.s.t.Fatalf("sender before %s: %v", what, err)
		}
		if ev.Type == "vm" {
			x.stage[ev.VM] = ev.Stage
		}
		if fits(ev) {
			return ev
		}
		x.take(ev)
	}
}

// untilStage goes on to a stage of the evacuation.
func (x *sender) untilStage(stage string) scatter.Event {
	x.s.t.Helper()
	return x.until("stage "+stage, func(ev scatter.Event) bool { return ev.Type == "stage" && ev.Stage == stage })
}

// untilVM goes on to the stage of any VM.
func (x *sender) untilVM(stage string) scatter.Event {
	x.s.t.Helper()
	return x.until("a VM's "+stage, func(ev scatter.Event) bool { return ev.Type == "vm" && ev.Stage == stage })
}

// untilLast goes on to the stage of the VM that comes last: all others have arrived or stay.
func (x *sender) untilLast(stage string) scatter.Event {
	x.s.t.Helper()
	return x.until("the last VM's "+stage, func(ev scatter.Event) bool {
		return ev.Type == "vm" && ev.Stage == stage && x.othersFinal(ev.VM)
	})
}

func (x *sender) othersFinal(vm string) bool {
	n := 0
	for name, stage := range x.stage {
		if name != vm && (stage == "evacuated" || stage == "on-source" || stage == "in-doubt") {
			n++
		}
	}
	return n == len(x.s.guests)-1
}

// untilSent goes on until so many bytes have left the source.
func (x *sender) untilSent(bytes int64) {
	x.s.t.Helper()
	x.until("progress", func(ev scatter.Event) bool { return ev.Type == "progress" && ev.WireSent >= bytes })
}

// decided waits until a held sender has decided on an action for a VM, which it does not do before it is resumed.
func (x *sender) decided(vm, action, record string) {
	x.s.t.Helper()
	type decision struct {
		Action, Record string
		VM             int
	}
	want := decision{action, record, slices.Index(x.s.guests, x.s.guest(vm))}
	x.s.awaits(fmt.Sprintf("decision %+v", want), func() error {
		b, err := os.ReadFile(x.trace)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(b) {
			var got decision
			if json.Unmarshal(line, &got) == nil && got == want {
				return nil
			}
		}
		return errors.New("not in the trace")
	})
}

// kill ends the sender as a crash would.
func (x *sender) kill() {
	x.s.t.Helper()
	x.s.must(x.cmd.Process.Kill())
	x.ended = true
	_ = x.cmd.Wait() // killed
	x.s.must(x.tape.close())
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
func (x *sender) abandon() {
	if !x.ended {
		_ = x.cmd.Process.Kill() // it may have ended
		_ = x.cmd.Wait()
		x.ended = true
		_ = x.tape.close()
	}
}

// outcome is how a sender ended.
type outcome struct {
	Code     int
	Message  string
	Blockers []scatter.Blocker
	Stayed   []string
	InDoubt  []string `json:"in_doubt"`
	report   *scatter.Report
	events   []scatter.Event
}

// finish lets the sender go on to its end.
func (x *sender) finish() *outcome {
	x.s.t.Helper()
	x.resume()
	for {
		ev, err := x.next()
		if errors.Is(err, io.EOF) {
			break
		}
		x.s.must(err)
		x.take(ev)
	}
	err := x.cmd.Wait()
	x.ended = true
	x.s.must(x.tape.close())
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		x.s.t.Fatal(err)
	}
	return x.outcome()
}

// outcome reads the exit object, which is the last line on stderr, and the report.
func (x *sender) outcome() *outcome {
	x.s.t.Helper()
	lines := strings.Split(strings.TrimSpace(x.stderr.String()), "\n")
	o := &outcome{events: x.events}
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), o); err != nil {
		x.s.t.Fatalf("exit object %q: %v", lines[len(lines)-1], err)
	}
	if code := x.cmd.ProcessState.ExitCode(); code != o.Code {
		x.s.t.Errorf("exit status %d, but its last words are of %d: %s", code, o.Code, o.Message)
	}
	b, err := os.ReadFile(x.file)
	if errors.Is(err, os.ErrNotExist) {
		return o
	}
	x.s.must(err)
	o.report = new(scatter.Report)
	x.s.must(json.Unmarshal(b, o.report))
	return o
}

// exits checks the exit status, and that the message holds all the texts.
func (o *outcome) exits(s *scene, code int, texts ...string) {
	s.t.Helper()
	if o.Code != code {
		s.t.Errorf("exit status %d instead of %d: %s", o.Code, code, o.Message)
	}
	said := o.Message
	for _, b := range o.Blockers {
		said += "\n" + b.String()
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			s.t.Errorf("it does not say %q: %s", text, said)
		}
	}
}

// reports checks what the report says of each guest, in their order.
func (o *outcome) reports(s *scene, states ...string) {
	s.t.Helper()
	if o.report == nil {
		s.t.Fatal("no report")
	}
	got := make(map[string]scatter.VMReport)
	for _, v := range o.report.VMs {
		got[v.Name] = v
	}
	for i, want := range states {
		v := got[s.guests[i].Name]
		if v.State != want {
			s.t.Errorf("report: guest %s is %q instead of %q: %s", s.guests[i].Name, v.State, want, v.Cause)
		}
		if v.State == "evacuated" && !v.Verified {
			s.t.Errorf("report: guest %s was not verified", v.Name)
		}
		if v.State != "evacuated" && v.Cause == "" {
			s.t.Errorf("report: guest %s is %q without a cause", v.Name, v.State)
		}
	}
}

// warns checks that the report has a warning that holds all the texts.
func (o *outcome) warns(s *scene, texts ...string) {
	s.t.Helper()
	for _, w := range o.report.Warnings {
		all := true
		for _, text := range texts {
			all = all && strings.Contains(w, text)
		}
		if all {
			return
		}
	}
	s.t.Errorf("no warning says %q: %q", texts, o.report.Warnings)
}

// States of the report.
const (
	evacuated = "evacuated"
	onSource  = "on-source"
	inDoubt   = "in-doubt"
)
