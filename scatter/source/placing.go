package source

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/refusals"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// Planned is where VMs go, and how their contents get there.
type Planned struct {
	Scanned
	posed    *planning.Problem
	passed   []string // rules that do not apply
	Schedule *planning.Schedule
	Public   *planning.Plan
}

// problem is what placement has to solve: the live VMs and targets, the operator's rules, and what targets refuse.
func (e *Planned) problem() (*planning.Problem, error) {
	p := &planning.Problem{Objective: e.Cfg.Objective, Capacity: e.Cfg.Capacity, Balance: max(0, e.Cfg.Balance), Budget: e.Cfg.Budget, Seed: e.Cfg.Seed,
		Partial: e.Cfg.Partial, SourceBPS: 8 * e.ExpectedRate()}
	for _, v := range e.VMs {
		p.VMs = append(p.VMs, placement.VM{Name: v.Name(), Memory: int64(v.Facts.MemoryBytes), VCPUs: v.Facts.VCPUs})
	}
	for _, l := range e.Links {
		p.Hosts = append(p.Hosts, placement.Host{Name: l.Welcome.Name, Memory: l.Welcome.Memory, VCPUs: l.Welcome.VCPUs, Residents: l.Welcome.VMs})
	}
	for _, c := range e.Classes {
		p.Classes = append(p.Classes, placement.Class{VMs: c.VMs, Bytes: c.Bytes})
	}
	moves := planning.VMsByName(p)
	for _, vm := range slices.Sorted(maps.Keys(e.Cfg.Place)) {
		if moves[vm] == nil {
			continue // it stays
		}
		p.Constraints = append(p.Constraints, planning.Pin("--place "+vm+"="+e.Cfg.Place[vm], vm, e.Cfg.Place[vm]))
	}
	for h, l := range e.Links {
		for _, v := range e.VMs {
			if err := e.Refused.Of(refusals.Question{Host: h, VM: v.Number}); err != nil {
				p.Constraints = append(p.Constraints, placement.Constraint{Name: fmt.Sprintf("refusal of vm %s by %v", v.Name(), err),
					Kind: placement.Exclude, VMs: []string{v.Name()}, Hosts: []string{l.Welcome.Name}})
			}
		}
	}
	var err error
	e.passed, err = e.Cfg.Rules.Apply(p)
	return p, err
}

// MakePlan places the VMs and turns the placement into channels and steps.
func (e *Planned) MakePlan(ctx context.Context) error {
	e.countTraffic()
	placed, err := e.place(ctx)
	if err != nil {
		return err
	}
	for _, what := range e.passed {
		e.Tell(model.Event{Type: "warning", Message: what})
	}
	for vm, h := range placed.Host {
		e.VMs[vm].Host = h
	}
	if err := e.settle(); err != nil {
		return err
	}
	lim := planning.GroupLimits{Base: e.Cfg.GroupBase, Port: e.Cfg.GroupPort, Max: e.Cfg.MaxGroups, Memberships: e.Cfg.MaxMemberships, None: e.Cfg.Unicast, Rate: e.posed.SourceBPS / 8}
	if kept := e.Cfg.Plan; kept != nil {
		lim.Max, lim.Memberships, lim.None, lim.Keep = kept.Limits.Groups, kept.Limits.Memberships, kept.Limits.Unicast, kept.GroupsFor(planning.HostNames(e.posed))
	}
	e.Schedule, err = planning.NewSchedule(planning.HostNames(e.posed), placed.Host, e.Classes, planning.Interleave(placed.Host), lim)
	if err != nil {
		return err
	}
	d := planning.Description{Problem: e.posed, Placed: placed, Schedule: e.Schedule, Limits: lim}
	if d.Forecast, err = e.forecast(); err != nil {
		return err
	}
	e.Public = e.describe(d)
	if took := d.Forecast.Time(); e.Cfg.Deadline > 0 && took > e.Cfg.Deadline {
		e.Tell(model.Event{Type: "warning", Message: fmt.Sprintf("this host is to be empty after %v, and is expected to be after %v", e.Cfg.Deadline, took.Round(time.Second))})
	}
	return nil
}

