package scatter

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// problem is what placement has to solve: the live VMs and targets, the operator's rules, and what targets refuse.
func (e *planned) problem() (*planning.Problem, error) {
	p := &planning.Problem{Objective: e.cfg.Objective, Capacity: e.cfg.Capacity, Balance: max(0, e.cfg.Balance), Budget: e.cfg.Budget, Seed: e.cfg.Seed,
		Partial: e.cfg.Partial, SourceBPS: 8 * e.expectedRate()}
	for _, v := range e.vms {
		p.VMs = append(p.VMs, placement.VM{Name: v.name(), Memory: int64(v.vm.MemoryBytes), VCPUs: v.vm.VCPUs})
	}
	for _, l := range e.links {
		p.Hosts = append(p.Hosts, placement.Host{Name: l.Welcome.Name, Memory: l.Welcome.Memory, VCPUs: l.Welcome.VCPUs, Residents: l.Welcome.VMs})
	}
	for _, c := range e.classes {
		p.Classes = append(p.Classes, placement.Class{VMs: c.VMs, Bytes: c.Bytes})
	}
	moves := planning.VMsByName(p)
	for _, vm := range slices.Sorted(maps.Keys(e.cfg.Place)) {
		if moves[vm] == nil {
			continue // it stays
		}
		p.Constraints = append(p.Constraints, planning.Pin("--place "+vm+"="+e.cfg.Place[vm], vm, e.cfg.Place[vm]))
	}
	for h, l := range e.links {
		for _, v := range e.vms {
			if err := e.refused.of(question{h, v.number}); err != nil {
				p.Constraints = append(p.Constraints, placement.Constraint{Name: fmt.Sprintf("refusal of vm %s by %v", v.name(), err),
					Kind: placement.Exclude, VMs: []string{v.name()}, Hosts: []string{l.Welcome.Name}})
			}
		}
	}
	var err error
	e.passed, err = e.cfg.Rules.Apply(p)
	return p, err
}

// makePlan places the VMs and turns the placement into channels and steps.
func (e *planned) makePlan(ctx context.Context) error {
	placed, err := e.place(ctx)
	if err != nil {
		return err
	}
	for _, what := range e.passed {
		e.tell(model.Event{Type: "warning", Message: what})
	}
	for vm, h := range placed.Host {
		e.vms[vm].host = h
	}
	lim := planning.GroupLimits{Base: e.cfg.GroupBase, Port: e.cfg.GroupPort, Max: e.cfg.MaxGroups, Memberships: e.cfg.MaxMemberships, None: e.cfg.Unicast, Rate: e.posed.SourceBPS / 8}
	if kept := e.cfg.Plan; kept != nil {
		lim.Max, lim.Memberships, lim.None, lim.Keep = kept.Limits.Groups, kept.Limits.Memberships, kept.Limits.Unicast, kept.GroupsFor(planning.HostNames(e.posed))
	}
	e.schedule, err = planning.NewSchedule(planning.HostNames(e.posed), placed.Host, e.classes, planning.Interleave(placed.Host), lim)
	if err != nil {
		return err
	}
	d := planning.Description{Problem: e.posed, Placed: placed, Schedule: e.schedule, Limits: lim}
	if d.Forecast, err = e.forecast(); err != nil {
		return err
	}
	e.public = e.describe(d)
	return nil
}

