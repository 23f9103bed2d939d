package scatter

import (
	"context"
	"fmt"
	"slices"

	"github.com/scatter-vm/scatter/placement"
)

// problem is what placement has to solve: the live VMs and targets, the operator's rules, and what targets refuse.
func (e *evacuation) problem() (*Problem, error) {
	p := &Problem{Objective: e.cfg.Objective, Capacity: e.cfg.Capacity, Balance: max(0, e.cfg.Balance), Budget: e.cfg.Budget, Seed: e.cfg.Seed,
		Partial: e.cfg.Partial, SourceBPS: 8 * e.expectedRate()}
	for _, v := range e.vms {
		p.VMs = append(p.VMs, placement.VM{Name: v.name(), Memory: int64(v.vm.MemoryBytes), VCPUs: v.vm.VCPUs})
	}
	for _, l := range e.links {
		p.Hosts = append(p.Hosts, placement.Host{Name: l.welcome.Name, Memory: l.welcome.Memory, VCPUs: l.welcome.VCPUs, Residents: l.welcome.VMs})
	}
	for _, c := range e.classes {
		p.Classes = append(p.Classes, placement.Class{VMs: c.vms, Bytes: c.bytes})
	}
	moves := vmsByName(p)
	for _, vm := range sortedKeys(e.cfg.Place) {
		if moves[vm] == nil {
			continue // it stays
		}
		p.Constraints = append(p.Constraints, Pin("--place "+vm+"="+e.cfg.Place[vm], vm, e.cfg.Place[vm]))
	}
	for h, l := range e.links {
		for _, v := range e.vms {
			if err := e.refused.of(question{h, v.number}); err != nil {
				p.Constraints = append(p.Constraints, placement.Constraint{Name: fmt.Sprintf("refusal of vm %s by %v", v.name(), err),
					Kind: placement.Exclude, VMs: []string{v.name()}, Hosts: []string{l.welcome.Name}})
			}
		}
	}
	var err error
	e.passed, err = e.cfg.Rules.Apply(p)
	return p, err
}

// Pin is the constraint that puts a VM on a certain host.
func Pin(name, vm, host string) Constraint {
	return Constraint{Name: name, Kind: placement.Pin, VMs: []string{vm}, Hosts: []string{host}}
}

// makePlan places the VMs and turns the placement into channels and steps.
func (e *evacuation) makePlan(ctx context.Context) error {
	placed, err := e.place(ctx)
	if err != nil {
		return err
	}
	for _, what := range e.passed {
		e.tell(Event{Type: "warning", Message: what})
	}
	for vm, h := range placed.Host {
		e.vms[vm].host = h
	}
	lim := groupLimits{base: e.cfg.GroupBase, port: e.cfg.GroupPort, max: e.cfg.MaxGroups, memberships: e.cfg.MaxMemberships, none: e.cfg.Unicast, rate: e.posed.SourceBPS / 8}
	if kept := e.cfg.Plan; kept != nil {
		lim.max, lim.memberships, lim.none, lim.keep = kept.Limits.Groups, kept.Limits.Memberships, kept.Limits.Unicast, kept.groupsFor(hostNames(e.posed))
	}
	e.plan, err = newPlan(hostNames(e.posed), placed.Host, e.classes, interleave(placed.Host), lim)
	if err != nil {
		return err
	}
	d := description{problem: e.posed, placed: placed, plan: e.plan, limits: lim}
	if d.forecast, err = e.forecast(); err != nil {
		return err
	}
	e.public = e.describe(d)
	e.placed.Store(true)
	return nil
}

// place finds a place for each VM, and has it tried there. What a target refuses then is a constraint of the next attempt. Each attempt
// but the last finds a refusal, so that there are not many; a VM that no target takes stays, and the rest is scanned anew.
func (e *evacuation) place(ctx context.Context) (*placement.Placement, error) {
	for {
		if err := e.pose(); err != nil {
			return nil, err
		}
		placed, err := e.solve(ctx)
		if err != nil {
			return nil, err
		}
		there := e.questions(func(host int, v *sourceVM) bool { return placed.Host[v.index] == host })
		if ok, err := e.try(ctx, there); ok || err != nil {
			return placed, err
		}
		moved := len(e.vms)
		if err := e.leave(e.refusedEverywhere()); err != nil {
			return nil, err
		}
		if len(e.vms) == moved {
			continue
		}
		if err := e.scan(ctx); err != nil {
			return nil, err
		}
	}
}

// pose sets the problem, with what a kept plan says of it.
func (e *evacuation) pose() (err error) {
	if e.posed, err = e.problem(); err != nil || e.cfg.Plan == nil {
		return err
	}
	return e.holdTo(e.cfg.Plan)
}

// solve places the VMs. Only those stay of which the operator or the kept plan has said so.
func (e *evacuation) solve(ctx context.Context) (*placement.Placement, error) {
	placed, err := placement.Solve(ctx, *e.posed)
	if blocked := asBlocked(err); blocked != nil {
		e.public = conflictPlan(err, blocked)
		e.public.Problem = e.posed
		return nil, blocked
	}
	if err != nil || e.cfg.Partial {
		return placed, err
	}
	var found problems
	for vm, h := range placed.Host {
		if name := e.posed.VMs[vm].Name; h < 0 && !slices.Contains(e.cfg.Plan.Unplaced, name) {
			found.add(Blocker{VM: name, Problem: "there is no room for it where the plan has it", Remedy: "make a new plan"})
		}
	}
	return placed, found.err()
}
