package system

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/scatter/internal/kit"
)

// TestProcessWithoutDescriptors: one that has no descriptor left takes no process for dead, and sees the end of one that dies.
func TestProcessWithoutDescriptors(t *testing.T) {
	p := living(t)
	defer p.Close()
	kit.Limit(t, syscall.RLIMIT_NOFILE, 1, func() {
		if f, err := os.Open(os.DevNull); err == nil {
			f.Close()
			t.Fatal("there are descriptors still")
		}
		if !p.Alive() || p.Wait(30*time.Millisecond) || ProcessGone(p.PID) {
			t.Error("a process that lives is said to have ended")
		}
		p.SignalKill()
		if !p.Wait(time.Minute) || p.Alive() {
			t.Error("a process that was killed is said to live")
		}
	})
}

// TestClosedProcess: what is known of a process stays known when its descriptor is given back, and no more.
func TestClosedProcess(t *testing.T) {
	lives, err := OpenProcess(os.Getpid(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	lives.Close()
	if !lives.Alive() || lives.Wait(20*time.Millisecond) {
		t.Error("said to have ended")
	}
	cmd := exec.Command("true")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dies, err := OpenProcess(cmd.Process.Pid, "", "")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	dies.Close()
	if dies.Alive() || !ProcessGone(cmd.Process.Pid) {
		t.Error("said to live")
	}
}

func TestProcessGone(t *testing.T) {
	if ProcessGone(os.Getpid()) {
		t.Error("this process is gone")
	}
	if !ProcessGone(kit.DeadPID) {
		t.Error("a process that never was is alive")
	}
}

// living is a process that lives, in place of a QEMU.
func living(t *testing.T) *Process {
	t.Helper()
	p, err := OpenProcess(kit.Sleeper(t).Process.Pid, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
