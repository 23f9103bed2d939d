//go:build lab

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/scatter"
)

// rig is a lab with one target, for one harmed evacuation after the other.
type rig struct {
	*deploy.Deployment
	*lab.Lab
	target *lan.Host
}

func newRig(ctx context.Context) (*rig, error) {
	l, err := lab.New(ctx, lab.Config{Targets: 1})
	if err != nil {
		return nil, err
	}
	d, err := deploy.New(ctx, l, program)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &rig{d, l, l.Targets[0]}, nil
}

// evacuation is one evacuation of a tiny guest, from its start to what recovery makes of it.
type evacuation struct {
	*rig
	deathCase
	ctx   context.Context
	dir   string
	guest *lab.Guest
	recv  *deploy.Receiver
	recvs []*deploy.Receiver
	send  *exec.Cmd
	sent  chan struct{} // closed when send has ended
	out   lab.Buffer
	tape  *tape

	history []string // keys of the lines that were on the tape
	disk    []byte   // that travels with it
	qcow2   bool     // in an image of that format
	logged  string   // what the last log action was of
	harmed  bool     // the harm was done
	struck  []string // history when it was done
	thawed  chan struct{}
	words   []string // of recover, for who reads about a failure
	claims  []scatter.Recovered
	code    int // of the last recover
}

// tinyDeaths is a guest of 16 MiB that looks at all its pages in two seconds.
func tinyDeaths(n int, busy bool) lab.GuestConfig {
	w := lab.Workload{ID: n, Common: 4, Duplicate: 1, Own: 2, Zero: 1, Hot: 2, Dirty: 50, Verify: 1500, Beat: beat}
	if busy {
		w.Dirty = 4000
	}
	return lab.GuestConfig{Name: fmt.Sprintf("death%d", n), Memory: 16, Workload: w, Tiny: true}
}

// start boots the guest and starts both programs.
func (r *rig) start(ctx context.Context, c deathCase, n int) (*evacuation, error) {
	dir, err := os.MkdirTemp(r.Dir, "case-")
	if err != nil {
		return nil, err
	}
	e := &evacuation{rig: r, deathCase: c, ctx: ctx, dir: dir, sent: make(chan struct{}), thawed: make(chan struct{})}
	config := tinyDeaths(n, c.course.busy)
	if c.course.disk {
		if config, err = e.withDisk(config, n); err != nil {
			return e, err
		}
	}
	guests, err := r.Boot(ctx, config)
	if err != nil {
		return e, err
	}
	e.guest = guests[0]
	if err := e.startRecv(); err != nil {
		return e, err
	}
	return e, e.startSend()
}

func (e *evacuation) startRecv() (err error) {
	e.recv, err = e.Receive(e.ctx, e.target, "--log-level", "debug")
	if err == nil {
		e.recvs = append(e.recvs, e.recv)
	}
	return err
}

func (e *evacuation) startSend() (err error) {
	if e.tape, err = newTape(filepath.Join(e.dir, "trace")); err != nil {
		return err
	}
	if err := e.tape.occupy(); err != nil {
		return err
	}
	args := []string{"send", "--json", "--trace", e.tape.path, "--report", e.reportFile(), "--log-level", "info", "--interface", e.Source.Interface,
		"--tls-dir", deploy.TLSDir(e.Source), "--run-dir", deploy.RunDir(e.Source), "--vm", e.guest.QMP, "--to", e.target.Name + "=" + address(e.target),
		"--rate", "500mbit"}
	e.send = e.Source.Command(context.Background(), program, append(args, e.course.flags...)...)
	e.send.Stdout, e.send.Stderr = &e.out, &e.out
	if err := e.send.Start(); err != nil {
		close(e.sent)
		return err
	}
	go func() {
		defer close(e.sent)
		_ = e.send.Wait() // outcome reads the exit status
	}()
	return await(e.ctx, "send to open its trace", func() error {
		if e.ended() {
			return nil
		}
		return e.tape.thread(e.send.Process.Pid)
	})
}

func (e *evacuation) reportFile() string { return filepath.Join(e.dir, "report") }

func (e *evacuation) ended() bool {
	select {
	case <-e.sent:
		return true
	default:
		return false
	}
}

// key names a line of the trace: its action with its record, or its event, "logged" with what was logged.
func (e *evacuation) key(l line) string {
	switch {
	case l.Action == "log":
		e.logged = l.Record
		return l.Action + l.Record
	case l.Action != "":
		return l.Action
	case l.Event == "logged":
		return "logged " + e.logged
	case l.Event == "":
		return "start"
	}
	return l.Event
}

// play lets send go on, line by line, does the harm where it is due, and returns when send has ended.
func (e *evacuation) play() error {
	for heard := time.Now(); time.Since(heard) < sendTime; {
		gone := e.ended()
		b, err := e.tape.peek(pollEvery)
		switch {
		case err == nil:
			heard = time.Now()
			if err := e.read(b); err != nil {
				return err
			}
			if err := e.tape.take(); err != nil {
				return err
			}
		case !errors.Is(err, errSilent):
			return err
		case gone:
			return nil
		}
	}
	return errHangs
}

