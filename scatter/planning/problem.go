package planning

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/scatter-vm/scatter/multicast/groups"
	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
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

// SetDefaults completes and checks what a plan depends on.
func (n *Network) SetDefaults() error {
	if !n.GroupBase.IsValid() {
		n.GroupBase = netip.MustParseAddr("239.77.0.0")
	}
	n.MaxGroups = cmp.Or(n.MaxGroups, groups.DefaultGroups)
	n.MaxMemberships = cmp.Or(n.MaxMemberships, groups.DefaultMemberships)
	switch {
	case n.MaxGroups < 0 || n.MaxGroups > model.MaxGroups:
		return fmt.Errorf("max-groups %d: must be 1 to %d", n.MaxGroups, model.MaxGroups)
	case n.MaxMemberships < 0 || n.MaxMemberships > model.MaxGroups:
		return fmt.Errorf("max-memberships %d: must be 1 to %d", n.MaxMemberships, model.MaxGroups)
	case !n.GroupBase.IsMulticast():
		return fmt.Errorf("group base %s: must be a multicast address", n.GroupBase)
	}
	return nil
}

// PlanProblem makes the plan of an evacuation that is only described. When it is infeasible, the plan names the conflict and the error
// is a *BlockedError.
func PlanProblem(ctx context.Context, problem Problem, net Network) (*Plan, error) {
	if err := net.SetDefaults(); err != nil {
		return nil, err
	}
	problem.Classes = tidyClasses(problem.Classes)
	if net.Rate > 0 {
		problem.SourceBPS = 8 * net.Rate
	}
	net.Rate = problem.SourceBPS / 8
	placed, err := placement.Solve(ctx, problem)
	if blocked := AsBlocked(err); blocked != nil {
		conflict := ConflictPlan(err, blocked)
		conflict.Problem = &problem
		return conflict, blocked
	}
	if err != nil {
		return nil, err
	}
	lim := GroupLimits{Base: net.GroupBase, Max: net.MaxGroups, Memberships: net.MaxMemberships, None: net.Unicast, Rate: net.Rate}
	p, err := NewSchedule(HostNames(&problem), placed.Host, classesOf(&problem), Interleave(placed.Host), lim)
	if err != nil {
		return nil, err
	}
	d := Description{Problem: &problem, Placed: placed, Schedule: p, Limits: lim}
	d.Forecast = forecastOf(&problem, p, net.Rate)
	return d.Render(), nil
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
func classesOf(p *Problem) []ClassInfo {
	classes := make([]ClassInfo, len(p.Classes))
	for i, c := range p.Classes {
		classes[i] = ClassInfo{VMs: c.VMs, Contents: int((c.Bytes + model.PageSize - 1) / model.PageSize), Bytes: c.Bytes}
	}
	return classes
}

// HostNames are the names of a problem's hosts.
func HostNames(p *Problem) []string {
	return model.NamesOf(p.Hosts, func(h placement.Host) string { return h.Name })
}

// AsBlocked makes an infeasible placement a blocker; nil for any other error.
func AsBlocked(err error) *model.BlockedError {
	if _, ok := errors.AsType[*placement.InfeasibleError](err); !ok {
		return nil
	}
	return &model.BlockedError{Blockers: []model.Blocker{{Problem: err.Error(), Remedy: "give the targets more room (recv --memory, --vcpus), add targets, " +
		"change the constraints, or move what fits (--partial)"}}}
}

// ConflictPlan is all that there is to say of an infeasible problem.
func ConflictPlan(err error, blocked *model.BlockedError) *Plan {
	p := &Plan{Format: PlanFormat, Blockers: blocked.Blockers}
	if i, ok := errors.AsType[*placement.InfeasibleError](err); ok {
		p.Conflict = &Conflict{VMs: i.VMs, Constraints: i.Names, Resources: i.Resources, Proven: i.Proven}
	}
	return p
}

// Pin is the constraint that puts a VM on a certain host.
func Pin(name, vm, host string) Constraint {
	return Constraint{Name: name, Kind: placement.Pin, VMs: []string{vm}, Hosts: []string{host}}
}
