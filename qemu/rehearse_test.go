package qemu

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// TestRehearsalEndsWithUs: a QEMU that is tried ends with the program that tries it, however that ends.
func TestRehearsalEndsWithUs(t *testing.T) {
	const role = "SCATTER_TEST_REHEARSE"
	if dir := os.Getenv(role); dir != "" {
		c, _, err := LaunchPolicy{QEMU: kit.NeedQEMU(t)}.Rehearsal([]string{kit.QEMU, "-nodefaults", "-M", "none"}, "try", dir)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Rehearse(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", p.PID)
		select {}
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestRehearsalEndsWithUs$")
	cmd.Env = append(os.Environ(), role+"="+filepath.Join(kit.ShortDir(t), "r"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for s := bufio.NewScanner(out); pid == 0 && s.Scan(); {
		fmt.Sscanf(s.Text(), "pid %d", &pid)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("process %d: %v", pid, err)
	}
	defer unix.Close(fd)
	cmd.Process.Kill()
	cmd.Wait()
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1) // until it has ended
		if n == 1 {
			return
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
}
