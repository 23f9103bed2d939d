package process

import (
	"context"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Program is what Start starts.
type Program struct {
	Name    string // of its scope under systemd
	Argv    []string
	Log     *os.File     // gets its standard error
	Files   []*os.File   // that it gets beside, from number 3 on
	Bound   bool         // ends with the thread that has started it, at the latest when we do
	Confine func() error // confines the thread that starts it, for good; nil = nothing does
}

// Child is a process that Start has started. It goes on when we end, unless its program is bound.
type Child struct {
	PID int

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	err    error         // how it ended; set before exited is closed
}

// Start starts a program in a session of its own, with a clean environment, in "/" and with none of our files, and in a scope of its own
// under systemd, unless it is bound: then it may end with our service, too.
func Start(ctx context.Context, p Program) (*Child, error) {
	if err := KeepFiles(); err != nil {
		return nil, err
	}
	if p.Bound || !scoped() {
		return start(p.command(p.Argv), p.Confine)
	}
	return p.startInScope(ctx)
}

// startInScope starts the program behind a gate, which opens when the scope is there.
func (p Program) startInScope(ctx context.Context) (*Child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	defer w.Close()
	cmd := p.command(gate(p.Argv))
	cmd.Stdin = r
	c, err := start(cmd, p.Confine)
	if err != nil {
		return nil, err
	}
	if err := adopt(ctx, c.PID, p.Name); err != nil {
		c.Kill()
		<-c.exited
		return nil, err
	}
	if _, err = io.WriteString(w, "\n"); err != nil {
		c.Kill()
		<-c.exited
		return nil, err
	}
	return c, nil
}

// command is what is started, in a session of its own, with nothing of ours.
func (p Program) command(argv []string) *exec.Cmd {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.ExtraFiles = "/", Environment(), p.Log, p.Files
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if p.Bound {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL // when the thread ends that has started it
	}
	return cmd
}

// start starts a command on a thread that is confined before, and ends with it.
func start(cmd *exec.Cmd, confine func() error) (*Child, error) {
	c := &Child{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	go func() { // ends with the process; whoever waits for exited waits for it
		runtime.LockOSThread() // and never unlocked, so that the runtime ends the thread
		var err error
		if confine != nil {
			err = confine()
		}
		if err == nil {
			err = cmd.Start()
		}
		if started <- err; err == nil {
			c.err = cmd.Wait()
			close(c.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	c.PID = cmd.Process.Pid
	return c, nil
}

// Exited is closed when the process has ended.
func (c *Child) Exited() <-chan struct{} { return c.exited }

// Err is how the process ended, once Exited is closed; nil means well.
func (c *Child) Err() error { return c.err }

// Wait waits for the end of the process; nil means that it ended well.
func (c *Child) Wait(ctx context.Context) error {
	select {
	case <-c.exited:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill has the kernel end the process, which takes a moment. It may have ended already.
func (c *Child) Kill() { _ = c.cmd.Process.Kill() }

// KeepFiles marks all our open files so that programs we start do not get them, also those that we got from whoever
// started us.
func KeepFiles() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}

// Environment is that of every program that is started.
func Environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
}
