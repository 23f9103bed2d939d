package scatter

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestProcessWithoutDescriptors: one that has no descriptor left takes no process for dead, and sees the end of one that dies.
func TestProcessWithoutDescriptors(t *testing.T) {
	p := living(t)
	defer p.close()
	limit(t, syscall.RLIMIT_NOFILE, 1, func() {
		if f, err := os.Open(os.DevNull); err == nil {
			f.Close()
			t.Fatal("there are descriptors still")
		}
		if !p.alive() || p.wait(30*time.Millisecond) || processGone(p.pid) {
			t.Error("a process that lives is said to have ended")
		}
		p.signalKill()
		if !p.wait(time.Minute) || p.alive() {
			t.Error("a process that was killed is said to live")
		}
	})
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
