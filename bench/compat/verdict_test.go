//go:build lab

package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// goes sends the VM, does what the row wants done meanwhile, and compares both ends.
func (t *trial) goes(ctx context.Context) (string, error) {
	e, err := t.send(ctx)
	t.said = e.text
	switch {
	case err != nil:
		return "send hangs or fails", err
	case t.row.Verdict == Ended:
		return t.hasEnded(e)
	case e.exit != 0:
		return fmt.Sprintf("send: %d", e.exit), causes(e)
	case !t.vm.ends(ctx):
		return "moved, but the source's QEMU lives", nil
	}
	on, m, err := t.found(ctx)
	if err != nil {
		return "lost", err
	}
	defer m.Close()
	if t.row.Lands != "" && on.name != t.row.Lands {
		return "moved to " + on.name, nil
	}
	return t.compare(ctx, on, m, e)
}

func causes(e ending) error {
	var all []string
	for _, v := range e.report.VMs {
		all = append(all, v.State+": "+v.Cause)
	}
	for _, b := range e.blockers {
		all = append(all, b.Problem+" ("+b.Remedy+")")
	}
	return errors.New(strings.Join(all, "; "))
}

// compare holds the VM on the target against what it was.
func (t *trial) compare(ctx context.Context, on *host, m *witness.Monitor, e ending) (string, error) {
	after, err := look(ctx, m, on.dir)
	if err != nil {
		return "moved, no look", err
	}
	want := t.row.After
	if want == "" {
		want = t.before.status
	}
	if !sameStatus(want, after.status) {
		return fmt.Sprintf("moved, but is %s instead of %s", after.status, want), nil
	}
	if d := differences(t.before, after); len(d) > 0 {
		return "moved, but differs", errors.New(strings.Join(d, "\n"))
	}
	if t.verifies() != nil && !slices.ContainsFunc(e.report.VMs, func(v reported) bool { return v.Name == t.vm.name && v.Verified }) {
		return "moved, not verified", nil
	}
	if t.row.Check != "" {
		if err := checks[t.row.Check](ctx, t, on, m); err != nil {
			return "moved, but " + t.row.Check, err
		}
	}
	return string(Moves), nil
}

// sameStatus: a VM that was never started is paused elsewhere.
func sameStatus(a, b string) bool {
	return a == b || a == "prelaunch" && b == "paused"
}

// verifies are the flags by which both sides are compared, where that is before the VM runs.
func (t *trial) verifies() []string {
	if strings.Contains(t.row.Send, "--mode") {
		return nil
	}
	return []string{"--verify"}
}

// send runs `send --verify` and does what belongs to its stage.
func (t *trial) send(ctx context.Context) (ending, error) {
	argv := t.scatter("send", t.verifies()...)
	if t.row.Stage == "" {
		return t.run(ctx, argv)
	}
	cmd := exec.CommandContext(ctx, argv[0], append(argv[1:], "--rate", "1mbit")...)
	var stdout, stderr lab.Buffer
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &stdout, &stderr, time.Second
	if err := cmd.Start(); err != nil {
		return ending{}, err
	}
	err := await(ctx, "stage "+t.row.Stage, func() error {
		for _, m := range lines[struct{ Type, Stage string }]([]byte(stdout.String())) {
			if m.Type == "vm" && m.Stage == t.row.Stage {
				return nil
			}
		}
		return errors.New(stdout.String() + stderr.String())
	})
	if err == nil {
		err = t.meanwhile(ctx)
	}
	werr := cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](werr); ok {
		werr = nil
	}
	return read([]byte(stdout.String()), []byte(stderr.String()), cmd.ProcessState.ExitCode()), errors.Join(err, werr, ctx.Err())
}

// meanwhile changes the VM while it is on its way.
func (t *trial) meanwhile(ctx context.Context) error {
	if err := t.vm.do(ctx, t.filled(t.row.During)); err != nil {
		return err
	}
	if t.row.Verdict == Ended {
		return nil
	}
	var err error
	t.before, err = look(ctx, t.vm.monitor, t.source.dir)
	return err
}

// settings are those of the migration, which scatter changes and must put back.
func (t *trial) settings(ctx context.Context) (string, error) {
	var caps, params json.RawMessage
	err := t.vm.monitor.Do(ctx, "query-migrate-capabilities", nil, &caps)
	if err == nil {
		err = t.vm.monitor.Do(ctx, "query-migrate-parameters", nil, &params)
	}
	return string(caps) + string(params), err
}