// read meets what is on the tape: a line, or several that were written before the tape was threaded.
func (e *evacuation) read(b []byte) error {
	for one := range bytes.SplitSeq(b, []byte("\n")) {
		var l line
		if err := json.Unmarshal(one, &l); err != nil {
			return fmt.Errorf("trace: %q: %w", one, err)
		}
		if err := e.meet(e.key(l)); err != nil {
			return err
		}
	}
	return nil
}

// errHangs says that send did not come to an end.
var errHangs = errors.New("send does not end")

// sendTime is how long send may be silent, with all that it waits for: a target that is away with a VM that lacks pages for two minutes, then 40 s for words of it.
// What it took before, on a machine that is busy with other cases, does not count.
const sendTime = 230 * time.Second

// meet looks at a line that is on the tape.
func (e *evacuation) meet(key string) error {
	e.history = append(e.history, key)
	if key == "start" { // the first action is decided when send tells that it moves
		if err := e.moves(); err != nil {
			return err
		}
	}
	if e.course.turn == key && !slices.Contains(e.history, "turned") {
		if err := e.course.lead(e); err != nil {
			return err
		}
		e.history = append(e.history, "turned")
	}
	if e.harmed || !e.reached(key, e.history) {
		return nil
	}
	return e.strike()
}

// moves waits until send begins to move. One that gives up before, on a machine that is too busy for its time-outs, tells nothing about deaths.
func (e *evacuation) moves() error {
	moving := func() bool { return strings.Contains(e.out.String(), `"stage":"move"`) }
	if err := await(e.ctx, "send to move", func() error {
		if moving() || e.ended() {
			return nil
		}
		return errors.New("it has not told so")
	}); err != nil {
		return err
	}
	if !moving() {
		return fmt.Errorf("send gave up before it moved anything: %s", e.lastWords())
	}
	return nil
}

// lastWords returns the last line that send has written.
func (e *evacuation) lastWords() string {
	lines := strings.Split(strings.TrimSpace(e.out.String()), "\n")
	return lines[len(lines)-1]
}

// pid returns the process of the victim, 0 if it is not there. It must be quick, or what is to be hit is over.
func (e *evacuation) pid() int {
	switch e.victim {
	case sendItself:
		return e.send.Process.Pid
	case recvItself:
		return e.recv.PID
	case sourceQEMU:
		return e.named(e.guest.PID())
	}
	b, err := os.ReadFile(filepath.Join(deploy.RunDir(e.target), e.guest.Name+".pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b))) // 0: not yet written
	return e.named(pid)
}

// named returns pid if that is a QEMU of the guest.
func (e *evacuation) named(pid int) int {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(line), "guest="+e.guest.Name+"\x00") {
		return 0
	}
	return pid
}

// strike does the harm. A victim that does not live yet, or no more, is spared.
func (e *evacuation) strike() error {
	pid := e.pid()
	if pid == 0 {
		return nil
	}
	e.harmed, e.struck = true, slices.Clone(e.history)
	if e.harm.freeze > 0 {
		return e.freeze(pid)
	}
	close(e.thawed)
	if e.victim != recvItself {
		return syscall.Kill(pid, kill)
	}
	if err := e.recv.Kill(); err != nil || e.harm.late {
		return err
	}
	return e.startRecv()
}

// freeze stops a process for a time.
func (e *evacuation) freeze(pid int) error {
	then := cont
	if e.harm.kill {
		then = kill
	}
	time.AfterFunc(e.harm.freeze, func() {
		_ = syscall.Kill(pid, then) // it may have been killed meanwhile
		close(e.thawed)
	})
	return syscall.Kill(pid, stop)
}

// interrupt is Ctrl-C. It returns when send has seen it.
func (e *evacuation) interrupt() error {
	if err := e.send.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	return await(e.ctx, "send to see Ctrl-C", func() error {
		if strings.Contains(e.out.String(), "cancelling") {
			return nil
		}
		return errors.New("it has not said so")
	})
}

// killSource kills the source's QEMU.
func (e *evacuation) killSource() error { return syscall.Kill(e.guest.PID(), kill) }

// replaceRecv kills the receiver and starts another. It returns when send has missed it.
func (e *evacuation) replaceRecv() error {
	if err := e.recv.Kill(); err != nil {
		return err
	}
	err := await(e.ctx, "send to miss its target", func() error {
		if strings.Contains(e.out.String(), `"type":"warning"`) || e.ended() {
			return nil
		}
		return errors.New("it has not said so")
	})
	if err != nil {
		return err
	}
	return e.startRecv()
}

// deafRecv makes the receiver read nothing any more, lets Run be sent to it, and replaces it.
func (e *evacuation) deafRecv() error {
	if err := syscall.Kill(e.recv.PID, stop); err != nil {
		return err
	}
	if err := e.tape.take(); err != nil { // "logged run": Run is sent next
		return err
	}
	b, err := e.tape.peek(eventTime)
	if err != nil {
		return err
	}
	if !strings.Contains(string(b), `"run"`) {
		return fmt.Errorf("send does %s instead of run", b)
	}
	e.history = append(e.history, "run")
	time.Sleep(pollEvery) // until Run is in the socket
	return e.replaceRecv()
}
