// Package system is what source and target need of this host: processes, by descriptors that never mean another; the RAM blocks of a QEMU and
// their digests; addresses, niceness, and what was used.
package system

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a QEMU: on a target started by us, by a launcher, or by a receiver before us; on the source found.
type Process struct {
	PID    int
	Socket string
	log    string // "" = somebody else keeps it

	mu    sync.Mutex // guards what follows
	pidfd int        // -1 once closed
	over  bool       // it is known to have ended
}

// OpenProcess takes hold of a running process. The caller makes sure, by its monitor, that the pid is not another's by now.
func OpenProcess(pid int, socket, log string) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &Process{PID: pid, pidfd: fd, Socket: socket, log: log}, nil
}

// Dup gives a descriptor of the process that the caller closes; -1 when there is none to be had, which says nothing of the process.
func (p *Process) Dup() int {
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

// Alive tells whether the process is not known to have ended. Where a VM may run hangs on it, so it takes the kernel's word for an
// end, and needs nothing that this process might have run out of.
func (p *Process) Alive() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	return !p.over
}

// look notes whether it has ended, as long as there is a descriptor to ask. p.mu is held.
func (p *Process) look() {
	if p.pidfd >= 0 && !p.over {
		p.over = polled(p.pidfd, 0)
	}
}

// Wait waits for its end and tells whether it came.
func (p *Process) Wait(d time.Duration) bool {
	for deadline := time.Now().Add(d); p.Alive(); {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		if fd := p.Dup(); fd >= 0 {
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

// KillWait bounds the wait for the end of a killed process: the kernel frees its memory first.
const KillWait = 30 * time.Second

// SignalKill makes sure that the process executes nothing more. It does not wait for its end.
func (p *Process) SignalKill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pidfd >= 0 {
		_ = unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0) // it may have ended already
	}
}

// Reap waits for the end of a killed process and removes what it leaves in the run directory.
func (p *Process) Reap() {
	p.Wait(KillWait)
	p.Clean()
}

// Clean removes the sockets and pid file of an ended process. The log stays.
func (p *Process) Clean() {
	if p.log == "" {
		return
	}
	base := strings.TrimSuffix(p.log, ".log")
	for _, ext := range []string{".qmp", ".pid"} {
		_ = os.Remove(base + ext)
	}
}

// Tail is the end of what QEMU wrote to its log.
func (p *Process) Tail() string {
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

// Close lets go of the process. What is known of its end stays known.
func (p *Process) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.look()
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// Exists tells whether there is anything of that name.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// ProcessGone tells whether no process of this pid lives. It is only said for certain.
func ProcessGone(pid int) bool {
	proc, err := OpenProcess(pid, "", "")
	if err != nil {
		return NoProcess(err)
	}
	defer proc.Close()
	return !proc.Alive()
}

// NoProcess tells whether an error of openProcess says that there is none: its number may be that of a thread by now (EINVAL, and
// ENOENT since Linux 6.15).
func NoProcess(err error) bool {
	return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT)
}

// QMPTimeout bounds one conversation with a monitor.
const QMPTimeout = 20 * time.Second
