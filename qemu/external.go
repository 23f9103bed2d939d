package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/process"
)

// maxDescription bounds the description of a VM for a launcher, in bytes.
const maxDescription = 16 << 20

// LaunchExternal has the operator's own program start a target: a shell command that gets the VM's description as JSON
// on its standard input and prints the absolute path of the QMP socket, as one line, when QEMU listens there. The
// command must end; what it started in the background goes on. If ctx ends first, or after LaunchTimeout, the command
// and all of its process group are killed. A command that fails is a *LaunchError with the end of its stderr.
func LaunchExternal(ctx context.Context, command string, description []byte) (socket string, err error) {
	ctx, cancel := bounded(ctx, LaunchTimeout)
	defer cancel()
	if len(description) > maxDescription {
		return "", &LaunchError{Name: command, Err: fmt.Errorf("description longer than %d bytes", maxDescription)}
	}
	if err := process.KeepFiles(); err != nil {
		return "", &LaunchError{Name: command, Err: err}
	}
	var stderr process.Tail
	out, err := runLauncher(ctx, command, description, &stderr)
	if err != nil {
		return "", &LaunchError{Name: command, Err: err, Tail: stderr.String()}
	}
	if socket, err = socketOf(out); err != nil {
		return "", &LaunchError{Name: command, Err: err, Tail: stderr.String()}
	}
	return socket, nil
}

func runLauncher(ctx context.Context, command string, description []byte, stderr io.Writer) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(description), stderr
	stdout := &process.Limited{Limit: maxSocketPath + 2}
	cmd.Stdout = stdout
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGKILL) }
	cmd.WaitDelay = 200 * time.Millisecond // for what it left in the background with our pipes open
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, exec.ErrWaitDelay):
		err = nil
	case errors.Is(err, unix.EPIPE): // it need not read its input
		err = nil
	}
	return stdout.Bytes(), err
}

// socketOf checks what a launcher printed.
func socketOf(out []byte) (string, error) {
	line, rest, _ := strings.Cut(string(out), "\n")
	line = strings.TrimSuffix(line, "\r")
	control := strings.ContainsFunc(line, func(r rune) bool { return r < ' ' })
	if rest != "" || !filepath.IsAbs(line) || len(line) > maxSocketPath || control {
		return "", fmt.Errorf("printed %.120q: must be one line with the absolute path of a socket", out)
	}
	info, err := os.Stat(line)
	if err == nil && info.Mode().Type() != os.ModeSocket {
		err = fmt.Errorf("%s is not a socket", line)
	}
	return line, err
}
