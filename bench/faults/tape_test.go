//go:build lab

package faults

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tape is a named pipe that holds one write at a time: its writer gets at most one ahead of the reader, who can look at
// that before taking it off.
type tape struct {
	path string
	in   *os.File
	copy [2]int // a pipe for looking
	line []byte // what was taken off and is no whole line yet
}

// slot is the size of a pipe that has room for a single write.
const slot = 4096

func newTape(path string) (*tape, error) {
	if err := unix.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	t := &tape{path: path, in: os.NewFile(uintptr(fd), path)}
	if err := unix.Pipe2(t.copy[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return nil, errors.Join(err, t.in.Close())
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, slot)
	return t, err
}

func (t *tape) close() error {
	return errors.Join(t.in.Close(), unix.Close(t.copy[0]), unix.Close(t.copy[1]))
}

// occupy puts an empty line on the tape, so that the writer's first line waits until that is taken off.
func (t *tape) occupy() error {
	fd, err := unix.Open(t.path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_DIRECT); err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("{}\n"))
	return err
}

// errNotOpen says that the writer has not opened the tape yet.
var errNotOpen = errors.New("the tape was not opened")

// thread makes the writer's writes keep apart, each in a slot of its own, however short it is.
func (t *tape) thread(pid int) error {
	remote, err := openAs(pid, t.path)
	if err != nil {
		return err
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return err
	}
	defer unix.Close(process)
	fd, err := unix.PidfdGetfd(process, remote, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_DIRECT)
	return err
}

// openAs returns the number by which a process has a file open.
func openAs(pid int, path string) (int, error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if to, err := os.Readlink(dir + "/" + e.Name()); err == nil && to == path {
			var n int
			_, err := fmt.Sscan(e.Name(), &n)
			return n, err
		}
	}
	return 0, errNotOpen
}

// errSilent says that nothing was written in time.
var errSilent = errors.New("nothing was written in time")

// look returns what the writer has written; it stays on the tape.
func (t *tape) look(patience time.Duration) ([]byte, error) {
	fd := int(t.in.Fd())
	for until := time.Now().Add(patience); ; {
		n, err := unix.Tee(fd, t.copy[1], slot, unix.SPLICE_F_NONBLOCK)
		switch {
		case n > 0:
			b := make([]byte, slot)
			n, err := unix.Read(t.copy[0], b)
			return b[:max(n, 0)], err
		case err != nil && !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR):
			return nil, err
		case time.Now().After(until):
			return nil, errSilent
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n == 0 && err == nil { // nobody has it open: poll would not wait
			time.Sleep(pollEvery)
		} else if _, err := unix.Poll(fds, int(pollEvery.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return nil, err
		}
	}
}

// peek returns the line that is next, without its end. take must be called before the next peek.
func (t *tape) peek(patience time.Duration) ([]byte, error) {
	for {
		b, err := t.look(patience)
		if err != nil {
			return nil, err
		}
		if whole, ok := bytes.CutSuffix(b, []byte("\n")); ok {
			return append(t.line, whole...), nil
		}
		t.line = append(t.line, b...) // one write that did not fit: the rest follows
		if err := t.drop(); err != nil {
			return nil, err
		}
	}
}

// take takes the line that was peeked at off the tape: the writer may go on.
func (t *tape) take() error {
	t.line = nil
	return t.drop()
}

func (t *tape) drop() error {
	_, err := unix.Read(int(t.in.Fd()), make([]byte, slot))
	return err
}
