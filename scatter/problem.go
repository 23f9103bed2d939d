package scatter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/placement"
)

// What a plan is made from, apart from live VMs. docs/problem.schema.json describes it as JSON.
type (
	// Problem is VMs, hosts, classes and constraints.
	Problem = placement.Problem
	// Constraint restricts where VMs may run.
	Constraint = placement.Constraint
)

// What a placement may make small, and how memory may count.
const (
	ObjectiveTraffic  = placement.Traffic
	ObjectiveMakespan = placement.Makespan
	ObjectiveHosts    = placement.Hosts

	CapacitySum    = placement.Sum
	CapacityShared = placement.Shared
)

// maxProblemBytes bounds a problem that is read: 500,000 classes take about 30 MiB.
const maxProblemBytes = 1 << 30

// ReadProblem reads a problem as JSON. Fields that it does not know are errors.
func ReadProblem(r io.Reader) (*Problem, error) {
	b, err := readBounded(r, maxProblemBytes)
	if err != nil {
		return nil, err
	}
	p := new(Problem)
	return p, strictly(b, p)
}

// strictly decodes one JSON value and nothing else.
func strictly(b []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the value that ends at byte %d", d.InputOffset())
	}
	return nil
}

// Network is what a plan from a Problem may use of the network. Zero values mean the same as in SendConfig.
type Network struct {
	Rate           int64 // bytes/s on the source's link; 0 = the problem's SourceBPS, without which no time is predicted
	GroupBase      netip.Addr
	MaxGroups      int
	MaxMemberships int
	Unicast        bool
}

// PlanProblem makes the plan of an evacuation that is only described. When it is infeasible, the plan names the conflict and the error
// is a *BlockedError.
func PlanProblem(ctx context.Context, problem Problem, net Network) (*Plan, error) {
	c := SendConfig{GroupBase: net.GroupBase, MaxGroups: net.MaxGroups, MaxMemberships: net.MaxMemberships}
	if err := c.setPlanDefaults(); err != nil {
		return nil, err
	}
	problem.Classes = tidyClasses(problem.Classes)
	if net.Rate > 0 {
		problem.SourceBPS = 8 * net.Rate
	}
	net.Rate = problem.SourceBPS / 8
	placed, err := placement.Solve(ctx, problem)
	if blocked := asBlocked(err); blocked != nil {
		conflict := conflictPlan(err, blocked)
		conflict.Problem = &problem
		return conflict, blocked
	}
	if err != nil {
		return nil, err
	}
	lim := groupLimits{base: c.GroupBase, max: c.MaxGroups, memberships: c.MaxMemberships, none: net.Unicast, rate: net.Rate}
	p, err := newPlan(hostNames(&problem), placed.Host, classesOf(&problem), interleave(placed.Host), lim)
	if err != nil {
		return nil, err
	}
	d := description{problem: &problem, placed: placed, plan: p, limits: lim}
	d.forecast = forecastOf(&problem, p, net.Rate)
	return d.render(), nil
}

// tidyClasses names each owner of a class once.
func tidyClasses(classes []placement.Class) []placement.Class {
	out := make([]placement.Class, len(classes))
	for i, c := range classes {
		vms := slices.Clone(c.VMs)
		slices.Sort(vms)
		out[i] = placement.Class{VMs: slices.Compact(vms), Bytes: c.Bytes}
	}
	return out
}

// classesOf is the problem's classes as a plan needs them.
func classesOf(p *Problem) []classInfo {
	classes := make([]classInfo, len(p.Classes))
	for i, c := range p.Classes {
		classes[i] = classInfo{vms: c.VMs, contents: int((c.Bytes + PageSize - 1) / PageSize), bytes: c.Bytes}
	}
	return classes
}

func hostNames(p *Problem) []string {
	return namesOf(p.Hosts, func(h placement.Host) string { return h.Name })
}

// asBlocked makes an infeasible placement a blocker; nil for any other error.
func asBlocked(err error) *BlockedError {
	if _, ok := errors.AsType[*placement.InfeasibleError](err); !ok {
		return nil
	}
	return &BlockedError{[]Blocker{{Problem: err.Error(), Remedy: "give the targets more room (recv --memory, --vcpus), add targets, " +
		"change the constraints, or move what fits (--partial)"}}}
}

// conflictPlan is all that there is to say of an infeasible problem.
func conflictPlan(err error, blocked *BlockedError) *Plan {
	p := &Plan{Format: PlanFormat, Blockers: blocked.Blockers}
	if i, ok := errors.AsType[*placement.InfeasibleError](err); ok {
		p.Conflict = &Conflict{VMs: i.VMs, Constraints: i.Names, Resources: i.Resources, Proven: i.Proven}
	}
	return p
}
