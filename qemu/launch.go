package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// LaunchTimeout bounds Launch when its context has no deadline.
const LaunchTimeout = 30 * time.Second

// Process is a QEMU that Launch started. It goes on when this program ends.
type Process struct {
	Name   string
	PID    int
	Socket string  // QMP
	Log    string  // file with what QEMU writes to stderr
	Client *Client // open; the caller closes it

	cmd    *exec.Cmd
	exited chan struct{} // closed when the process has ended
	err    error         // how it ended; set before exited is closed
}

// Launch starts the command line that LaunchPolicy.Command made for the same runDir and name, and returns when QEMU
// answers on its monitor. QEMU gets a session of its own, a scope of its own under systemd, none of our files, a clean
// environment, and "/" as its directory. Announcements at the end of the migration are switched off, for the VM must
// not be announced before it runs (see AnnounceSelf); disks are locked late. Failure is a *LaunchError and leaves
// nothing behind but the log.
func Launch(ctx context.Context, argv []string, runDir, name string, log *slog.Logger) (*Process, error) {
	ctx, cancel := withDefaultTimeout(ctx, LaunchTimeout)
	defer cancel()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := newRunFiles(runDir, name)
	if err := prepareRun(ctx, argv, runDir, name, f); err != nil {
		return nil, &LaunchError{Name: name, Err: err}
	}
	p, err := start(argv, name, f, false)
	if err != nil {
		return nil, &LaunchError{Name: name, Err: err}
	}
	if err := p.ready(ctx); err != nil {
		err = p.reason(ctx, err)
		p.Kill()
		return nil, &LaunchError{Name: name, Err: err, Tail: logTail(f.log)}
	}
	log.Info("qemu started", "vm", name, "pid", p.PID, "socket", p.Socket)
	return p, nil
}

// Rehearse is Launch for a command line that LaunchPolicy.Rehearsal made. Its QEMU ends when this program does, or the thread that has
// started it: the caller's goroutine must be locked to its thread until it has called End. Failure waits little longer than ctx; with the error comes a QEMU that was killed and has not ended yet.
func Rehearse(ctx context.Context, argv []string, runDir, name string) (*Process, error) {
	ctx, cancel := withDefaultTimeout(ctx, LaunchTimeout)
	defer cancel()
	f := newRunFiles(runDir, name)
	if err := prepareRun(ctx, argv, runDir, name, f); err != nil {
		return nil, &LaunchError{Name: name, Err: err}
	}
	p, err := start(argv, name, f, true)
	if err != nil {
		return nil, &LaunchError{Name: name, Err: err}
	}
	if err := p.ready(ctx); err != nil {
		err = &LaunchError{Name: name, Err: p.reason(ctx, err), Tail: logTail(f.log)}
		if p.End() {
			return nil, err
		}
		return p, err
	}
	return p, nil
}

// endWait is how long a killed QEMU is waited for that is stuck in the kernel, on dead storage perhaps.
const endWait = 2 * time.Second

// End ends QEMU and removes all its files from the run directory. It tells whether QEMU is gone: one that is stuck in the kernel
// may last longer.
func (p *Process) End() bool {
	_ = p.cmd.Process.Kill() // it may have ended already
	if p.Client != nil {
		p.Client.Close()
	}
	for _, file := range p.files() {
		_ = os.Remove(file)
	}
	select {
	case <-p.exited:
		return true
	case <-time.After(endWait):
		return false
	}
}

// files are all that belong to the process in the run directory.
func (p *Process) files() []string {
	base := strings.TrimSuffix(p.Log, ".log")
	entries, _ := os.ReadDir(filepath.Dir(base))
	var all []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), filepath.Base(base)+".") {
			all = append(all, filepath.Join(filepath.Dir(base), e.Name()))
		}
	}
	return all
}

// prepareRun makes the run directory and sees to it that nobody else runs under this name there.
func prepareRun(ctx context.Context, argv []string, runDir, name string, f runFiles) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if len(argv) == 0 || !filepath.IsAbs(runDir) || len(f.socket) > maxSocketPath {
		return fmt.Errorf("run directory %q: must be absolute, and its socket at most %d bytes long", runDir, maxSocketPath)
	}
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", f.socket)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("socket %s is in use: a vm of this name runs already", f.socket)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("socket %s is in use: a vm of this name runs already", f.socket)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(f.socket) // left over from a QEMU that ended
	}
	return err
}

