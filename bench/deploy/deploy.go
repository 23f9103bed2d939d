// Package deploy runs scatter in a lab, the way an operator would: certificates for each host, `scatter recv` on the targets,
// `scatter send` on the source, all of them as processes of their own. It knows scatter only by its command line.
package deploy

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Reset stops receivers, brings all guests home and forgets the journals, so that the next evacuation starts like the first.
func (d *Deployment) Reset(ctx context.Context, receivers []*Receiver) error {
	for _, r := range receivers {
		if err := r.Stop(); err != nil {
			return err
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, g := range d.Lab.Guests() {
		group.Go(func() error { return g.MoveHome(ctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, h := range d.Lab.Switch.Hosts() {
		if err := os.RemoveAll(RunDir(h)); err != nil {
			return err
		}
	}
	return nil
}

// Port is where recv listens.
const Port = 7400

// Deployment is a lab whose hosts have certificates.
type Deployment struct {
	Lab    *lab.Lab
	Binary string // scatter
}

// New issues certificates for all hosts of l. The binary is a built scatter.
func New(ctx context.Context, l *lab.Lab, binary string) (*Deployment, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	d := &Deployment{l, binary}
	ca := filepath.Join(l.Dir, "ca")
	if err := d.command(ctx, "pki", "init", "--dir", ca); err != nil {
		return nil, err
	}
	for _, h := range l.Switch.Hosts() {
		if err := d.Issue(ctx, h); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Issue makes certificates for a host.
func (d *Deployment) Issue(ctx context.Context, h *lan.Host) error {
	return d.command(ctx, "pki", "issue", "--ca", filepath.Join(d.Lab.Dir, "ca"), "--name", h.Name, "--ip", h.Addr.String(), "--dir", TLSDir(h))
}

// command runs a scatter command that belongs to no host.
func (d *Deployment) command(ctx context.Context, args ...string) error {
	if out, err := exec.CommandContext(ctx, d.Binary, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("scatter %s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// TLSDir returns where a host's certificates are.
func TLSDir(h *lan.Host) string { return filepath.Join(h.Dir, "tls") }

// RunDir returns where scatter on a host keeps its journal and its sockets.
func RunDir(h *lan.Host) string { return filepath.Join(h.Dir, "run") }

// Receiver is a `scatter recv` on a host.
type Receiver struct {
	Host *lan.Host
	PID  int

	cmd  *exec.Cmd
	log  *output
	done chan struct{}
	err  error
}

// Receive starts recv on a host and waits until it listens. Further arguments come last.
func (d *Deployment) Receive(ctx context.Context, h *lan.Host, args ...string) (*Receiver, error) {
	all := []string{
		"recv", "--name", h.Name, "--listen", d.Address(h), "--interface", h.Interface, "--tls-dir", TLSDir(h), "--run-dir", RunDir(h),
		"--rewrite", d.Rewrite(h), "--allow-network", "--log-level", "info",
	}
	for _, path := range d.Lab.AllowPaths() {
		all = append(all, "--allow-path", path)
	}
	return d.ReceiveWith(ctx, h, append(append([]string{d.Binary}, all...), args...)...)
}

// Rewrite returns how paths of guests on the source are to be rewritten on h.
func (d *Deployment) Rewrite(h *lan.Host) string { return d.Lab.Source.Dir + "=" + h.Dir }

// ReceiveWith starts recv on a host by a command of the caller's and waits until it listens.
func (d *Deployment) ReceiveWith(ctx context.Context, h *lan.Host, argv ...string) (*Receiver, error) {
	if err := os.MkdirAll(RunDir(h), 0o700); err != nil {
		return nil, err
	}
	r := &Receiver{Host: h, log: newOutput(), done: make(chan struct{})}
	r.cmd = h.Command(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	r.cmd.Stdout, r.cmd.Stderr, r.cmd.WaitDelay = r.log, r.log, drain
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	r.PID = r.cmd.Process.Pid
	go func() {
		defer close(r.done)
		r.err = r.cmd.Wait()
	}()
	return r, r.await(ctx, "msg=listening")
}

// Address returns where recv on h listens.
func (d *Deployment) Address(h *lan.Host) string { return fmt.Sprintf("%v:%d", h.Addr, Port) }

// drain is how long the output of a process is read on after its end: QEMUs that it has left behind may hold it open.
const drain = time.Second

// ReceiveAll starts recv on hosts.
func (d *Deployment) ReceiveAll(ctx context.Context, hosts []*lan.Host, args ...string) ([]*Receiver, error) {
	var all []*Receiver
	for _, h := range hosts {
		r, err := d.Receive(ctx, h, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// await waits until the log holds text.
func (r *Receiver) await(ctx context.Context, text string) error {
	if err := r.log.await(ctx, text, r.done); err != nil {
		return fmt.Errorf("recv on %s: %w", r.Host.Name, err)
	}
	return nil
}

// Done is closed when recv has ended.
func (r *Receiver) Done() <-chan struct{} { return r.done }

// Log returns what recv has said.
func (r *Receiver) Log() string { return r.log.String() }

// PeakMemory returns the most memory that recv has had resident, in bytes, up to now.
func (r *Receiver) PeakMemory() (int64, error) { return peakMemory(r.PID) }

// Kill ends recv as a crash would.
func (r *Receiver) Kill() error { return r.end(syscall.SIGKILL) }

// Stop ends recv as an operator would.
func (r *Receiver) Stop() error { return r.end(syscall.SIGTERM) }

func (r *Receiver) end(s syscall.Signal) error {
	if err := r.cmd.Process.Signal(s); err != nil {
		<-r.done
		return fmt.Errorf("recv on %s: %w: %w: %s", r.Host.Name, err, r.err, r.Log())
	}
	<-r.done
	return nil
}

func peakMemory(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	var kib int64
	_, rest, _ := strings.Cut(string(b), "VmHWM:")
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		return 0, fmt.Errorf("process %d: peak memory: %w", pid, err)
	}
	return kib << 10, nil
}

// output collects what a process prints and lets others wait for it.
type output struct {
	mu      sync.Mutex // guards what follows
	text    bytes.Buffer
	changed chan struct{} // closed at each change, and replaced
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// Write takes in a piece of output.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.text.Write(b)
}

// String returns all output so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// await waits until the output holds text, or its writer has ended.
func (o *output) await(ctx context.Context, text string, ended <-chan struct{}) error {
	for {
		o.mu.Lock()
		found, changed := strings.Contains(o.text.String(), text), o.changed
		o.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-changed:
		case <-ended:
			return fmt.Errorf("ended without %q: %s", text, o)
		case <-ctx.Done():
			return fmt.Errorf("no %q: %w: %s", text, ctx.Err(), o)
		}
	}
}

// settle is how long a guest may take to beat again once its move is over.
const settle = 30 * time.Second
