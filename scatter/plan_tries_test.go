package scatter

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/internal/kit"
	"github.com/scatter-vm/scatter/scatter/internal/sitekit"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/move"
	"github.com/scatter-vm/scatter/scatter/planning"
	"github.com/scatter-vm/scatter/scatter/target"
)

// TestPlanTriesTargets: a VM whose image one target lacks goes to the other one; one whose image no target has stays, with QEMU's
// words, and the others go.
func TestPlanTriesTargets(t *testing.T) {
	ca, images := kit.NewAuthority(t), kit.ShortDir(t)
	for _, dir := range []string{"here", "everywhere"} {
		if err := os.Mkdir(filepath.Join(images, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	lacking := func(c *target.Config) {
		c.Policy.Rewrites = append(c.Policy.Rewrites, qemu.Rewrite{From: images + "/here", To: images + "/gone"})
	}
	hosts := []*sitekit.Outpost{sitekit.OpenHost(t, ca, "poor", func(c *target.Config) {
		lacking(c)
		c.Policy.Rewrites = append(c.Policy.Rewrites, qemu.Rewrite{From: images + "/everywhere", To: images + "/gone"})
	}, images), sitekit.OpenHost(t, ca, "rich", lacking, images)}
	hosts[1].TLSDir = hosts[0].TLSDir
	cfg := evacuationTo(t, hosts, kit.RealVM(t, "one", append([]string{"-m", "16"}, kit.Drive(kit.DiskIn(t, images+"/everywhere", "one.img"))...)...),
		kit.RealVM(t, "two", append([]string{"-m", "16"}, kit.Drive(kit.DiskIn(t, images+"/here", "two.img"))...)...), kit.RealVM(t, "three", "-m", "16"))
	var told kit.Tells
	cfg.Events = told.Add
	plan, err := move.MakePlan(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if plan.Placement["one"] != "rich" || plan.Placement["three"] == "" || plan.Placement["two"] != "" || len(plan.VMs) != 2 {
		t.Errorf("placement %v of %d", plan.Placement, len(plan.VMs))
	}
	if len(plan.Stays) != 1 || plan.Stays[0].VM != "two" || strings.Count(plan.Stays[0].Problem, "Could not open") != 2 || !strings.Contains(plan.Stays[0].Problem, "No such file") {
		t.Errorf("stays %+v", plan.Stays)
	}
	if b := told.Of("blocker", "two"); len(b) != 1 || !strings.Contains(b[0], "rich: QEMU does not start") {
		t.Errorf("blockers told: %q", b)
	}
	for _, h := range hosts {
		kit.NothingLeft(t, filepath.Join(h.RunDir, "tries"))
	}
	t.Run("all or none", func(t *testing.T) {
		cfg := cfg
		cfg.AllOrNone = true
		plan, err := move.MakePlan(t.Context(), cfg)
		if blocked, ok := errors.AsType[*model.BlockedError](err); !ok || len(blocked.Blockers) != 1 || len(plan.Placement)+len(plan.Stays) > 0 {
			t.Errorf("%v, %+v", err, plan)
		}
	})
	t.Run("excluded", func(t *testing.T) {
		cfg := cfg
		cfg.AllOrNone, cfg.Exclude = true, []string{"t[v-x]*"}
		if plan, err := move.MakePlan(t.Context(), cfg); err != nil || len(plan.Placement) != 2 || plan.Stays != nil {
			t.Errorf("%v, %+v", err, plan)
		}
	})
	t.Run("the kept plan", func(t *testing.T) {
		cfg := cfg
		b, _ := json.Marshal(plan)
		var err error
		if cfg.Plan, err = planning.ReadPlan(strings.NewReader(string(b))); err != nil {
			t.Fatal(err)
		}
		again, err := move.MakePlan(t.Context(), cfg)
		if err != nil || again.Placement["one"] != "rich" || len(again.Stays) != 1 || !strings.Contains(again.Stays[0].Problem, "the plan leaves it here") {
			t.Errorf("%v, %+v", err, again)
		}
		cfg.Plan.Placement["two"] = "rich"
		if _, err := move.MakePlan(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "cannot move") {
			t.Errorf("changed by hand: %v", err)
		}
	})
}

// TestVMsAreTriedWhereTheyGo: each VM is tried once where no target refuses any, wherever the operator leaves it to the plan or not.
func TestVMsAreTriedWhereTheyGo(t *testing.T) {
	ca := kit.NewAuthority(t)
	hosts := []*sitekit.Outpost{sitekit.OpenHost(t, ca, "one", nil), sitekit.OpenHost(t, ca, "two", nil), sitekit.OpenHost(t, ca, "three", nil)}
	for _, s := range hosts[1:] {
		s.TLSDir = hosts[0].TLSDir
	}
	cfg := evacuationTo(t, hosts, kit.RealVM(t, "a", "-m", "16"), kit.RealVM(t, "b", "-m", "16"))
	cfg.Place = map[string]string{"b": "three"}
	if _, err := move.MakePlan(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	tries, there := 0, 0
	for _, s := range hosts {
		there = strings.Count(s.Log.String(), "msg=tried")
		tries += there
	}
	if tries != 2 || there == 0 {
		t.Errorf("%d tries of two VMs, %d where one is placed", tries, there)
	}
}