// isRefused: plan and send say so, by name and with a remedy, and touch nothing.
func (t *trial) isRefused(ctx context.Context) (string, error) {
	files, err := t.fingerprint()
	if err != nil {
		return "", err
	}
	settings, err := t.settings(ctx)
	if err != nil {
		return "", err
	}
	for _, word := range []string{"plan", "send"} {
		e, err := t.run(ctx, t.scatter(word))
		t.said = e.text
		if err != nil {
			return word + " hangs", err
		}
		if e.exit != 4 {
			return fmt.Sprintf("%s: %d", word, e.exit), causes(e)
		}
		if err := t.says(e); err != nil {
			return word + " says something else", err
		}
		if seen, err := t.untouched(ctx, files, settings); seen != "" || err != nil {
			return word + ": " + seen, err
		}
	}
	return string(Refused), nil
}

// says looks for a blocker with the row's words and remedy.
func (t *trial) says(e ending) error {
	var all []string
	for _, b := range e.blockers {
		if strings.Contains(b.Problem+b.VM, t.vm.name) && contains(b.Problem, t.row.Words) && contains(b.Remedy, t.row.Remedy) {
			return nil
		}
		all = append(all, fmt.Sprintf("%s: %q, remedy %q", b.VM, b.Problem, b.Remedy))
	}
	return errors.New(strings.Join(all, "; "))
}

func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// untouched says what differs from before, "" if nothing does.
func (t *trial) untouched(ctx context.Context, files map[string]string, settings string) (string, error) {
	if !t.alive() {
		return "the source's QEMU has ended", errors.New(t.vm.program.out.String())
	}
	now, err := look(ctx, t.vm.monitor, t.source.dir)
	if err != nil {
		return "", err
	}
	if now.status != t.before.status {
		return "the VM is " + now.status + " instead of " + t.before.status, nil
	}
	if d := differences(t.before, now); len(d) > 0 {
		return "the VM has changed", errors.New(strings.Join(d, "\n"))
	}
	after, err := t.fingerprint()
	if err != nil {
		return "", err
	}
	if !maps.Equal(files, after) {
		return "files have changed", fmt.Errorf("%v\n%v", files, after)
	}
	if s, err := t.settings(ctx); err != nil || s != settings {
		return "migration settings have changed", fmt.Errorf("%s\n%s\n%w", settings, s, err)
	}
	for _, h := range t.targets {
		if pids := h.qemus(); len(pids) > 0 {
			return "a QEMU is left on " + h.name, fmt.Errorf("processes %v", pids)
		}
	}
	return "", nil
}

// stays: the VM is named and goes on as it was; those beside it go.
func (t *trial) stays(ctx context.Context) (string, error) {
	settings, err := t.settings(ctx)
	if err != nil {
		return "", err
	}
	e, err := t.run(ctx, t.scatter("send", "--verify"))
	t.said = e.text
	if err != nil {
		return "send hangs", err
	}
	if !contains(e.text, t.row.Words) {
		return fmt.Sprintf("send: %d, says something else", e.exit), causes(e)
	}
	now, err := look(ctx, t.vm.monitor, t.source.dir)
	if err != nil {
		return "no look", err
	}
	if d := differences(t.before, now); len(d) > 0 || now.status != t.before.status {
		return "the VM has changed", errors.New(now.status + "\n" + strings.Join(d, "\n"))
	}
	if s, err := t.settings(ctx); err != nil || s != settings {
		return "migration settings have changed", fmt.Errorf("%s\n%s\n%w", settings, s, err)
	}
	for _, v := range t.beside {
		if !v.ends(ctx) {
			return v.name + " did not go", causes(e)
		}
	}
	return string(Stays), nil
}

// isPassedOver: nothing stands behind the socket; the others go.
func (t *trial) isPassedOver(ctx context.Context) (string, error) {
	e, err := t.run(ctx, t.scatter("send", "--verify"))
	t.said = e.text
	switch {
	case err != nil:
		return "send hangs", err
	case e.exit != 0 || !contains(e.text, t.row.Words) || !t.beside[0].ends(ctx):
		return fmt.Sprintf("send: %d", e.exit), causes(e)
	}
	return string(Stays), nil
}

// hasEnded: the VM has ended by itself, and the report says so.
func (t *trial) hasEnded(e ending) (string, error) {
	for _, h := range t.targets {
		if pids := h.qemus(); len(pids) > 0 {
			return fmt.Sprintf("send: %d, a QEMU is left on %s", e.exit, h.name), causes(e)
		}
	}
	if !contains(e.text, t.row.Words) || e.exit == 5 {
		return fmt.Sprintf("send: %d", e.exit), causes(e)
	}
	return string(Ended), nil
}
