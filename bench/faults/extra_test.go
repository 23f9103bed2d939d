//go:build lab

package faults

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// extraGuest boots a guest on the source that ends with the test.
func (s *scene) extraGuest(name string, w lab.Workload) *lab.Guest {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), bootTime)
	defer cancel()
	s.extras = append(s.extras, name)
	all, err := s.Boot(ctx, guestConfig(name, w))
	s.must(err)
	return all[0]
}

// idleVM starts a small VM on the source that never ran, and returns its QMP socket. It ends with the test.
func (s *scene) idleVM(name string, options ...string) string {
	s.t.Helper()
	dir, err := os.MkdirTemp(s.Source.Dir, "idle-") // two VMs may have one name
	s.must(err)
	socket := filepath.Join(dir, "qmp")
	args := []string{"-name", "guest=" + name, "-M", "pc", "-accel", "tcg", "-m", "16", "-nodefaults", "-no-user-config", "-display", "none", "-S",
		"-qmp", "unix:" + socket + ",server=on,wait=off"}
	cmd := s.Source.Command(context.Background(), "qemu-system-x86_64", append(args, options...)...)
	var stderr lab.Buffer
	cmd.Stderr = &stderr
	s.must(cmd.Start())
	s.extras = append(s.extras, name)
	go func() { _ = cmd.Wait() }() // endVM ends it
	s.awaits("VM "+name+" "+stderr.String(), func() error {
		m, err := witness.Dial(s.t.Context(), socket)
		if err != nil {
			return errors.Join(err, errors.New(stderr.String()))
		}
		return m.Close()
	})
	return socket
}

// endVM kills every QEMU of a name that is not a shared guest's.
func (s *scene) endVM(ctx context.Context, name string) error {
	shared := make(map[int]bool)
	for _, g := range s.guests {
		shared[g.PID()] = true
	}
	for _, h := range s.Switch.Hosts() {
		found, err := processes(ctx, h)
		if err != nil {
			return err
		}
		for pid, line := range found {
			if strings.Contains(line, " -name guest="+name+" ") && !shared[pid] {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
			}
		}
	}
	return nil
}
