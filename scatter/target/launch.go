package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/system"
)

// refusedError says that a VM was not run. The guest is as it was before, unless its QEMU has ended.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// errLaunching answers a second Run while the first one is under way.
var errLaunching = errors.New("is being run already")

// run lets the VM live here, in the run state that it had on the source, and returns once its QEMU has said that it does. Called again,
// it says that again. A refusedError means that the VM has not run. After any other error nobody knows yet: ask for its state.
func (g *guest) run(state string) error {
	err := g.beginRun(state)
	if errors.Is(err, errRuns) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("vm %s: %w", g.p.Name, err)
	}
	resumed := g.client.Subscribe(64)
	defer resumed.Close()
	err = g.letRun(state)
	_, refused := errors.AsType[refusedError](err)
	gone := err != nil && g.client.Err() != nil && g.proc.Wait(system.KillWait)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case err == nil:
		g.arrived()
		return nil
	case gone && sawResume(resumed):
		g.leave()
		return fmt.Errorf("vm %s: has run here for a moment, then its QEMU ended: %s", g.p.Name, g.proc.Tail())
	case gone:
		g.giveUpLocked(err, guestLaunching)
		err = refusedError{fmt.Errorf("its QEMU ended before it ran the VM: %s", g.proc.Tail())}
	case refused:
		g.state = guestLoaded
		err = errors.Join(err, g.recordLocked(handover.RecLoaded))
	default:
		g.unseen = true // whether it runs may show later
		g.log.Error("QEMU does not say whether it runs the VM: look at it", "socket", g.proc.Socket, "err", err)
	}
	return fmt.Errorf("vm %s: %w", g.p.Name, err)
}

// errRuns: there is nothing to be done any more.
var errRuns = errors.New("runs already")

// beginRun takes a loaded guest to launching. Its record is on disk before.
func (g *guest) beginRun(state string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.runsNow():
		return errRuns
	case g.state == guestRunning:
		return errors.New("has run here, and its QEMU has ended")
	case g.state == guestLaunching:
		return errLaunching
	case g.state != guestLoaded:
		return refusedError{fmt.Errorf("is %s, not loaded", g.state)}
	}
	g.paused = !handover.Runs(state)
	if err := g.recordLocked(handover.RecRun); err != nil {
		return refusedError{err}
	}
	g.state = guestLaunching
	return nil
}

// arrived: the VM lives here. Its monitor is left to others. g.mu is held.
func (g *guest) arrived() {
	g.state = guestRunning
	g.client.Close()
	g.closeFiles()
	g.log.Info("runs here")
	if err := g.recordLocked(handover.RecDone); err != nil {
		g.log.Error("journal", "err", err)
	}
}

// launchFor bounds how long a QEMU may take to say whether it runs the VM: opening disks on storage that is busy takes its time.
const launchFor = 10 * time.Minute

// letRun continues the VM, unless it was paused on the source, and tells the network where it is now.
func (g *guest) letRun(state string) error {
	ctx, cancel := context.WithTimeout(g.r.life, launchFor)
	defer cancel()
	if err := continueVM(ctx, g.client, state); err != nil {
		return err
	}
	if err := g.client.AnnounceSelf(ctx); err != nil && g.client.Err() == nil {
		g.log.Warn("announce-self", "err", err)
	}
	return nil
}

// continueVM continues a VM that is loaded, if it ran on the source, and returns when QEMU says how it stands. A refusedError is QEMU's
// word that it does not run.
func continueVM(ctx context.Context, c *qemu.Client, state string) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	if status.Status == "inmigrate" {
		return refusedError{errors.New("QEMU has not finished to load it")}
	}
	if !handover.Runs(state) {
		return nil
	}
	resumed := c.Subscribe(64)
	defer resumed.Close()
	if err := c.Cont(ctx); err != nil {
		if _, ok := errors.AsType[*qemu.QMPError](err); ok { // for a disk that it cannot lock perhaps
			return refusedError{fmt.Errorf("QEMU does not continue it: %w", err)}
		}
		return err
	}
	for {
		status, err := c.Status(ctx)
		switch {
		case err != nil:
			return err
		case !stands(status.Status) || sawResume(resumed): // whatever it has come to since, it did run
			return nil
		}
		if err := system.Pause(ctx, 5*time.Millisecond); err != nil {
			return fmt.Errorf("QEMU is %s after cont: %w", status.Status, err)
		}
	}
}

// stands tells whether a VM in this run state has not begun to run.
func stands(status string) bool {
	switch status {
	case "paused", "inmigrate", "prelaunch", "finish-migrate", "postmigrate", "restore-vm":
		return true
	}
	return false
}

