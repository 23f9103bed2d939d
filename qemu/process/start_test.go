package process

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestGate: a command waits until it may begin, and is then what it was to be, in the same process.
func TestGate(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := Program{Log: log}.command(gate([]string{"/bin/sh", "-c", `echo "$$ $0 $1 $(cat)" >&2`, "a b", "*"}))
	cmd.Stdin = r
	p, err := start(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	exe := "/proc/" + strconv.Itoa(p.PID) + "/cmdline"
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) { // it becomes the shell meanwhile
		b, err := os.ReadFile(exe)
		if err == nil && strings.Contains(string(b), "read -r go") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q, %v", b, err)
		}
	}
	if _, err := w.WriteString("\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := p.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if want := strconv.Itoa(p.PID) + " a b * \n"; LogTail(log.Name()) != strings.TrimSpace(want) {
		t.Errorf("it said %q, want %q", LogTail(log.Name()), want)
	}
}

// TestGateShut: what is not let through ends.
func TestGateShut(t *testing.T) {
	cmd := exec.Command(gate([]string{"/bin/true"})[0], gate([]string{"/bin/true"})[1:]...)
	if err := cmd.Run(); err == nil {
		t.Error("it began")
	}
}

// TestScopeArgs: what systemd is asked for.
func TestScopeArgs(t *testing.T) {
	line := strings.Join(scopeArgs(0, "x.scope", 17), " ")
	if want := "--system call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager StartTransientUnit ssa(sv)a(sa(sv)) " +
		"x.scope fail 2 PIDs au 1 17 CollectMode s inactive-or-failed 0"; line != want {
		t.Errorf("got %s", line)
	}
	if line := scopeArgs(7, "x.scope", 17); line[0] != "--user" {
		t.Errorf("as a user: %q", line)
	}
}
