//go:build lab

package compat

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// rowTime bounds one row. Nothing is asserted on time: a row that is not done by then hangs.
const rowTime = 90 * time.Second

// trial is one row on its way.
type trial struct {
	row     Row
	dir     string
	source  *host
	targets []*host
	vm      *vm
	beside  []*vm
	before  sight // of the VM before send
	said    string
}

// prepare makes files, hosts and VMs.
func (t *trial) prepare(ctx context.Context) (err error) {
	if err := os.MkdirAll(filepath.Join(t.dir, "shared"), 0o755); err != nil {
		return err
	}
	if t.source, err = newHost(t.dir, sourceName); err != nil {
		return err
	}
	if err := t.makeFiles(ctx); err != nil {
		return err
	}
	if err := t.startTargets(ctx); err != nil {
		return err
	}
	options := t.fill(t.row.Options)
	if t.row.Paused {
		options = append(options, "-S")
	}
	if t.vm, err = t.source.startVM(ctx, "vm", t.row.QEMU, options); err != nil {
		return err
	}
	for i, o := range t.row.Beside {
		v, err := t.source.startVM(ctx, fmt.Sprintf("beside%d", i+1), "", t.fill(o))
		if err != nil {
			return err
		}
		t.beside = append(t.beside, v)
	}
	if !t.row.Restless {
		if err := await(ctx, "the firmware", func() error { return t.vm.hasBooted(ctx) }); err != nil {
			return err
		}
	}
	return t.vm.do(ctx, t.filled(t.row.Do))
}

func (t *trial) startTargets(ctx context.Context) error {
	targets := t.row.Targets
	if targets == nil {
		targets = []Target{{}}
	}
	for i, w := range targets {
		h, err := newHost(t.dir, fmt.Sprintf("target%d", i+1))
		if err != nil {
			return err
		}
		t.targets = append(t.targets, h)
		if err := h.copyFiles(t.source, strings.Fields(strings.Join(w.Lacks, " "))); err != nil {
			return err
		}
		qemu := ""
		if w.QEMU != "" || t.row.QEMU != "" {
			if qemu, err = emulator(w.QEMU); err != nil {
				return err
			}
		}
		if err := h.receive(ctx, t.dir, t.source, qemu, w.Hides, t.fill(w.Args)...); err != nil {
			return err
		}
	}
	return nil
}

// fill replaces the variables of a text and splits it into words.
func (t *trial) fill(s string) []string { return strings.Fields(t.filled([]string{s})[0]) }

func (t *trial) filled(texts []string) (all []string) {
	r := strings.NewReplacer("$SHARED", filepath.Join(t.dir, "shared"), "$LOCAL", t.source.dir)
	for _, s := range texts {
		all = append(all, r.Replace(s))
	}
	return all
}

func (t *trial) makeFiles(ctx context.Context) error {
	for _, f := range t.filled(t.row.Files) {
		if err := os.WriteFile(f, bytes.Repeat([]byte("what a file holds, "), 1<<19)[:8<<20], 0o644); err != nil {
			return err
		}
	}
	for _, image := range t.row.Images {
		argv := append([]string{"qemu-img", "create", "-q"}, t.fill(image)...)
		if _, stderr, exit, err := command(ctx, argv...); err != nil || exit != 0 {
			return fmt.Errorf("%v: exit %d, %w: %s", argv, exit, err, stderr)
		}
	}
	if t.row.Spoilt != "" {
		return spoil(t.fill(t.row.Spoilt)[0])
	}
	return nil
}

func (t *trial) end() {
	for _, h := range t.targets {
		h.dismiss()
	}
	for _, v := range append([]*vm{t.vm}, t.beside...) {
		if v != nil && v.program != nil {
			v.end()
		}
	}
}

// scatter is a command of plan or send for the row.
func (t *trial) scatter(word string, flags ...string) []string {
	argv := []string{world.program, word, "--json", "--interface", "lo", "--unicast", "--tls-dir", tlsDir(sourceName), "--run-dir", t.source.run}
	if t.beside == nil {
		argv = append(argv, "--vm", t.vm.qmp)
	} else {
		argv = append(argv, "--discover", filepath.Join(t.source.run, "*.qmp"))
	}
	for _, h := range t.targets {
		argv = append(argv, "--to", h.name+"="+h.addr)
	}
	return append(append(argv, t.fill(t.row.Send)...), flags...)
}

// ending is the exit object, and what else is of use of what a command has said.
type ending struct {
	exit     int
	blockers []blocker
	warnings []string
	report   report
	planned  []planned // VMs of the plan
	text     string
}

