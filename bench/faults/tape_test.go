//go:build lab

package faults

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// tape is a pipe that holds one write at a time: the writer gets at most one ahead of the reader, who can look at it
// before taking it off.
type tape struct {
	in, out *os.File // the pipe; out belongs to the writer
	copy    [2]int   // a pipe for looking
	line    []byte   // what was taken off and is no whole line yet
}

// slot is the size of a pipe that has room for a single write.
const slot = 4096

func newTape() (*tape, error) {
	var main [2]int
	t := &tape{}
	// With O_DIRECT each write takes a slot of its own, however short it is.
	if err := unix.Pipe2(main[:], unix.O_DIRECT|unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	t.in, t.out = os.NewFile(uintptr(main[0]), "tape"), os.NewFile(uintptr(main[1]), "tape")
	if err := unix.Pipe2(t.copy[:], unix.O_CLOEXEC); err != nil {
		return nil, errors.Join(err, t.in.Close(), t.out.Close())
	}
	_, err := unix.FcntlInt(uintptr(main[0]), unix.F_SETPIPE_SZ, slot)
	return t, err
}

func (t *tape) close() error {
	return errors.Join(t.in.Close(), unix.Close(t.copy[0]), unix.Close(t.copy[1]))
}

var errSilent = errors.New("nothing was written in time")

// look returns what the writer has written and waits for; it stays on the tape. io.EOF: the writer is gone.
func (t *tape) look(patience time.Duration) ([]byte, error) {
	fd := int(t.in.Fd())
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	switch n, err := unix.Poll(fds, int(patience.Milliseconds())); {
	case errors.Is(err, unix.EINTR):
		return t.look(patience)
	case err != nil:
		return nil, err
	case n == 0:
		return nil, errSilent
	}
	switch n, err := unix.Tee(fd, t.copy[1], slot, 0); {
	case err != nil:
		return nil, err
	case n == 0:
		return nil, io.EOF
	}
	b := make([]byte, slot)
	n, err := unix.Read(t.copy[0], b)
	return b[:max(n, 0)], err
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

// take lets the writer go on.
func (t *tape) take() error {
	t.line = nil
	return t.drop()
}

func (t *tape) drop() error {
	_, err := unix.Read(int(t.in.Fd()), make([]byte, slot))
	return err
}
