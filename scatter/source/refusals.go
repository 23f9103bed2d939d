package source

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/remedy"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// inquiry is which targets would take which VMs.
type inquiry struct {
	Party
	Refused refusals.Book
}

// judgeAll has each target judge each VM by what it says of itself, without starting anything.
func (e *inquiry) judgeAll(ctx context.Context) error {
	return e.ask(ctx, e.questions(func(int, *VM) bool { return true }), false)
}

// tryFixed has the targets try the VMs for which the operator has chosen them.
func (e *inquiry) tryFixed(ctx context.Context) error {
	_, err := e.try(ctx, e.questions(func(host int, v *VM) bool {
		name, there := v.Name(), e.Links[host].Name()
		return e.Cfg.Place[name] == there || e.Cfg.Plan != nil && e.Cfg.Plan.Placement[name] == there
	}))
	return err
}

// try has targets try the VMs that they are to get, and tells whether all take them. If one does not, that VM is tried by all targets and all VMs
// by that one, so that it is known where else they can go.
func (e *inquiry) try(ctx context.Context, planned []refusals.Question) (ok bool, err error) {
	if err := e.ask(ctx, planned, true); err != nil {
		return false, err
	}
	hosts, vms := make(map[int]bool), make(map[int]bool)
	for _, q := range planned {
		if e.Refused.Of(q) != nil {
			hosts[q.Host], vms[q.VM] = true, true
		}
	}
	if len(hosts) == 0 {
		return true, nil
	}
	others := e.questions(func(h int, v *VM) bool { return hosts[h] || vms[v.Number] })
	return false, e.ask(ctx, others, true)
}

// questions are those about VMs that are not refused, and not yet tried.
func (e *inquiry) questions(which func(host int, v *VM) bool) (all []refusals.Question) {
	for host := range e.Links {
		for _, v := range e.VMs {
			if q := (refusals.Question{Host: host, VM: v.Number}); which(host, v) && e.Refused.Open(q) {
				all = append(all, q)
			}
		}
	}
	return all
}

// ask asks the targets, which are to try the VMs or only to judge them, and waits for all answers.
func (e *inquiry) ask(ctx context.Context, questions []refusals.Question, try bool) error {
	e.Refused.Ask(questions, try)
	byNumber := make(map[int]*VM)
	for _, v := range e.VMs {
		byNumber[v.Number] = v
	}
	for _, q := range questions {
		l, v := e.Links[q.Host], byNumber[q.VM]
		err := roomFor(l, v)
		if err == nil {
			err = l.Conn.Send(v.ExamineMessage(e.Cfg.Force, try))
		}
		if err != nil {
			e.Refused.Answer(q, err)
		}
	}
	if err := e.awaitAnswers(ctx); err != nil {
		return err
	}
	for _, q := range questions {
		if why := e.Refused.WhyUntried(q); why != "" {
			name, host := byNumber[q.VM].Name(), e.Links[q.Host].Name()
			e.Tell(model.Event{Type: "warning", VM: name, Host: host, Message: fmt.Sprintf("vm %s was not tried on %s: %s", name, host, why)})
		}
		if why := e.Refused.WhyNoPostCopy(q); why != "" && byNumber[q.VM].Policy.Must && e.Refused.Of(q) == nil {
			e.Refused.Explain(q, &refusalError{host: e.Links[q.Host].Name(), why: why})
		}
		e.nameFlags(ctx, q, byNumber[q.VM])
	}
	return nil
}

// awaitAnswers waits for the answers to all that was asked.
func (e *inquiry) awaitAnswers(ctx context.Context) error {
	silence := time.NewTimer(examineTimeout)
	defer silence.Stop()
	for {
		select {
		case <-e.Refused.Done():
			return nil
		case <-e.Refused.News():
			silence.Reset(examineTimeout)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-silence.C:
			for host, l := range e.Links {
				e.Refused.HostLost(host, fmt.Errorf("%s: does not answer preflight's questions: see the log of 'scatter recv' there", l.Name()))
			}
		}
	}
}

