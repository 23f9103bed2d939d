package scatter

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProcessWithoutDescriptors: one that has no descriptor left takes no process for dead, and sees the end of one that dies.
func TestProcessWithoutDescriptors(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	p, err := openProcess(cmd.Process.Pid, "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	takeDescriptors(t)
	if !p.alive() || p.wait(30*time.Millisecond) || processGone(cmd.Process.Pid) {
		t.Error("a process that lives is said to have ended")
	}
	p.signalKill()
	if !p.wait(time.Minute) || p.alive() {
		t.Error("a process that was killed is said to live")
	}
}

// takeDescriptors leaves this process no descriptor to open, until the test ends.
func takeDescriptors(t *testing.T) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
	})
	if f, err := os.Open(os.DevNull); err == nil {
		f.Close()
		t.Fatal("there are descriptors still")
	}
}

// TestClosedProcess: what is known of a process stays known when its descriptor is given back, and no more.
func TestClosedProcess(t *testing.T) {
	lives, err := openProcess(os.Getpid(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	lives.close()
	if !lives.alive() || lives.wait(20*time.Millisecond) {
		t.Error("said to have ended")
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dies, err := openProcess(cmd.Process.Pid, "", "")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	dies.close()
	if dies.alive() || !processGone(cmd.Process.Pid) {
		t.Error("said to live")
	}
}