// sawResume tells whether QEMU has said that it lets the VM's processors run. It says so before it does.
func sawResume(events *qemu.Subscription) bool {
	for {
		select {
		case ev, ok := <-events.C:
			if !ok {
				return false
			}
			if ev.Event == "RESUME" {
				return true
			}
		default:
			return false
		}
	}
}

// watchEvery is how often a QEMU is looked after.
const watchEvery = time.Second

// watchProcess notices the end of the QEMU: a VM that was loaded has failed then, one that ran has given its room back.
func (g *guest) watchProcess() {
	g.wg.Go(func() {
		for !g.proc.Wait(watchEvery) {
			select {
			case <-g.closing:
				return
			default:
			}
		}
		g.mu.Lock()
		switch state := g.state; {
		case state == guestLaunching && !g.unseen:
			g.mu.Unlock() // run finds out what became of it
			return
		case state == guestRunning || state == guestLaunching:
			g.leave()
			g.mu.Unlock()
			return
		}
		g.mu.Unlock()
		if err := fmt.Errorf("its QEMU ended: %s", g.proc.Tail()); g.giveUp(err, guestLoaded) && g.conn != nil {
			_ = g.conn.Send(control.Failed{VM: g.key.vm, Error: err.Error()}) // a lost source asks
		}
		g.proc.Close()
	})
}

// leave: a VM that lived here has ended, and gives its name and room back. g.mu is held.
func (g *guest) leave() {
	g.state = guestEnded
	g.log.Info("ended here")
	g.closeFiles()
	if g.client != nil {
		g.client.Close()
	}
	g.proc.Clean()
	g.proc.Close()
	g.r.forget(g)
	g.r.dropUnasked(g)
}

// start starts the QEMU for a VM and returns it with its open monitor.
func (r *receiver) start(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	if r.cfg.Launcher != "" {
		return r.startByLauncher(ctx, p)
	}
	c, err := r.cfg.Policy.Command(p.Argv, p.Name, r.cfg.RunDir)
	if err != nil {
		return nil, nil, err
	}
	if c.Memory > p.Memory {
		return nil, nil, fmt.Errorf("its command line asks for %d MiB of memory, and the source has announced %d MiB", c.Memory>>20, p.Memory>>20)
	}
	q, err := qemu.Launch(ctx, c, r.log)
	if err != nil {
		return nil, nil, err
	}
	proc, err := system.OpenProcess(q.PID, q.Socket, q.Log)
	if err != nil {
		q.Kill()
		return nil, nil, err
	}
	return proc, q.Client, nil
}

// defaultQEMU is the binary that tells the version when none is configured.
func defaultQEMU(binary string) string {
	if binary != "" {
		return binary
	}
	return "/usr/bin/qemu-system-x86_64"
}

// launchRequest is what a launcher gets on its standard input.
type launchRequest struct {
	Name    string   `json:"name"`
	Machine string   `json:"machine"`
	Memory  int64    `json:"memory_bytes"`
	VCPUs   int      `json:"vcpus"`
	Argv    []string `json:"argv"` // of a QEMU that is the VM as it is now, with the source's names of files
	RunDir  string   `json:"run_dir"`
	Socket  string   `json:"qmp_socket"` // where the QMP socket is expected, unless the launcher prints another path
}

func (r *receiver) startByLauncher(ctx context.Context, p control.Prepare) (*system.Process, *qemu.Client, error) {
	want := filepath.Join(r.cfg.RunDir, p.Name+".qmp")
	req, err := json.Marshal(launchRequest{p.Name, p.Machine, p.Memory, p.VCPUs, p.Argv, r.cfg.RunDir, want})
	if err != nil {
		return nil, nil, err
	}
	socket, err := qemu.LaunchExternal(ctx, r.cfg.Launcher, req)
	if err != nil {
		return nil, nil, err
	}
	client, err := qemu.Dial(ctx, socket)
	if err != nil {
		return nil, nil, err
	}
	err = client.PrepareIncoming(ctx)
	var proc *system.Process
	if err == nil {
		proc, err = system.OpenProcess(client.PID(), socket, "")
	}
	if err != nil {
		client.Close()
		return nil, nil, err
	}
	if socket != want {
		if err := os.Symlink(socket, want); err != nil && !errors.Is(err, os.ErrExist) {
			r.log.Warn("no link to the QMP socket", "vm", p.Name, "err", err)
		}
	}
	return proc, client, nil
}