// start runs the command with its own session, its own log and nothing of ours. A bound one ends with the thread that has started it.
func start(argv []string, name string, f runFiles, bound bool) (*Process, error) {
	logFile, err := os.OpenFile(f.log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	if err := keepFiles(); err != nil {
		return nil, err
	}
	lookPath := exec.LookPath
	if bound { // then it also ends with our service
		lookPath = func(string) (string, error) { return "", exec.ErrNotFound }
	}
	argv, env := inScope(argv, name, os.Getuid(), os.Getenv, lookPath)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = "/", env, logFile
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if bound {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{Name: name, PID: cmd.Process.Pid, Socket: f.socket, Log: f.log, cmd: cmd, exited: make(chan struct{})}
	go func() { // ends with QEMU; Kill and Wait wait for it
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// keepFiles marks all our open files so that programs we start do not get them, also those that we got from whoever
// started us.
func keepFiles() error {
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

// inScope puts a command into a systemd scope of its own when we run under systemd: what stays in our service's
// control group is killed with the service. systemd-run replaces itself by the command, so the pid stays the same.
func inScope(
	argv []string, name string, uid int, getenv func(string) string, lookPath func(string) (string, error),
) (cmd, env []string) {
	env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"}
	run, err := lookPath("systemd-run")
	if getenv("INVOCATION_ID") == "" || err != nil {
		return argv, env
	}
	unit := "scatter-" + name + "-" + strconv.FormatInt(time.Now().UnixNano(), 36)
	cmd = []string{run, "--scope", "--quiet", "--collect", "--unit", unit}
	if uid != 0 {
		cmd = append(cmd, "--user")
		for _, v := range []string{"XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"} {
			env = append(env, v+"="+getenv(v))
		}
	}
	return append(append(cmd, "--"), argv...), env
}

// ready waits for the monitor and prepares QEMU for the migration.
func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-p.exited:
			cancel()
		case <-ctx.Done():
		}
	})
	c, err := dialWhenThere(ctx, p.Socket)
	if err != nil {
		return err
	}
	if c.PID() != p.PID {
		c.Close()
		return fmt.Errorf("socket %s belongs to process %d, not to %d", p.Socket, c.PID(), p.PID)
	}
	if err := c.PrepareIncoming(ctx); err != nil {
		c.Close()
		return err
	}
	p.Client = c
	return nil
}

// reason tells why a launch failed. A connection that ended, or was given up, is most often a QEMU that is ending.
func (p *Process) reason(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, refused := errors.AsType[*QMPError](err); refused {
		return err
	}
	select {
	case <-p.exited:
		return fmt.Errorf("qemu ended: %w", exitError(p.err))
	case <-ctx.Done():
		return err
	}
}

// dialWhenThere dials as soon as the socket is listened to.
func dialWhenThere(ctx context.Context, socket string) (*Client, error) {
	for {
		c, err := Dial(ctx, socket)
		if ctx.Err() != nil && err != nil {
			return nil, context.Cause(ctx)
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ECONNREFUSED) {
			return c, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// PrepareIncoming sets what every target needs before its migration: no announcements of its own, events, and disks that
// stay the source's until the VM runs. Launch has done it; a target of LaunchExternal needs it.
func (c *Client) PrepareIncoming(ctx context.Context) error {
	if err := c.SetParameters(ctx, Parameters{AnnounceRounds: new(uint64(0))}); err != nil {
		return err
	}
	return c.SetCapabilities(ctx, map[string]bool{"events": true, "late-block-activate": true})
}

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Exited is closed when QEMU has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Wait waits for QEMU's end; nil means that it ended well.
func (p *Process) Wait(ctx context.Context) error {
	select {
	case <-p.exited:
		return p.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Kill ends QEMU at once, waits for its end, closes the Client and removes the socket and the pid file.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.exited
	if p.Client != nil {
		p.Client.Close()
	}
	for _, ext := range []string{".qmp", ".pid"} {
		_ = os.Remove(p.Log[:len(p.Log)-len(".log")] + ext)
	}
}

// Tail is the end of what QEMU wrote to its log.
func (p *Process) Tail() string { return logTail(p.Log) }
