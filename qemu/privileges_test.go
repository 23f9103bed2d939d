package qemu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// statusOf is a line of what the kernel says of a process.
func statusOf(t *testing.T, pid int, key string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}

// TestQEMUGivesUpSystemCalls: a QEMU that needs none of them can neither start programs nor gain rights, and says so itself.
func TestQEMUGivesUpSystemCalls(t *testing.T) {
	for _, c := range []struct {
		options, filters string
		policy           LaunchPolicy
	}{
		{"-M none", "2", LaunchPolicy{}},
		{"-M none -sandbox off", "2", LaunchPolicy{}},
		{"-M none", "0", LaunchPolicy{Unconfined: true}},
		{"-M none -netdev bridge,id=n,br=nonesuch,helper=/bin/false", "0", LaunchPolicy{AllowPrograms: []string{"/bin/false"}}},
	} {
		run := filepath.Join(kit.ShortDir(t), "run")
		c.policy.Programs = new(Programs)
		cmd, err := c.policy.Command(append([]string{kit.NeedQEMU(t), "-nodefaults"}, strings.Fields(c.options)...), "vm", run)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(c.options, "bridge") { // whose helper fails: what counts is what it is started with
			if text := strings.Join(cmd.Argv, " "); strings.Contains(text, "-sandbox") {
				t.Errorf("%s: %s", c.options, text)
			}
			continue
		}
		q, err := Launch(t.Context(), cmd, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := statusOf(t, q.PID, "Seccomp"); got != c.filters {
			t.Errorf("%s: seccomp mode %s, want %s", c.options, got, c.filters)
		}
		q.Kill()
	}
}

// TestQEMURunsAsAnother: source and target are another user's, who sees nothing of our directories.
func TestQEMURunsAsAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: to become another user")
	}
	ctx := t.Context()
	_, src := source(t, "-M", "pc", "-m", "16", "-run-with", "user=nobody")
	run := filepath.Join(kit.ShortDir(t), "run")
	c, err := LaunchPolicy{Programs: new(Programs), RunAs: "nobody"}.Command([]string{kit.NeedQEMU(t), "-nodefaults", "-M", "pc", "-m", "16"}, "vm", run)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := Launch(ctx, c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Kill()
	for _, pid := range []int{src.PID(), dst.PID} {
		if uid := statusOf(t, pid, "Uid"); strings.HasPrefix(uid, "0") {
			t.Errorf("process %d is of user %s", pid, uid)
		}
	}
	migrate(t, src, dst.Client)
	for state := (RunState{}); state.Status != "paused"; {
		if state, err = dst.Client.Status(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	vm, err := dst.Client.Describe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m, err := OpenMemory(vm.PID, vm.Blocks)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	page := bytes.Repeat([]byte{7}, PageSize)
	if err := m.WritePages(0, 16, 1, page); err != nil {
		t.Errorf("its memory: %v", err)
	}
}
