package qemu

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
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

// launch starts a target like that of a small VM.
func launch(t testing.TB, args ...string) *Process {
	t.Helper()
	dir := filepath.Join(kit.ShortDir(t), "run")
	argv := append([]string{kit.NeedQEMU(t), "-nodefaults"}, args...)
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
