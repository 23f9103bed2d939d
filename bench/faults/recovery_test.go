//go:build lab

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os/exec"
	"strings"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/scatter"
)

// recovery is what `scatter recover` has done.
type recovery struct {
	s    *scene
	code int
	vms  []scatter.Recovered
	text string
}

// recover runs scatter recover on a host.
func (s *scene) recover(h *lan.Host, flags ...string) *recovery {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*settleTime)
	defer cancel()
	args := append([]string{"recover", "--json", "--run-dir", deploy.RunDir(h), "--tls-dir", deploy.TLSDir(h)}, flags...)
	cmd := h.Command(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	r := &recovery{s: s, code: cmd.ProcessState.ExitCode(), text: stdout.String() + stderr.String()}
	for line := range strings.Lines(stdout.String()) {
		var vm scatter.Recovered
		s.must(json.Unmarshal([]byte(line), &vm))
		r.vms = append(r.vms, vm)
	}
	s.t.Logf("recover on %s: %s", h.Name, r.text)
	return r
}

// exits checks the exit status of a recovery.
func (r *recovery) exits(code int) *recovery {
	r.s.t.Helper()
	if r.code != code {
		r.s.t.Errorf("recover: exit status %d instead of %d: %s", r.code, code, r.text)
	}
	return r
}

// finds checks what it says of a guest: where it is, and a text about what was done.
func (r *recovery) finds(g *lab.Guest, where scatter.Where, action string) *recovery {
	r.s.t.Helper()
	for _, v := range r.vms {
		if v.VM == g.Name {
			if v.Where != where || !strings.Contains(v.Action, action) {
				r.s.t.Errorf("recover: guest %s is on %q, %q, instead of on %q, %q", g.Name, v.Where, v.Action, where, action)
			}
			return r
		}
	}
	r.s.t.Errorf("recover: nothing of guest %s: %s", g.Name, r.text)
	return r
}

// nothing checks that there was nothing to recover.
func (r *recovery) nothing() {
	r.s.t.Helper()
	r.exits(0)
	if len(r.vms) > 0 {
		r.s.t.Errorf("recover: found %v where nothing was", r.vms)
	}
}
