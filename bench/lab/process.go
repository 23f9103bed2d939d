package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// process is a QEMU that the lab itself has started.
type process struct {
	pid    int
	stderr string        // file
	exited chan struct{} // closed when it has ended
}

// launch starts the QEMU of a guest in the host. It outlives any context: Lab.Close ends it.
func (l *Lab) launch(h *lan.Host, guest string, argv []string) (*process, error) {
	p := &process{stderr: filepath.Join(h.Dir, guest+".stderr"), exited: make(chan struct{})}
	stderr, err := os.Create(p.stderr)
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd := h.Command(context.Background(), argv[0], argv[1:]...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid // that of QEMU: `ip netns exec` becomes the command
	l.processes.Go(func() {
		defer close(p.exited)
		_ = cmd.Wait() // a guest that was moved away is meant to end; who waits for it to live looks at exited
	})
	return p, nil
}

// err says what a process that ended too early has complained about.
func (p *process) err() error {
	b, err := os.ReadFile(p.stderr)
	if err != nil {
		return err
	}
	return fmt.Errorf("QEMU ended: %s", strings.TrimSpace(string(b)))
}
