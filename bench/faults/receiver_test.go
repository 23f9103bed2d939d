//go:build lab

package faults

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
)

// port is where receivers listen.
const port = 7700

func address(h *lab.Host) string { return netip.AddrPortFrom(h.Addr, port).String() }

// daemon is a receiver on a target.
type daemon struct {
	name   string
	host   *lab.Host
	cmd    *exec.Cmd
	stderr buffer
	exited chan struct{}
	err    error // how it ended; set before exited is closed
}

// receiveFlags are what every receiver of the lab needs.
func (s *scene) receiveFlags(h *lab.Host) []string {
	flags := []string{"recv", "--name", h.Name, "--listen", address(h), "--interface", h.Interface, "--tls-dir", scatter.tls(h.Name),
		"--run-dir", runDir(h), "--rewrite", s.Source.Dir + "=" + h.Dir, "--allow-network", "--log-level", "debug"}
	for _, p := range s.AllowPaths() {
		flags = append(flags, "--allow-path", p)
	}
	return flags
}

// receive starts a receiver and waits until it listens. Flags that come again win, unless they may be repeated.
func (s *scene) receive(h *lab.Host, flags ...string) *daemon {
	s.t.Helper()
	d := &daemon{name: "recv on " + h.Name, host: h, exited: make(chan struct{})}
	d.cmd = h.Command(context.Background(), scatter.binary, append(s.receiveFlags(h), flags...)...)
	d.cmd.Stderr = &d.stderr
	s.must(d.cmd.Start())
	s.daemons = append(s.daemons, d)
	go func() {
		defer close(d.exited)
		d.err = d.cmd.Wait()
	}()
	s.awaits(d.name, func() error {
		if strings.Contains(d.log(), "msg=listening") {
			return nil
		}
		return errors.New("does not listen: " + d.log())
	})
	return d
}

// receiveAll starts a receiver on every target.
func (s *scene) receiveAll(flags ...string) []*daemon {
	s.t.Helper()
	all := make([]*daemon, len(s.Targets))
	for i, h := range s.Targets {
		all[i] = s.receive(h, flags...)
	}
	return all
}

func (d *daemon) log() string { return d.stderr.String() }

// kill ends the receiver as a crash would.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	<-d.exited
}

// stopTime is how long a receiver may take to stop in order.
const stopTime = 20 * time.Second

// stop ends the receiver in order.
func (d *daemon) stop() error {
	select {
	case <-d.exited:
		return nil // a test has ended it, and has said so
	default:
	}
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	if err := d.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-d.exited:
	case <-time.After(stopTime):
		d.kill()
		return fmt.Errorf("%s: did not stop", d.name)
	}
	if d.err != nil {
		return fmt.Errorf("%s: %w", d.name, d.err)
	}
	return nil
}

// says waits until the receiver's log has a text.
func (s *scene) says(d *daemon, text string) {
	s.t.Helper()
	s.awaits(d.name+" to log "+text, func() error {
		if strings.Contains(d.log(), text) {
			return nil
		}
		return errors.New("it does not")
	})
}
