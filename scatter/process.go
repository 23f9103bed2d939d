package scatter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
)

// process is a QEMU: on a target started by us, by a launcher, or by a receiver before us; on the source found.
type process struct {
	pid    int
	socket string
	log    string // "" = somebody else keeps it

	mu    sync.Mutex // guards what follows
	pidfd int        // -1 once closed
	over  bool       // it is known to have ended
}

// openProcess takes hold of a running process. The caller makes sure, by its monitor, that the pid is not another's by now.
func openProcess(pid int, socket, log string) (*process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{pid: pid, pidfd: fd, socket: socket, log: log}, nil
}

// dup gives a descriptor of the process that the caller closes; -1 when there is none to be had, which says nothing of the process.
func (p *process) dup() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd < 0 {
		return -1
	}
	fd, err := unix.FcntlInt(uintptr(p.pidfd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return -1
	}
	return fd
}

// alive tells whether the process is not known to have ended. Where a VM may run hangs on it, so it takes the kernel's word for an
// end, and needs nothing that this process might have run out of.
func (p *process) alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	return !p.over
}

// look notes whether it has ended, as long as there is a descriptor to ask. p.mu is held.
func (p *process) look() {
	if p.pidfd >= 0 && !p.over {
		p.over = polled(p.pidfd, 0)
	}
}

// wait waits for its end and tells whether it came.
func (p *process) wait(d time.Duration) bool {
	for deadline := time.Now().Add(d); p.alive(); {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		if fd := p.dup(); fd >= 0 {
			polled(fd, left)
			unix.Close(fd)
		} else {
			time.Sleep(min(left, noDescriptorEvery))
		}
	}
	return true
}

// noDescriptorEvery is how often a process is looked at for which there is no descriptor to wait with.
const noDescriptorEvery = 10 * time.Millisecond

// polled tells whether the process behind a pidfd has ended; it waits for that up to d.
func polled(fd int, d time.Duration) bool {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for deadline := time.Now().Add(d); ; {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline)).Milliseconds()))
		if !errors.Is(err, unix.EINTR) {
			return n > 0 && fds[0].Revents&unix.POLLIN != 0
		}
	}
}

// killWait bounds the wait for the end of a killed process: the kernel frees its memory first.
const killWait = 30 * time.Second

// signalKill makes sure that the process executes nothing more. It does not wait for its end.
func (p *process) signalKill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd >= 0 {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) // it may have ended already
	}
}

// reap waits for the end of a killed process and removes what it leaves in the run directory.
func (p *process) reap() {
	p.wait(killWait)
	p.clean()
}

// clean removes the sockets and pid file of an ended process. The log stays.
func (p *process) clean() {
	if p.log == "" {
		return
	}
	base := strings.TrimSuffix(p.log, ".log")
	for _, ext := range []string{".qmp", ".pid"} {
		_ = os.Remove(base + ext)
	}
}

// tail is the end of what QEMU wrote to its log.
func (p *process) tail() string {
	if p.log == "" {
		return "see the log of its launcher"
	}
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	const keep = 2048
	if st, err := f.Stat(); err == nil && st.Size() > keep {
		_, _ = f.Seek(-keep, 2)
	}
	b := make([]byte, keep)
	n, _ := f.Read(b)
	return strings.TrimSpace(string(b[:n]))
}

func (p *process) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// start starts the QEMU for a VM and returns it with its open monitor.
func (r *receiver) start(ctx context.Context, p control.Prepare) (*process, *qemu.Client, error) {
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
	proc, err := openProcess(q.PID, q.Socket, q.Log)
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

func (r *receiver) startByLauncher(ctx context.Context, p control.Prepare) (*process, *qemu.Client, error) {
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
	var proc *process
	if err == nil {
		proc, err = openProcess(client.PID(), socket, "")
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

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// processGone tells whether no process of this pid lives. It is only said for certain.
func processGone(pid int) bool {
	proc, err := openProcess(pid, "", "")
	if err != nil {
		return noProcess(err)
	}
	defer proc.close()
	return !proc.alive()
}

// noProcess tells whether an error of openProcess says that there is none: its number may be that of a thread by now (EINVAL, and
// ENOENT since Linux 6.15).
func noProcess(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// retake takes hold of a QEMU that a journal names, if it still lives and is the one that was meant. Its monitor may be
// another's.
func retake(ctx context.Context, rec record, runDir string) (*process, error) {
	log := filepath.Join(runDir, rec.Name+".log")
	if !exists(log) {
		log = ""
	}
	proc, err := openProcess(rec.PID, rec.Socket, log) // first, so that the answer is about what is held
	if err != nil {
		return nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	pid, err := qemu.MonitorPID(ctx, rec.Socket)
	if err == nil && pid != rec.PID {
		err = fmt.Errorf("process %d is not the one that was started (%d)", pid, rec.PID)
	}
	if err != nil {
		proc.close()
		return nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	return proc, nil
}

// reopen is retake with the monitor.
func reopen(ctx context.Context, rec record, runDir string) (*process, *qemu.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	proc, err := retake(ctx, rec, runDir)
	if err != nil {
		return nil, nil, err
	}
	client, err := qemu.Dial(ctx, rec.Socket)
	if err != nil {
		proc.close()
		return nil, nil, fmt.Errorf("vm %s: %w", rec.Name, err)
	}
	return proc, client, nil
}

// endLeftover ends a QEMU that waits for pages that never come.
func endLeftover(ctx context.Context, j *journal, rec record) error {
	proc, client, err := reopen(ctx, rec, filepath.Dir(j.path))
	if err != nil {
		return err
	}
	defer proc.close()
	defer client.Close()
	rec.Kind, rec.Cause = recAbort, "left over"
	if err := j.Append(rec); err != nil {
		return err
	}
	proc.signalKill()
	proc.reap()
	return nil
}