// place finds a place for each VM, and has it tried there. What a target refuses then is a constraint of the next attempt. Each attempt
// but the last finds a refusal, so that there are not many; a VM that no target takes stays, and the rest is scanned anew.
func (e *planned) place(ctx context.Context) (*placement.Placement, error) {
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
func (e *planned) pose() (err error) {
	if e.posed, err = e.problem(); err != nil || e.cfg.Plan == nil {
		return err
	}
	return e.holdTo(e.cfg.Plan)
}

// solve places the VMs. Only those stay of which the operator or the kept plan has said so.
func (e *planned) solve(ctx context.Context) (*placement.Placement, error) {
	placed, err := placement.Solve(ctx, *e.posed)
	if blocked := planning.AsBlocked(err); blocked != nil {
		e.public = planning.ConflictPlan(err, blocked)
		e.public.Problem = e.posed
		return nil, blocked
	}
	if err != nil || e.cfg.Partial {
		return placed, err
	}
	var found model.Problems
	for vm, h := range placed.Host {
		if name := e.posed.VMs[vm].Name; h < 0 && !slices.Contains(e.cfg.Plan.Unplaced, name) {
			found.Add(model.Blocker{VM: name, Problem: "there is no room for it where the plan has it", Remedy: "make a new plan"})
		}
	}
	return placed, found.Err()
}

// describe adds what only live VMs and targets know.
func (e *planned) describe(d planning.Description) *planning.Plan {
	out := d.Render()
	out.Pages, out.Stays = e.pages, e.blockers()
	for i, l := range e.links {
		out.Hosts[i].Address = l.Target.Addr.String()
	}
	for i, v := range e.vms {
		out.VMs[i].Pages = e.pagesOf[i]
		if e.cfg.Place[v.name()] != "" {
			out.VMs[i].Reason = "placed by the operator"
		}
	}
	return out
}

// holdTo puts the VMs where a kept plan has them. What has changed since is a blocker, unless the operator forces it: then what the plan
// does not cover any more is planned anew.
func (e *planned) holdTo(kept *planning.Plan) error {
	changes := planning.Drift(kept, e.posed)
	for i := range changes {
		if s := e.stayer(changes[i].VM); s != nil {
			changes[i].Problem = "is in the plan, but cannot move: " + s.cause()
		}
	}
	if len(changes) > 0 && !e.cfg.Force {
		remedy := "make a new plan, or send with --force"
		for i := range changes {
			changes[i].Remedy = remedy
		}
		return &model.BlockedError{Blockers: changes}
	}
	for _, c := range changes {
		e.tell(model.Event{Type: "warning", VM: c.VM, Host: c.Host, Message: "the plan does not hold any more: " + c.String()})
	}
	vms, hosts := planning.VMsByName(e.posed), planning.HostsByName(e.posed)
	e.posed.Balance = 0 // it was thought of when the plan was made
	for _, vm := range slices.Sorted(maps.Keys(kept.Placement)) {
		host := kept.Placement[vm]
		if vms[vm] != nil && hosts[host] != nil {
			e.posed.Constraints = append(e.posed.Constraints, planning.Pin("plan: "+vm+" on "+host, vm, host))
		}
	}
	planning.KeepOut(e.posed, kept.Unplaced)
	return nil
}

// forecast is the forecast of the evacuation's plan.
func (e *planned) forecast() (planning.Forecast, error) {
	packed, err := e.sample()
	if err != nil {
		return planning.Forecast{}, err
	}
	f := planning.Forecaster{Schedule: e.schedule, Packed: packed, Rate: float64(e.posed.SourceBPS / 8), Parallel: e.cfg.Parallel, Workers: e.bulkWorkers(), Limit: e.cfg.Downtime,
		Begin: (time.Since(e.started) + planning.PrepareTime).Seconds()}
	for vm, v := range e.vms {
		n := e.pagesOf[vm]
		f.VMs = append(f.VMs, planning.ForecastVM{Host: v.host, Memory: float64((n.Total - n.Zero) * model.PageSize), Hot: float64(e.hot[vm]), Gap: e.gap.Seconds()})
	}
	return f.Run(), nil
}

// checkPlaces checks that the operator's placement names VMs and hosts that exist.
func checkPlaces(p *model.Problems, place map[string]string, vms []string, links []*wire.Link) {
	for _, vm := range slices.Sorted(maps.Keys(place)) {
		if !slices.Contains(vms, vm) {
			p.Add(model.Blocker{VM: vm, Problem: "is placed, but is not among the VMs to move"})
		}
		if !slices.ContainsFunc(links, func(l *wire.Link) bool { return l.Welcome.Name == place[vm] }) {
			p.Add(model.Blocker{VM: vm, Host: place[vm], Problem: "is placed on a host that is not among the targets"})
		}
	}
}

// planned is where VMs go, and how their contents get there.
type planned struct {
	scanned
	posed    *planning.Problem
	passed   []string // rules that do not apply
	schedule *planning.Schedule
	public   *planning.Plan
}
