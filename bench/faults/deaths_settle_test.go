//go:build lab

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/scatter"
)

// settle is what an operator does when send has ended: a receiver is started again, and recover is run as long as it has something
// to do.
func (e *evacuation) settle() error {
	if e.harmed {
		<-e.thawed
	}
	select {
	case <-e.recv.Done():
		if err := e.startRecv(); err != nil {
			return err
		}
	default:
	}
	code := e.send.ProcessState.ExitCode()
	if code != -1 && code != 5 && !strings.Contains(e.out.String(), "scatter recover") {
		return nil
	}
	for range 3 {
		if err := e.recover(e.Source); err != nil || e.code == 0 && !strings.Contains(e.words[len(e.words)-1], "recover again") {
			return err
		}
		if err := e.recover(e.target); err != nil {
			return err
		}
	}
	return nil
}

// recover runs scatter recover on a host and keeps what it says.
func (e *evacuation) recover(h *lan.Host) error {
	ctx, cancel := context.WithTimeout(e.ctx, 2*settleTime)
	defer cancel()
	cmd := h.Command(ctx, program, "recover", "--json", "--run-dir", deploy.RunDir(h), "--tls-dir", deploy.TLSDir(h))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return err
	}
	e.code = cmd.ProcessState.ExitCode()
	e.words = append(e.words, fmt.Sprintf("recover on %s: %d: %s%s", h.Name, e.code, out, stderr.String()))
	for line := range strings.Lines(string(out)) {
		var vm scatter.Recovered
		if err := json.Unmarshal([]byte(line), &vm); err != nil {
			return err
		}
		if h == e.Source {
			e.claims = append(e.claims, vm)
		}
	}
	return nil
}

// end removes what is left of the evacuation.
func (e *evacuation) end(ctx context.Context) error {
	var errs []error
	for _, h := range e.Switch.Hosts() {
		found, err := processes(ctx, h)
		errs = append(errs, err)
		for pid := range found {
			_ = syscall.Kill(pid, kill) // it may end this moment
		}
	}
	if e.send != nil && e.send.Process != nil {
		<-e.sent
	}
	if e.tape != nil {
		errs = append(errs, e.tape.close())
	}
	if e.guest != nil {
		errs = append(errs, e.Discard(ctx, e.guest))
	}
	for _, h := range e.Switch.Hosts() {
		errs = append(errs, os.RemoveAll(deploy.RunDir(h)))
		if e.guest != nil {
			errs = append(errs, os.RemoveAll(lab.DiskFile(h, e.guest.Name)))
		}
	}
	return errors.Join(append(errs, os.RemoveAll(e.dir))...)
}
