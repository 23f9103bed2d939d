// Package witness sees QEMUs from outside, and their guests' memory: by their command lines, monitors and procfs. It is simple and knows nothing
// of scatter, which is why what it says counts against what scatter says.
package witness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// Process is a process, by its number, that may be a QEMU.
type Process int

// Guest returns the name of the guest, "" if the process is no QEMU or has ended.
func (p Process) Guest() string { return guestName(p.commandLine()) }

// commandLine returns the arguments of the process; nothing if it has ended.
func (p Process) commandLine() []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p))
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// guestName returns the name on a QEMU command line, "" if there is none.
func guestName(argv []string) string {
	at := slices.Index(argv, "-name")
	if at < 0 || at+1 == len(argv) {
		return ""
	}
	for _, part := range strings.Split(argv[at+1], ",") {
		if name, ok := strings.CutPrefix(part, "guest="); ok {
			return name
		}
	}
	return ""
}

// monitorSockets returns the sockets on a QEMU command line that a monitor may answer on.
func monitorSockets(argv []string) (sockets []string) {
	for i, option := range argv[:max(0, len(argv)-1)] {
		for _, part := range strings.Split(argv[i+1], ",") {
			path, isPath := strings.CutPrefix(part, "path=")
			path2, isUnix := strings.CutPrefix(part, "unix:")
			switch {
			case option == "-qmp" && isUnix:
				sockets = append(sockets, path2)
			case option == "-chardev" && isPath && strings.HasPrefix(argv[i+1], "socket,"):
				sockets = append(sockets, path)
			}
		}
	}
	return sockets
}

// State returns QEMU's run state; "unknown: ..." if no monitor answers.
func (p Process) State(ctx context.Context) string {
	m, err := p.Monitor(ctx)
	if err != nil {
		return fmt.Sprintf("unknown: %v", err)
	}
	defer m.Close()
	status, err := m.Status(ctx)
	if err != nil {
		return fmt.Sprintf("unknown: %v", err)
	}
	return status
}

// Monitor connects to the first monitor that answers. A monitor that serves somebody else does not.
func (p Process) Monitor(ctx context.Context) (*Monitor, error) {
	errs := []error{errors.New("no monitor answers")}
	for _, socket := range slices.Backward(monitorSockets(p.commandLine())) { // the lab's own monitor, which is never busy, comes last
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		m, err := Dial(ctx, socket)
		cancel()
		if err == nil {
			return m, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}
