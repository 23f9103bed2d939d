package trial

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/source"
)

// trialsOf are trials with a real QEMU.
func trialsOf(t *testing.T, policy qemu.LaunchPolicy) *Trials {
	t.Helper()
	policy.QEMU, policy.Programs = kit.RealQEMU, new(qemu.Programs)
	return NewTrials(policy, "", kit.ShortDir(t), slog.New(slog.DiscardHandler))
}

// fit is a small real VM that could leave.
func fit(t *testing.T) *source.VM {
	t.Helper()
	return fitOf(t, "-m", "16")
}

// fitOf is a real VM that could leave.
func fitOf(t *testing.T, args ...string) *source.VM {
	t.Helper()
	v, err := source.DiscoverVM(t.Context(), 0, kit.RealVM(t, "vm", args...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	if err := v.Preflight(t.Context(), func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestTriesOfManyVMs: they take turns, and none is left.
func TestTriesOfManyVMs(t *testing.T) {
	s := trialsOf(t, qemu.LaunchPolicy{})
	v := fit(t)
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			m := v.ExamineMessage(false, true)
			m.Name = fmt.Sprint("vm", i)
			if _, err := s.Examine(t.Context(), m); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	kit.NothingLeft(t, s.dir)
}

// TestTriesEndWithTheSource: whoever asked is gone, and what was started for it.
func TestTriesEndWithTheSource(t *testing.T) {
	s := trialsOf(t, qemu.LaunchPolicy{})
	v := fit(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the source is gone"))
	if _, err := s.Examine(ctx, v.ExamineMessage(false, true)); err == nil || !strings.Contains(err.Error(), "the source is gone") {
		t.Errorf("got %v", err)
	}
	kit.NothingLeft(t, s.dir)
}

// TestTriesThatHang: a QEMU that waits for a file for ever is given up, and nobody waits for it meanwhile.
func TestTriesThatHang(t *testing.T) {
	dir := kit.ShortDir(t)
	s := trialsOf(t, qemu.LaunchPolicy{AllowPaths: []string{dir}})
	s.timeout, s.patience = time.Hour, time.Millisecond
	ctx, cancel := context.WithCancelCause(t.Context())
	v := fit(t)
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	hangs := 2 * cap(s.turns)
	answers := make(chan error, hangs)
	for range hangs {
		wg.Go(func() {
			m := v.ExamineMessage(false, true)
			m.Argv = slices.Concat(m.Argv, []string{"-kernel", fifo})
			_, err := s.Examine(ctx, m)
			answers <- err
		})
	}
	kit.Eventually(t, func() bool { return len(s.places) == hangs })
	if _, err := s.Examine(t.Context(), v.ExamineMessage(false, true)); err != nil {
		t.Errorf("one that does not hang: %v", err)
	}
	if len(answers) > 0 {
		t.Errorf("those that hang were done first: %v", <-answers)
	}
	enough := errors.New("enough")
	cancel(enough)
	wg.Wait()
	for range hangs {
		if err := <-answers; !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
	}
	s.timeout = time.Millisecond
	if _, err := s.Examine(t.Context(), v.ExamineMessage(false, true)); !errors.Is(err, errSlow) {
		t.Errorf("got %v", err)
	}
	kit.NothingLeft(t, s.dir)
}

// TestTriesTakeNothing: a VM that runs here is not touched by a try of one that wants all the same sockets, ports and files.
func TestTriesTakeNothing(t *testing.T) {
	dir := kit.ShortDir(t)
	log := kit.DiskIn(t, dir, "serial.log")
	greedy := []string{"-m", "16", "-vnc", ":77", "-chardev", "socket,id=s0,path=" + dir + "/serial,server=on,wait=off", "-device", "isa-serial,chardev=s0",
		"-chardev", "file,id=s1,path=" + log, "-device", "isa-serial,chardev=s1", "-netdev", "user,id=n0,hostfwd=tcp:127.0.0.1:47047-:22",
		"-object", "memory-backend-file,id=m0,size=128M,mem-path=" + dir + "/memory,share=on", "-M", "pc,memory-backend=m0", "-m", "128"}
	s := trialsOf(t, qemu.LaunchPolicy{AllowPaths: []string{dir}, AllowNetwork: true})
	v := fitOf(t, greedy...)
	if err := os.WriteFile(log, []byte("what was logged"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, _ := os.ReadDir(dir)
	m := v.ExamineMessage(false, true)
	argv, claims, err := s.policy.Rehearsal(m.Argv, "try-greedy", s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.try(t.Context(), m, argv, func() {}); err != nil {
		t.Errorf("it runs here, and so it starts here: %v", err)
	}
	if _, err := s.Examine(t.Context(), m); err == nil || err.Error() != claims.Taken().Error() || !strings.Contains(err.Error(), "somebody listens there already") {
		t.Errorf("a second of the same: %v", err)
	}
	after, _ := os.ReadDir(dir)
	if b, _ := os.ReadFile(log); string(b) != "what was logged" || len(before) != len(after) {
		t.Errorf("the log has %q, files %v, were %v", b, after, before)
	}
	c, err := net.Dial("unix", dir+"/serial")
	if err != nil {
		t.Errorf("the serial line of the VM: %v", err)
	} else {
		c.Close()
	}
	kit.NothingLeft(t, s.dir)
}
