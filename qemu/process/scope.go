package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// scoped tells whether QEMUs get a systemd scope of their own: what stays in our service's control group is killed with the service, and
// may open only the devices that the service may.
func scoped() bool {
	_, err := exec.LookPath("busctl")
	return err == nil && os.Getenv("INVOCATION_ID") != ""
}

// gate is a command that becomes argv, in the same process, once a line comes on its standard input. Until then it can be put into a scope.
func gate(argv []string) []string {
	return append([]string{"/bin/sh", "-c", `read -r go && exec "$0" "$@" </dev/null`}, argv...)
}

// adopt puts a process into a new scope.
func adopt(ctx context.Context, pid int, name string) error {
	unit := "scatter-" + name + "-" + strconv.FormatInt(time.Now().UnixNano(), 36) + ".scope"
	cmd := exec.CommandContext(ctx, "busctl", scopeArgs(os.Getuid(), unit, pid)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("systemd does not make scope %s: %w: %.200s", unit, err, out)
	}
	for { // the answer comes when the job begins
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid)); err != nil || strings.Contains(string(b), "/"+unit) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("process %d does not come into scope %s: %w", pid, unit, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// scopeArgs are busctl's arguments that put a process into a new scope: StartTransientUnit of org.freedesktop.systemd1(5).
func scopeArgs(uid int, unit string, pid int) []string {
	manager := "--system"
	if uid != 0 {
		manager = "--user"
	}
	return []string{manager, "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
		"StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail",
		"2", "PIDs", "au", "1", strconv.Itoa(pid), "CollectMode", "s", "inactive-or-failed", "0"}
}