type blocker struct{ VM, Host, Problem, Remedy string }

type planned struct {
	Name, Host string
	VCPUs      int
}

type report struct{ VMs []reported }

type reported struct {
	Name, Host, State, Cause string
	Verified                 bool
}

// scatter runs to the end of a command.
func (t *trial) run(ctx context.Context, argv []string) (ending, error) {
	stdout, stderr, exit, err := command(ctx, argv...)
	return read(stdout, stderr, exit), err
}

func read(stdout, stderr []byte, exit int) ending {
	e := ending{exit: exit, text: string(stdout) + string(stderr)}
	for _, m := range lines[struct {
		Type, Message string
		VM, Host      string
		Blockers      []blocker
		VMs           json.RawMessage
	}](append(slices.Clone(stdout), stderr...)) {
		switch m.Type {
		case "exit":
			e.blockers = append(e.blockers, m.Blockers...)
		case "warning":
			e.warnings = append(e.warnings, m.VM+": "+m.Message)
		case "report":
			_ = json.Unmarshal(m.VMs, &e.report.VMs) // an evacuation of nothing has none
		case "plan":
			_ = json.Unmarshal(m.VMs, &e.planned) // likewise
		}
	}
	return e
}

// fingerprint is the contents of all files of the row but for logs, sockets and what belongs to scatter.
func (t *trial) fingerprint() (map[string]string, error) {
	prints := make(map[string]string)
	err := filepath.WalkDir(t.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || strings.Contains(path, "-run/") {
			return err
		}
		b, err := os.ReadFile(path)
		prints[path] = fmt.Sprintf("%d bytes, %x", len(b), sha256.Sum256(b))
		return err
	})
	return prints, err
}

// test does what the row says and returns what was seen, which is the verdict if all is well.
func (t *trial) test(ctx context.Context) (seen string, err error) {
	if err := t.prepare(ctx); err != nil {
		return "no start", err
	}
	if t.vm.program.ended() { // only its socket is of interest
		return t.isPassedOver(ctx)
	}
	if t.before, err = look(ctx, t.vm.monitor, t.source.dir); err != nil {
		return "no look", err
	}
	switch t.row.Verdict {
	case Refused:
		return t.isRefused(ctx)
	case Stays:
		return t.stays(ctx)
	}
	plan, err := t.run(ctx, t.scatter("plan"))
	if err != nil {
		return "plan hangs", err
	}
	t.said = plan.text
	if plan.exit != 0 {
		return fmt.Sprintf("plan: %d", plan.exit), causes(plan)
	}
	if t.row.VCPUs != 0 && (len(plan.planned) != 1 || plan.planned[0].VCPUs != t.row.VCPUs) {
		return "plan shows other vCPUs", fmt.Errorf("%+v", plan.planned)
	}
	return t.goes(ctx)
}

// TestLabRows tests every row.
func TestLabRows(t *testing.T) {
	for i, p := range Parts() {
		for j, r := range p.Rows {
			t.Run(p.Title+"/"+r.Name, func(t *testing.T) {
				t.Parallel()
				for _, n := range r.needs() {
					if why := n.missing(); why != "" {
						t.Skip(why)
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), rowTime)
				defer cancel()
				tr := &trial{row: r, dir: filepath.Join(world.dir, fmt.Sprintf("%d.%d", i, j))}
				defer tr.end()
				seen, err := tr.test(ctx)
				if err != nil || seen != string(r.Verdict) {
					note(p, r, seen, err)
					t.Errorf("seen: %s, not %s: %v", seen, r.Verdict, err)
					tr.tell(t)
				}
			})
		}
	}
}

func (t *trial) tell(to *testing.T) {
	to.Log(t.said)
	for _, h := range t.targets {
		if h.recv != nil {
			to.Log(h.name, h.recv.out.String())
		}
	}
}

// alive tells whether the source's QEMU lives.
func (t *trial) alive() bool {
	return t.vm.program.cmd.Process.Signal(syscall.Signal(0)) == nil && !t.vm.program.ended()
}

// only finds the QEMU of the VM on the targets.
func (t *trial) found(ctx context.Context) (on *host, m *witness.Monitor, err error) {
	for _, h := range t.targets {
		if len(h.qemus()) == 0 {
			continue
		}
		if on != nil {
			return nil, nil, errors.New("it is on two targets")
		}
		on = h
	}
	if on == nil {
		return nil, nil, errors.New("it is on no target")
	}
	m, err = witness.Dial(ctx, filepath.Join(on.run, t.vm.name+".qmp"))
	return on, m, err
}
