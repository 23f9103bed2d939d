package inventory

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/scatter-vm/scatter/qemu"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testQEMU = "/usr/bin/qemu-system-x86_64"

// machine is a real QEMU.
type machine struct {
	*qemu.Client
	t    testing.TB
	argv []string
	dir  string

	moves int // of this machine so far, from host to host
}

// start starts a QEMU as an operator would. In the arguments DIR is a directory of its own with the disks base.qcow2,
// other.qcow2, filled.qcow2, disk.raw, cd.iso and second.iso.
func start(t testing.TB, arguments string) *machine {
	t.Helper()
	dir, err := os.MkdirTemp("", "inv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	image(t, "-f", "qcow2", dir+"/base.qcow2", "16M")
	image(t, "-f", "qcow2", dir+"/other.qcow2", "8M")
	image(t, "-f", "qcow2", "-o", "preallocation=falloc", dir+"/filled.qcow2", "4M")
	for name, size := range map[string]int64{"disk.raw": 4 << 20, "cd.iso": 1 << 20, "second.iso": 2 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	argv := append([]string{testQEMU, "-nodefaults", "-display", "none", "-m", "16", "-qmp", "unix:" + dir + "/src.qmp,server=on,wait=off"},
		strings.Fields(strings.ReplaceAll(arguments, "DIR", dir))...)
	return run(t, argv, dir, filepath.Join(dir, "src.qmp"))
}

// run starts a command line and connects to its monitor.
func run(t testing.TB, argv []string, dir, socket string) *machine {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: apt-get install qemu-system-x86 qemu-utils", err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	for {
		c, err := qemu.Dial(t.Context(), socket)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return &machine{c, t, argv, dir, 0}
		}
		select {
		case <-ended:
			t.Fatalf("%s\n%s", strings.Join(argv, " "), stderr.String())
		case <-t.Context().Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func image(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", append([]string{"create", "-q"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v: %s (apt-get install qemu-utils)", err, out)
	}
}

// args are the arguments of a command.
type args map[string]any

// do executes a command that must succeed. In texts DIR is the machine's directory.
func (m *machine) do(command string, a args) {
	m.t.Helper()
	if err := m.try(command, a); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) try(command string, a args) error {
	return m.Do(m.t.Context(), command, m.placed(map[string]any(a)), nil)
}

func (m *machine) placed(v any) any {
	switch v := v.(type) {
	case string:
		return strings.ReplaceAll(v, "DIR", m.dir)
	case args:
		return m.placed(map[string]any(v))
	case map[string]any:
		all := map[string]any{}
		for k, x := range v {
			all[k] = m.placed(x)
		}
		return all
	case []any:
		for i := range v {
			v[i] = m.placed(v[i])
		}
	}
	return v
}

// human executes a command of the monitor for humans.
func (m *machine) human(line string) string {
	m.t.Helper()
	var text string
	if err := m.Do(m.t.Context(), "human-monitor-command", args{"command-line": line}, &text); err != nil {
		m.t.Fatal(err)
	}
	return text
}

func (m *machine) read() *Inventory {
	m.t.Helper()
	inv, err := Read(m.t.Context(), m.Client, "/")
	if err != nil {
		m.t.Fatal(err)
	}
	return inv
}

// await waits until a condition holds.
func (m *machine) await(what string, done func() bool) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), 20*time.Second)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			var now any
			_ = m.Do(m.t.Context(), "query-migrate", nil, &now)
			m.t.Fatalf("%s: %v: %v", what, ctx.Err(), now)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// move migrates the machine as it is now to a QEMU of its own, and returns that.
func (m *machine) move() *machine {
	m.t.Helper()
	inv := m.read()
	argv, findings := Command(inv, m.argv)
	if len(findings) > 0 {
		m.t.Fatalf("findings %v", findings)
	}
	target, err := m.moveTo(argv, LimitsOf(inv))
	if err != nil {
		m.t.Fatalf("%v\n%s", err, strings.Join(argv, " "))
	}
	return target
}

func (m *machine) moveTo(argv []string, limits []Limits) (*machine, error) {
	policy := qemu.LaunchPolicy{AllowPaths: []string{m.dir}, AllowNetwork: true}
	m.moves++
	runDir := filepath.Join(m.dir, fmt.Sprint("run", m.moves))
	c, err := policy.Command(argv, "vm", runDir)
	if err != nil {
		return nil, err
	}
	p, err := qemu.Launch(m.t.Context(), c, nil)
	if err != nil {
		return nil, err
	}
	m.t.Cleanup(p.Kill)
	if err := SetLimits(m.t.Context(), p.Client, limits); err != nil {
		return nil, err
	}
	in, err := p.Client.MigrateIncoming(m.t.Context())
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := m.Migrate(m.t.Context())
	if err != nil {
		return nil, err
	}
	defer out.Close()
	go io.Copy(in, out)
	go io.Copy(out, in)
	var ended error
	m.await("migration", func() bool {
		info, err := m.QueryMigrate(m.t.Context())
		if err != nil || info.Status == qemu.MigrationFailed {
			ended = errors.Join(err, fmt.Errorf("migration: %s %s: %s", info.Status, info.ErrorDesc, p.Tail()))
		}
		return ended != nil || info.Status == qemu.MigrationCompleted
	})
	if ended != nil {
		return nil, ended
	}
	target := &machine{p.Client, m.t, argv, m.dir, m.moves}
	target.await("load", func() bool {
		s, err := p.Client.Status(m.t.Context())
		return err != nil || s.Status != "inmigrate"
	})
	return target, nil
}
