package source

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/internal/enginekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/system"
	"github.com/scatter-vm/scatter/scatter/wire"
)

// held is an evacuation of a problem that executes a plan.
func held(t *testing.T, problem planning.Problem, cfg Config) *Planned {
	t.Helper()
	e := standing(t)
	e.Cfg.Plan, e.Cfg.Force, e.Cfg.Partial, e.posed = cfg.Plan, cfg.Force, cfg.Partial, &problem
	return e
}

// TestKeptPlacementIsExecuted: VMs go where the plan has them, though another placement would be better.
func TestKeptPlacementIsExecuted(t *testing.T) {
	kept := enginekit.KeptPlan(t)
	kept.Placement = map[string]string{"a": "h0", "b": "h0", "c": "h1", "d": "h1"}
	e := held(t, enginekit.TwoFamilies(), Config{Plan: kept})
	if err := e.holdTo(kept); err != nil {
		t.Fatal(err)
	}
	placed, err := e.solve(t.Context())
	if err != nil || fmt.Sprint(placed.Host) != "[0 0 1 1]" {
		t.Errorf("%v, %v", placed, err)
	}
	if groups := kept.GroupsFor([]string{"h0", "h1"}); groups != nil {
		t.Errorf("groups %v of another placement", groups)
	}
}

// TestKeptPlanLeavesVMs: those stay that stay in the plan, and no other.
func TestKeptPlanLeavesVMs(t *testing.T) {
	kept := enginekit.KeptPlan(t)
	delete(kept.Placement, "d")
	kept.Unplaced = []string{"d"}
	e := held(t, enginekit.TwoFamilies(), Config{Plan: kept})
	if err := e.holdTo(kept); err != nil {
		t.Fatal(err)
	}
	placed, err := e.solve(t.Context())
	if err != nil || placed.Host[3] != -1 || enginekit.PlacedCount(placed) != 3 {
		t.Fatalf("%v, %v", placed, err)
	}
	e = held(t, *enginekit.Changed(func(p *planning.Problem) { p.Hosts[0].Memory, p.Hosts[1].Memory = 110*enginekit.Mib, 110*enginekit.Mib }), Config{Plan: kept, Force: true})
	if err := e.holdTo(kept); err != nil {
		t.Fatal(err)
	}
	if _, err := e.solve(t.Context()); err == nil || !strings.Contains(err.Error(), "there is no room for it where the plan has it") {
		t.Errorf("got %v", err)
	}
}

// TestDriftNeedsForce: a plan that does not hold is refused, and forced as far as it goes.
func TestDriftNeedsForce(t *testing.T) {
	kept := enginekit.KeptPlan(t)
	problem := enginekit.Changed(func(p *planning.Problem) { p.VMs[3].Name = "e" })
	e := held(t, *problem, Config{Plan: kept})
	if err := e.holdTo(kept); err == nil || !strings.Contains(err.Error(), "send with --force") {
		t.Errorf("got %v", err)
	}
	e = held(t, *problem, Config{Plan: kept, Force: true})
	if err := e.holdTo(kept); err != nil {
		t.Fatal(err)
	}
	placed, err := e.solve(t.Context())
	if err != nil || len(e.Warnings.List) != 3 || !strings.HasPrefix(e.Warnings.List[0], "the plan does not hold any more: vm d: is in the plan") {
		t.Fatalf("%v, warnings %q", err, e.Warnings.List)
	}
	for i, name := range []string{"a", "b", "c"} {
		if host := problem.Hosts[placed.Host[i]].Name; host != kept.Placement[name] {
			t.Errorf("%s goes to %s, the plan has it on %s", name, host, kept.Placement[name])
		}
	}
	if placed.Host[3] != placed.Host[1] {
		t.Errorf("e goes to %d, not where there is room", placed.Host[3])
	}
}

func vmCalled(name string) *VM {
	return &VM{Source: enginekit.Nobody{}, Facts: &qemu.VM{Name: name}, Host: -1}
}

func linkTo(name string) *wire.Link { return &wire.Link{Welcome: control.Welcome{Name: name}} }

func TestProblemsOfPlaces(t *testing.T) {
	var p model.Problems
	vms, links := []string{"a", "b"}, []*wire.Link{linkTo("x"), linkTo("y")}
	checkPlaces(&p, map[string]string{"a": "x", "b": "nowhere", "nobody": "y"}, vms, links)
	var got []string
	for _, b := range p.List {
		got = append(got, b.String())
	}
	want := []string{"vm b on host nowhere: is placed on a host that is not among the targets", "vm nobody: is placed, but is not among the VMs to move"}
	if !cmp.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

// standing is three VMs and two hosts, without any connection.
func standing(t *testing.T) *Planned {
	t.Helper()
	e := &Planned{}
	e.Cfg = mustConfig(t)
	e.Log = e.Cfg.Log
	e.Links = []*wire.Link{linkTo("h0"), linkTo("h1")}
	for i, host := range []int{0, 1, 0} {
		v := vmCalled(string(rune('a' + i)))
		v.Index, v.Number, v.Host, v.Blocks = i, i, host, make([]system.RAMBlock, 2)
		e.VMs = append(e.VMs, v)
	}
	return e
}

func mustConfig(t *testing.T) Config {
	t.Helper()
	c := Config{VMs: []string{"a"}, Targets: []model.TargetAddr{{Name: "h"}}}
	if err := c.SetDefaults(); err != nil {
		t.Fatal(err)
	}
	return c
}