// refusedEverywhere finds the VMs that no target takes, or not the one that the operator has chosen.
func (e *inquiry) refusedEverywhere() [][]model.Blocker {
	why := make([][]model.Blocker, len(e.VMs))
	for i, v := range e.VMs {
		if all := e.Refused.Everywhere(v.Number, len(e.Links)); len(all) > 0 {
			why[i] = []model.Blocker{{VM: v.Name(), Problem: "no target takes it: " + strings.Join(all, "; "), Remedy: remedy.ForAll(all)}}
			continue
		}
		for host, l := range e.Links {
			if err := e.Refused.Of(refusals.Question{Host: host, VM: v.Number}); err != nil && e.Cfg.Place[v.Name()] == l.Name() {
				why[i] = []model.Blocker{{VM: v.Name(), Host: l.Name(), Problem: "is placed there, but is refused: " + err.Error(), Remedy: remedy.For(err.Error())}}
			}
		}
	}
	return why
}

// ExamineMessage describes the VM to a target that is to judge it, or to try it as well. An operator who forces it says that the disks are the same.
func (v *VM) ExamineMessage(force, try bool) control.Examine {
	p := v.PrepareMessage()
	if v.perhaps != nil {
		p.Disks = newDisks(v.perhaps, true)
	}
	m := control.Examine{VM: v.Number, Name: p.Name, Argv: p.Argv, Machine: p.Machine, Disks: p.Disks}
	if !force {
		m.Written = v.written
	}
	if !try {
		return m
	}
	m.Header, m.PostCopy = p.Header, p.PostCopy
	for _, w := range v.cpu {
		m.CPU = append(m.CPU, control.CPUWord{EAX: w.EAX, ECX: w.ECX, Register: w.Register, Bits: w.Features})
	}
	return m
}

// refusalError is why a target would not take a VM.
type refusalError struct {
	host, why string
	off       []string // switches of the processor there that are off, where that is why
	flags     []string // of these: what the VM's processor has
}

func (e *refusalError) Error() string {
	if len(e.flags) > 0 {
		return fmt.Sprintf("%s: its processor lacks flags that the VM's has: %s", e.host, strings.Join(e.flags, ", "))
	}
	return e.host + ": " + e.why
}

// nameFlags finds QEMU's names of the processor's flags that a target lacks.
func (e *inquiry) nameFlags(ctx context.Context, q refusals.Question, v *VM) {
	refusal, ok := e.Refused.Of(q).(*refusalError)
	if !ok || len(refusal.off) == 0 {
		return
	}
	on, _, err := v.CPUFlags(ctx, refusal.off...)
	if err != nil {
		e.Log.Warn("flags of its processor cannot be named", "vm", v.Name(), "err", err)
		return
	}
	e.Refused.Explain(q, &refusalError{host: refusal.host, why: refusal.why, flags: on})
}

// examineTimeout is how long preflight waits for another answer of the targets. Each bounds its tries to less.
const examineTimeout = model.TryMost + model.TryTimeout

// roomFor tells whether the target could take the VM if it were the only one.
func roomFor(l *wire.Link, v *VM) error {
	switch memory := int64(v.Facts.MemoryBytes); {
	case slices.Contains(l.Welcome.VMs, v.Name()):
		return fmt.Errorf("%s: a VM of this name is there already", l.Name())
	case memory > l.Welcome.Memory:
		return fmt.Errorf("%s: no room: %d MiB wanted, %d MiB free (recv --memory)", l.Name(), memory>>20, l.Welcome.Memory>>20)
	case l.Welcome.VCPUs > 0 && v.Facts.VCPUs > l.Welcome.VCPUs:
		return fmt.Errorf("%s: no room: %d vcpus wanted, %d free (recv --vcpus)", l.Name(), v.Facts.VCPUs, l.Welcome.VCPUs)
	}
	return nil
}

// Examined takes a target's answer to a question.
func (e *inquiry) Examined(host int, m control.Examined) {
	var err error
	if m.Error != "" {
		err = &refusalError{host: e.Links[host].Name(), why: m.Error, off: m.Off}
	}
	e.Refused.Share(refusals.Question{Host: host, VM: m.VM}, m.Shared)
	if err == nil {
		e.Refused.Note(refusals.Question{Host: host, VM: m.VM}, m.Untried, m.NoPostCopy)
	}
	e.Refused.Answer(refusals.Question{Host: host, VM: m.VM}, err)
}
