package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/remedy"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// inquiry is which targets would take which VMs.
type inquiry struct {
	Party
	Refused refusals
}

// question is what a target is asked: would it take this VM? The VM has the number that it had first.
type question struct{ host, vm int }

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
func (e *inquiry) try(ctx context.Context, planned []question) (ok bool, err error) {
	if err := e.ask(ctx, planned, true); err != nil {
		return false, err
	}
	hosts, vms := make(map[int]bool), make(map[int]bool)
	for _, q := range planned {
		if e.Refused.of(q) != nil {
			hosts[q.host], vms[q.vm] = true, true
		}
	}
	if len(hosts) == 0 {
		return true, nil
	}
	others := e.questions(func(h int, v *VM) bool { return hosts[h] || vms[v.Number] })
	return false, e.ask(ctx, others, true)
}

// questions are those about VMs that are not refused, and not yet tried.
func (e *inquiry) questions(which func(host int, v *VM) bool) (all []question) {
	for host := range e.Links {
		for _, v := range e.VMs {
			if q := (question{host, v.Number}); which(host, v) && e.Refused.open(q) {
				all = append(all, q)
			}
		}
	}
	return all
}

// ask asks the targets, which are to try the VMs or only to judge them, and waits for all answers.
func (e *inquiry) ask(ctx context.Context, questions []question, try bool) error {
	e.Refused.ask(questions, try)
	byNumber := make(map[int]*VM)
	for _, v := range e.VMs {
		byNumber[v.Number] = v
	}
	for _, q := range questions {
		l, v := e.Links[q.host], byNumber[q.vm]
		err := roomFor(l, v)
		if err == nil {
			err = l.Conn.Send(v.ExamineMessage(e.Cfg.Force, try))
		}
		if err != nil {
			e.Refused.answer(q, err)
		}
	}
	if err := e.awaitAnswers(ctx); err != nil {
		return err
	}
	for _, q := range questions {
		if why := e.Refused.whyUntried(q); why != "" {
			name, host := byNumber[q.vm].Name(), e.Links[q.host].Name()
			e.Tell(model.Event{Type: "warning", VM: name, Host: host, Message: fmt.Sprintf("vm %s was not tried on %s: %s", name, host, why)})
		}
		if why := e.Refused.whyNoPostCopy(q); why != "" && byNumber[q.vm].Policy.Must && e.Refused.of(q) == nil {
			e.Refused.explain(q, &refusalError{host: e.Links[q.host].Name(), why: why})
		}
		e.nameFlags(ctx, q, byNumber[q.vm])
	}
	return nil
}

// awaitAnswers waits for the answers to all that was asked.
func (e *inquiry) awaitAnswers(ctx context.Context) error {
	silence := time.NewTimer(examineTimeout)
	defer silence.Stop()
	for {
		select {
		case <-e.Refused.done:
			return nil
		case <-e.Refused.news:
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
		if all := e.Refused.everywhere(v.Number, len(e.Links)); len(all) > 0 {
			why[i] = []model.Blocker{{VM: v.Name(), Problem: "no target takes it: " + strings.Join(all, "; "), Remedy: remedy.ForAll(all)}}
			continue
		}
		for host, l := range e.Links {
			if err := e.Refused.of(question{host, v.Number}); err != nil && e.Cfg.Place[v.Name()] == l.Name() {
				why[i] = []model.Blocker{{VM: v.Name(), Host: l.Name(), Problem: "is placed there, but is refused: " + err.Error(), Remedy: remedy.For(err.Error())}}
			}
		}
	}
	return why
}

// ExamineMessage describes the VM to a target that is to judge it, or to try it as well. An operator who forces it says that the disks are the same.
func (v *VM) ExamineMessage(force, try bool) control.Examine {
	p := v.PrepareMessage()
	m := control.Examine{VM: v.Number, Name: p.Name, Argv: p.Argv, Machine: p.Machine}
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
func (e *inquiry) nameFlags(ctx context.Context, q question, v *VM) {
	refusal, ok := e.Refused.of(q).(*refusalError)
	if !ok || len(refusal.off) == 0 {
		return
	}
	on, _, err := v.CPUFlags(ctx, refusal.off...)
	if err != nil {
		e.Log.Warn("flags of its processor cannot be named", "vm", v.Name(), "err", err)
		return
	}
	e.Refused.explain(q, &refusalError{host: refusal.host, why: refusal.why, flags: on})
}

// examineTimeout is how long preflight waits for another answer of the targets. Each bounds its tries to less.
const examineTimeout = model.TryMost + model.TryTimeout

// refusals keeps which targets would not take which VMs.
type refusals struct {
	mu      sync.Mutex // guards the fields below
	why     map[question]error
	tried   map[question]bool
	untried map[question]string // why
	noPost  map[question]string // why the VM must have all of its memory there before it runs
	asked   map[question]bool   // that have no answer yet
	done    chan struct{}       // closed when every answer is there
	news    chan struct{}       // gets something, now and then, while answers come
}

// Ask begins to wait for the answers to questions. try: they are about more than a judgement, and need not be asked again.
func (r *refusals) ask(questions []question, try bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil {
		r.why, r.tried, r.untried, r.noPost = make(map[question]error), make(map[question]bool), make(map[question]string), make(map[question]string)
	}
	r.asked, r.done, r.news = make(map[question]bool), make(chan struct{}), make(chan struct{}, 1)
	for _, q := range questions {
		r.asked[q] = true
		if try {
			r.tried[q] = true
		}
	}
	if len(questions) == 0 {
		close(r.done)
	}
}

// open tells whether it makes sense to ask: the VM is not refused there, and was not tried.
func (r *refusals) open(q question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[q] == nil && !r.tried[q]
}

// answer takes the answer to a question; nil = the host takes the VM. Only the first counts, and only if it was asked.
func (r *refusals) answer(q question, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.asked[q] {
		return
	}
	delete(r.asked, q)
	if err != nil {
		r.why[q] = err
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	if len(r.asked) == 0 {
		close(r.done)
	}
}

// note keeps why a host has not tried a VM that it is asked about, and why it does not take it by post-copy.
func (r *refusals) note(q question, untried, noPost string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[q] {
		r.untried[q], r.noPost[q] = untried, noPost
	}
}

// whyNoPostCopy is why a host takes a VM only with all of its memory; "" if it need not, or was not asked.
func (r *refusals) whyNoPostCopy(q question) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noPost[q]
}

// whyUntried is why a host has not tried a VM; "" if it has.
func (r *refusals) whyUntried(q question) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.untried[q]
}

// explain replaces a refusal by one that says more.
func (r *refusals) explain(q question, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why[q] = err
}

// HostLost refuses all that a host has not answered.
func (r *refusals) HostLost(host int, err error) {
	r.mu.Lock()
	asked := slices.Collect(maps.Keys(r.asked))
	r.mu.Unlock()
	for _, q := range asked {
		if q.host == host {
			r.answer(q, err)
		}
	}
}

// of is why a host refuses a VM, or nil.
func (r *refusals) of(q question) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[q]
}

// everywhere is the reasons of all hosts if every one refuses vm, else nothing.
func (r *refusals) everywhere(vm, hosts int) []string {
	var all []string
	for h := range hosts {
		err := r.of(question{h, vm})
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return all
}

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
	if err == nil {
		e.Refused.note(question{host, m.VM}, m.Untried, m.NoPostCopy)
	}
	e.Refused.answer(question{host, m.VM}, err)
}
