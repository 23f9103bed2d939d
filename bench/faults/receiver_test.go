//go:build lab

package faults

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// receiver is a `scatter recv` that the test knows to run or not to run.
type receiver struct {
	*deploy.Receiver
	ended bool
}

// receive starts a receiver and waits until it listens. Flags that come again win, unless they may be repeated.
func (s *scene) receive(h *lan.Host, flags ...string) *receiver {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), settleTime)
	defer cancel()
	one, err := s.Receive(ctx, h, append([]string{"--log-level", "debug"}, flags...)...)
	s.must(err)
	r := &receiver{Receiver: one}
	s.receivers = append(s.receivers, r)
	return r
}

// receiveAll starts a receiver on every target.
func (s *scene) receiveAll(flags ...string) {
	s.t.Helper()
	for _, h := range s.Targets {
		s.receive(h, flags...)
	}
}

// receiverOf returns the last receiver that was started where a guest is placed.
func (s *scene) receiverOf(g *lab.Guest) *receiver {
	s.t.Helper()
	for _, r := range slices.Backward(s.receivers) {
		if r.Host == s.target(g) {
			return r
		}
	}
	s.t.Fatalf("no receiver for guest %s", g.Name)
	return nil
}

// kill ends a receiver as a crash would.
func (s *scene) kill(r *receiver) {
	s.t.Helper()
	r.ended = true
	s.must(r.Kill())
}

// stopTime is how long a receiver may take to stop in order.
const stopTime = 20 * time.Second

// stop ends the receiver in order, unless the test has ended it.
func (r *receiver) stop() error {
	if r.ended {
		return nil
	}
	r.ended = true
	hung := time.AfterFunc(stopTime, func() { _ = syscall.Kill(r.PID, syscall.SIGKILL) }) // Stop waits for it, so the number is still its own
	err := r.Stop()
	if !hung.Stop() {
		return errors.Join(err, fmt.Errorf("recv on %s: did not stop in %v", r.Host.Name, stopTime))
	}
	return err
}

// says waits until the receiver has logged a text.
func (s *scene) says(r *receiver, text string) {
	s.t.Helper()
	s.awaits("a line in the log", func() error {
		if strings.Contains(r.Log(), text) {
			return nil
		}
		return fmt.Errorf("recv on %s has not logged %q", r.Host.Name, text)
	})
}
