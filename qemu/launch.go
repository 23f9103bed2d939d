package qemu

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/monitor"
	"github.com/scatter-vm/scatter/qemu/policy"
	"github.com/scatter-vm/scatter/qemu/process"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// LaunchTimeout bounds Launch when its context has no deadline.
const LaunchTimeout = 30 * time.Second

// maxSocketPath is the longest path that fits into a unix socket address, in bytes.
const maxSocketPath = 107

// Process is a QEMU that Launch started. It goes on when this program ends.
type Process struct {
	Name   string
	PID    int
	Socket string  // QMP
	Log    string  // file with what QEMU writes to stderr
	Client *Client // open; the caller closes it

	child *process.Child
}

// Launch starts what LaunchPolicy.Command made, and returns when QEMU
// answers on its monitor. QEMU is confined as the command says. It gets a session of its own, a scope of its own under systemd, none of our files, a clean
// environment, and "/" as its directory. Announcements at the end of the migration are switched off, for the VM must
// not be announced before it runs (see AnnounceSelf); disks are locked late. Failure is a *LaunchError and leaves
// nothing behind but the log.
func Launch(ctx context.Context, c *Command, log *slog.Logger) (*Process, error) {
	ctx, cancel := bounded(ctx, LaunchTimeout)
	defer cancel()
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	f := policy.FilesOf(c.RunDir, c.Name)
	if err := prepareRun(ctx, c, f); err != nil {
		return nil, &LaunchError{Name: c.Name, Err: err}
	}
	p, err := start(ctx, c, f, false)
	if err != nil {
		_ = os.Remove(f.PID)
		return nil, &LaunchError{Name: c.Name, Err: err}
	}
	if err := p.ready(ctx); err != nil {
		err = p.reason(ctx, err)
		p.Kill()
		return nil, &LaunchError{Name: c.Name, Err: err, Tail: process.LogTail(f.Log)}
	}
	log.Info("qemu started", "vm", c.Name, "pid", p.PID, "socket", p.Socket)
	return p, nil
}

// Rehearse is Launch for what LaunchPolicy.Rehearsal made. Its QEMU ends when this program does. Failure waits little longer than ctx; with the error comes a QEMU that was killed and has not ended yet.
func Rehearse(ctx context.Context, c *Command) (*Process, error) {
	ctx, cancel := bounded(ctx, LaunchTimeout)
	defer cancel()
	f := policy.FilesOf(c.RunDir, c.Name)
	if err := prepareRun(ctx, c, f); err != nil {
		return nil, &LaunchError{Name: c.Name, Err: err}
	}
	p, err := start(ctx, c, f, true)
	if err != nil {
		_ = os.Remove(f.PID)
		_ = os.Remove(f.Log)
		return nil, &LaunchError{Name: c.Name, Err: err}
	}
	if err := p.ready(ctx); err != nil {
		err = &LaunchError{Name: c.Name, Err: p.reason(ctx, err), Tail: process.LogTail(f.Log)}
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
	p.child.Kill()
	if p.Client != nil {
		p.Client.Close()
	}
	for _, file := range p.files() {
		_ = os.Remove(file)
	}
	select {
	case <-p.child.Exited():
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
func prepareRun(ctx context.Context, c *Command, f policy.Files) error {
	if err := vmname.Check(c.Name); err != nil {
		return err
	}
	if len(c.Argv) == 0 || !filepath.IsAbs(c.RunDir) || len(f.Socket) > maxSocketPath {
		return fmt.Errorf("run directory %q: must be absolute, and its socket at most %d bytes long", c.RunDir, maxSocketPath)
	}
	if err := os.MkdirAll(c.RunDir, 0o700); err != nil {
		return err
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", f.Socket)
	switch {
	case err == nil:
		conn.Close()
		return fmt.Errorf("socket %s is in use: a vm of this name runs already", f.Socket)
	case errors.Is(err, unix.EAGAIN):
		return fmt.Errorf("socket %s is in use: a vm of this name runs already", f.Socket)
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(f.Socket) // left over from a QEMU that ended
	}
	return err
}

// start runs the command with its own session, its own log and nothing of ours. A bound one ends with this program.
func start(ctx context.Context, c *Command, f policy.Files, bound bool) (*Process, error) {
	logFile, err := os.OpenFile(f.Log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	if err := c.Confinement.MakePID(f.PID); err != nil {
		return nil, err
	}
	child, err := process.Start(ctx, process.Program{Name: c.Name, Argv: c.Argv, Log: logFile, Bound: bound, Confine: c.Confinement.Enter})
	if err != nil {
		return nil, err
	}
	return &Process{Name: c.Name, PID: child.PID, Socket: f.Socket, Log: f.Log, child: child}, nil
}

// ready waits for the monitor and prepares QEMU for the migration.
func (p *Process) ready(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	defer watch.Wait()
	defer cancel()
	watch.Go(func() {
		select {
		case <-p.child.Exited():
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
	if _, refused := errors.AsType[*monitor.QMPError](err); refused {
		return err
	}
	select {
	case <-p.child.Exited():
		return fmt.Errorf("qemu ended: %w", exitError(p.child.Err()))
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

func exitError(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Exited is closed when QEMU has ended.
func (p *Process) Exited() <-chan struct{} { return p.child.Exited() }

// Wait waits for QEMU's end; nil means that it ended well.
func (p *Process) Wait(ctx context.Context) error { return p.child.Wait(ctx) }

// Kill ends QEMU at once, waits for its end, closes the Client and removes the socket and the pid file.
func (p *Process) Kill() {
	p.child.Kill()
	<-p.child.Exited()
	if p.Client != nil {
		p.Client.Close()
	}
	for _, ext := range []string{".qmp", ".pid"} {
		_ = os.Remove(p.Log[:len(p.Log)-len(".log")] + ext)
	}
}

// Tail is the end of what QEMU wrote to its log.
func (p *Process) Tail() string { return process.LogTail(p.Log) }