// place finds a place for each VM, and has it tried there. What a target refuses then is a constraint of the next attempt. Each attempt
// but the last finds a refusal, so that there are not many; a VM that no target takes stays, and the rest is scanned anew.
func (e *Planned) place(ctx context.Context) (*placement.Placement, error) {
	for {
		if err := e.pose(); err != nil {
			return nil, err
		}
		placed, err := e.solve(ctx)
		if err != nil {
			return nil, err
		}
		there := e.questions(func(host int, v *VM) bool { return placed.Host[v.Index] == host })
		if ok, err := e.try(ctx, there); ok || err != nil {
			return placed, err
		}
		moved := len(e.VMs)
		if err := e.leave(e.refusedEverywhere()); err != nil {
			return nil, err
		}
		if len(e.VMs) == moved {
			continue
		}
		if err := e.Scan(ctx); err != nil {
			return nil, err
		}
	}
}

// pose sets the problem, with what a kept plan says of it.
func (e *Planned) pose() (err error) {
	if e.posed, err = e.problem(); err != nil || e.Cfg.Plan == nil {
		return err
	}
	return e.holdTo(e.Cfg.Plan)
}

// solve places the VMs. Only those stay of which the operator or the kept plan has said so.
func (e *Planned) solve(ctx context.Context) (*placement.Placement, error) {
	placed, err := placement.Solve(ctx, *e.posed)
	if blocked := planning.AsBlocked(err); blocked != nil {
		e.Public = planning.ConflictPlan(err, blocked)
		e.Public.Problem = e.posed
		return nil, blocked
	}
	if err != nil || e.Cfg.Partial {
		return placed, err
	}
	var found model.Problems
	for vm, h := range placed.Host {
		if name := e.posed.VMs[vm].Name; h < 0 && !slices.Contains(e.Cfg.Plan.Unplaced, name) {
			found.Add(model.Blocker{VM: name, Problem: "there is no room for it where the plan has it", Remedy: "make a new plan"})
		}
	}
	return placed, found.Err()
}

// describe adds what only live VMs and targets know.
func (e *Planned) describe(d planning.Description) *planning.Plan {
	out := d.Render()
	out.Pages, out.Stays = e.Pages, e.Blockers()
	for i, l := range e.Links {
		out.Hosts[i].Address = l.Target.Addr.String()
		if t := l.Welcome.Traffic; t != nil {
			out.Hosts[i].SendsBPS, out.Hosts[i].ReceivesBPS = new(8*t.Sent), new(8*t.Received)
		}
	}
	for i, v := range e.VMs {
		out.VMs[i].Pages, out.VMs[i].DiskBytes = e.PagesOf[i], v.diskBytes()
		e.sayMode(&out.VMs[i], v)
		if e.Cfg.Place[v.Name()] != "" {
			out.VMs[i].Reason = "placed by the operator"
		}
	}
	return out
}

// holdTo puts the VMs where a kept plan has them. What has changed since is a blocker, unless the operator forces it: then what the plan
// does not cover any more is planned anew.
func (e *Planned) holdTo(kept *planning.Plan) error {
	changes := planning.Drift(kept, e.posed)
	for i := range changes {
		if s := e.stayer(changes[i].VM); s != nil {
			changes[i].Problem = "is in the plan, but cannot move: " + s.Cause()
		}
	}
	if len(changes) > 0 && !e.Cfg.Force {
		remedy := "make a new plan, or send with --force"
		for i := range changes {
			changes[i].Remedy = remedy
		}
		return &model.BlockedError{Blockers: changes}
	}
	for _, c := range changes {
		e.Tell(model.Event{Type: "warning", VM: c.VM, Host: c.Host, Message: "the plan does not hold any more: " + c.String()})
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
func (e *Planned) forecast() (planning.Forecast, error) {
	packed, err := e.Sample()
	if err != nil {
		return planning.Forecast{}, err
	}
	f := planning.Forecaster{Schedule: e.Schedule, Packed: packed, Rate: float64(e.posed.SourceBPS / 8), Parallel: e.Cfg.Parallel, Workers: e.BulkWorkers(), Limit: e.Cfg.Downtime,
		Begin: (time.Since(e.Started) + planning.PrepareTime).Seconds()}
	for vm, v := range e.VMs {
		n := e.PagesOf[vm]
		f.VMs = append(f.VMs, planning.ForecastVM{Host: v.Host, Memory: float64((n.Total - n.Zero) * model.PageSize), Hot: float64(e.Hot[vm]), Gap: e.gap.Seconds()})
	}
	if err := e.LearnSets(); err != nil {
		return planning.Forecast{}, err
	}
	all := f
	foreseen := all.Run()
	e.choose(&f, foreseen.Time())
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
