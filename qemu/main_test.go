package qemu

import (
	"context"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(launcherDir); dir != "" {
		if err := launchAndEnd(dir); err != nil {
			log.Fatal(err)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

const testQEMU = "/usr/bin/qemu-system-x86_64"

// needQEMU is the program that the tests with a real VM start. They fail without it.
func needQEMU(t testing.TB) string {
	t.Helper()
	if _, err := exec.LookPath(testQEMU); err != nil {
		t.Fatalf("%s is needed: apt-get install qemu-system-x86 (%v)", testQEMU, err)
	}
	return testQEMU
}

// shortDir is a temporary directory whose path leaves room for the names of sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "sq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// launch starts a target like that of a small VM.
func launch(t testing.TB, args ...string) *Process {
	t.Helper()
	dir := filepath.Join(shortDir(t), "run")
	argv := append([]string{needQEMU(t), "-nodefaults"}, args...)
	c, err := LaunchPolicy{AllowPaths: []string{"/dev/shm", os.TempDir()}}.Command(argv, "vm1", dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := Launch(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

// background is a context for cleanup, when the test's own has ended.
func background() context.Context { return context.Background() }
