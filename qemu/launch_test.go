package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/process"
)

func itoa(n int) string { return strconv.Itoa(n) }

func TestQEMULaunchReportsTail(t *testing.T) {
	dir := kit.ShortDir(t)
	argv := []string{kit.NeedQEMU(t), "-M", "no-such-machine", "-qmp", "unix:" + dir + "/vm1.qmp,server=on,wait=off"}
	_, err := Launch(t.Context(), &Command{Argv: argv, RunDir: dir, Name: "vm1"}, nil)
	e, ok := errors.AsType[*LaunchError](err)
	if !ok || !strings.Contains(e.Tail, "unsupported machine type") || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("error %v", err)
	}
}

func TestLaunchRefuses(t *testing.T) {
	dir := kit.ShortDir(t)
	for name, err := range map[string]error{
		"name":     second(Launch(t.Context(), &Command{Argv: []string{"/bin/true"}, RunDir: dir, Name: "../x"}, nil)),
		"relative": second(Launch(t.Context(), &Command{Argv: []string{"/bin/true"}, RunDir: "run", Name: "x"}, nil)),
		"long":     second(Launch(t.Context(), &Command{Argv: []string{"/bin/true"}, RunDir: "/" + strings.Repeat("r", 120), Name: "x"}, nil)),
		"nothing":  second(Launch(t.Context(), &Command{RunDir: dir, Name: "x"}, nil)),
		"program":  second(Launch(t.Context(), &Command{Argv: []string{"/no/such/qemu"}, RunDir: dir, Name: "x"}, nil)),
		"ends":     second(Launch(t.Context(), &Command{Argv: []string{"/bin/true"}, RunDir: dir, Name: "x"}, nil)),
	} {
		if _, ok := errors.AsType[*LaunchError](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A program that never listens is killed when the context ends.
func TestLaunchTimesOut(t *testing.T) {
	dir := kit.ShortDir(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("evacuation given up")
	go func() {
		for {
			if info, err := os.Stat(dir + "/vm1.log"); err == nil && info.Size() > 0 {
				cancel(why)
				return
			}
		}
	}()
	_, err := Launch(ctx, &Command{Argv: []string{"/bin/sh", "-c", "echo pid $$ >&2; exec sleep 1000"}, RunDir: dir, Name: "vm1"}, nil)
	e, ok := errors.AsType[*LaunchError](err)
	if !ok || !errors.Is(err, why) || !strings.HasPrefix(e.Tail, "pid ") {
		t.Fatalf("error %v", err)
	}
	pid, _ := strconv.Atoi(strings.TrimPrefix(e.Tail, "pid "))
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("process %d: %v", pid, err)
	}
}

// A QEMU that was launched lives on when the program that launched it has ended, in a session of its own, without that
// program's files and environment.
func TestQEMUOutlivesLauncher(t *testing.T) {
	kit.NeedQEMU(t)
	dir := kit.ShortDir(t)
	secret, err := os.Create(filepath.Join(dir, "secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer secret.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), launcherDir+"="+dir)
	cmd.ExtraFiles = []*os.File{secret} // descriptor 3 of the launcher, not marked to be closed
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c, err := Dial(t.Context(), dir+"/vm1.qmp")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	defer func() { c.Quit(background()); <-c.Done() }()
	if sid, err := unix.Getsid(c.PID()); err != nil || sid != c.PID() {
		t.Errorf("session %d of process %d, %v", sid, c.PID(), err)
	}
	fds, err := filepath.Glob("/proc/" + itoa(c.PID()) + "/fd/*")
	if err != nil || len(fds) < 3 {
		t.Fatalf("files %v, %v", fds, err)
	}
	for _, fd := range fds {
		if to, _ := os.Readlink(fd); to == secret.Name() {
			t.Errorf("it has %s as %s", to, fd)
		}
	}
	env, err := process.ReadFile(c.PID(), "environ", 64<<10)
	if err != nil || strings.Contains(string(env), "SCATTER_TEST") {
		t.Errorf("environment %q, %v", env, err)
	}
	if cwd, err := os.Readlink("/proc/" + itoa(c.PID()) + "/cwd"); err != nil || cwd != "/" {
		t.Errorf("directory %s, %v", cwd, err)
	}
}

// launcherDir makes the test program do nothing but launch a VM there and end.
const launcherDir = "SCATTER_TEST_LAUNCH"

func launchAndEnd(dir string) error {
	c, err := LaunchPolicy{}.Command([]string{kit.QEMU, "-nodefaults", "-M", "none"}, "vm1", dir)
	if err != nil {
		return err
	}
	_, err = Launch(background(), c, nil)
	return err
}

func TestLaunchExternal(t *testing.T) {
	dir := kit.ShortDir(t)
	socket := monitorAt(t, dir+"/ext.qmp")
	got, err := LaunchExternal(t.Context(), "cat > "+dir+"/in; echo "+socket, []byte(`{"name":"vm1"}`))
	if err != nil || got != socket {
		t.Errorf("%q, %v", got, err)
	}
	if in, err := os.ReadFile(dir + "/in"); err != nil || string(in) != `{"name":"vm1"}` {
		t.Errorf("description %q, %v", in, err)
	}
	if _, err := LaunchExternal(t.Context(), "echo "+socket, make([]byte, 1<<20)); err != nil {
		t.Errorf("launcher that does not read: %v", err)
	}
	_, err = LaunchExternal(t.Context(), "echo no room >&2; exit 3", nil)
	if e, ok := errors.AsType[*LaunchError](err); !ok || e.Tail != "no room" || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("error %v", err)
	}
	for name, command := range map[string]string{
		"nothing": "true", "relative": "echo ext.qmp", "two lines": "echo " + socket + "; echo " + socket, "no socket": "echo /etc/passwd",
		"missing": "echo " + dir + "/none", "endless": "yes /x", "long": "printf /%0200d 1", "binary": `printf '/\001'`,
	} {
		if got, err := LaunchExternal(t.Context(), command, nil); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

// What a launcher leaves in the background keeps it neither from returning nor alive when it is given up.
func TestLaunchExternalBackground(t *testing.T) {
	dir := kit.ShortDir(t)
	socket := monitorAt(t, dir+"/ext.qmp")
	if got, err := LaunchExternal(t.Context(), "sleep 1000 & echo $! > "+dir+"/pid; echo "+socket, nil); err != nil || got != socket {
		t.Errorf("%q, %v", got, err)
	}
	pid := readPID(t, dir+"/pid")
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Errorf("background process %d: %v", pid, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for readPID(t, dir+"/pid2") == 0 {
		}
		cancel()
	}()
	if _, err := LaunchExternal(ctx, "sleep 1000 & echo $! > "+dir+"/pid2; wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	pid = readPID(t, dir+"/pid2")
	for stat := []byte("x"); len(stat) > 0; { // gone, or waiting to be collected
		stat, _ = process.ReadFile(pid, "stat", 64<<10)
		if strings.Contains(string(stat), ") Z") {
			break
		}
	}
}

func readPID(t testing.TB, file string) int {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return pid
}

// monitorAt listens on a socket without ever answering.
func monitorAt(t testing.TB, path string) string {
	t.Helper()
	socket := kit.Monitor(t, func(p *kit.Peer) { p.Hold() })
	if err := os.Link(socket, path); err != nil {
		t.Fatal(err)
	}
	return path
}
