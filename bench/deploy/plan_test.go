//go:build lab

package deploy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// A plan that was kept and changed by hand is executed as it then is; one that does not hold any more is refused, unless forced.
func TestLabKeptPlan(t *testing.T) {
	ctx := t.Context()
	d, guests := stage(t)
	receivers, err := d.ReceiveAll(ctx, d.Lab.Targets, "--memory", "400MiB")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	path, page := filepath.Join(dir, "plan.json"), filepath.Join(dir, "plan.html")
	out, exit, err := d.Plan(ctx, deploy.Job{Args: []string{"--save", path, "--html", page}})
	if err != nil || exit != 0 {
		t.Fatalf("plan: %d, %v: %s", exit, err, out)
	}
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), guests[0].Name) {
		t.Errorf("page of %d bytes, %v", len(b), err)
	}
	expectsTime(t, path)
	want := turnAround(t, path, d.Lab.Targets)

	less := deploy.Job{Guests: guests[:1], Args: []string{"--rate", "500mbit", "--plan", path}}
	r, err := d.Send(ctx, less)
	if err != nil {
		t.Fatal(err)
	}
	if r.Exit != 4 || !strings.Contains(r.Output, "vm "+guests[1].Name+": is in the plan, but is not among the VMs to move") {
		t.Fatalf("a plan of other VMs: exit %d: %s", r.Exit, r.Output)
	}
	if where, err := d.CheckGuests(ctx, guests); err != nil || where[0] != d.Lab.Source {
		t.Fatalf("after a refused plan: %v, %v", where, err)
	}

	r, err = d.Send(ctx, deploy.Job{Args: []string{"--rate", "500mbit", "--plan", path, "--force"}})
	if err != nil || r.Exit != 0 {
		t.Fatalf("exit %d, %v: %s", r.Exit, err, r.Output)
	}
	for i, h := range arrived(t, d, guests) {
		if h.Name != want[guests[i].Name] {
			t.Errorf("guest %s is on %s, the plan has it on %s", guests[i].Name, h.Name, want[guests[i].Name])
		}
	}
	if err := d.Reset(ctx, receivers); err != nil {
		t.Fatal(err)
	}
}

// expectsTime: without --rate, times are for 0.8 of what the driver of veth devices tells, which is 10 Gbit/s.
func expectsTime(t *testing.T, path string) {
	t.Helper()
	var plan struct {
		Rate int64   `json:"predicted_rate_bps"`
		Time float64 `json:"predicted_time_s"`
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &plan)
	}
	if err != nil || plan.Rate != 8e9 || plan.Time <= 0 {
		t.Errorf("%v s at %d bit/s are predicted, %v", plan.Time, plan.Rate, err)
	}
}

// turnAround edits a plan as an operator may: each VM goes to the other host.
func turnAround(t *testing.T, path string, hosts []*lan.Host) map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var plan map[string]any
	if err := json.Unmarshal(b, &plan); err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	for vm, host := range plan["placement"].(map[string]any) {
		want[vm] = hosts[0].Name
		if host == want[vm] {
			want[vm] = hosts[1].Name
		}
	}
	plan["placement"] = want
	if b, err = json.Marshal(plan); err == nil {
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// As many VMs move as there is room for; the others run on, and the report says why.
func TestLabPartialPlan(t *testing.T) {
	d, guests := stage(t)
	receivers, err := d.ReceiveAll(t.Context(), d.Lab.Targets[:1], "--memory", "200MiB")
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Send(t.Context(), deploy.Job{Targets: d.Lab.Targets[:1], Args: []string{"--rate", "500mbit", "--partial"}})
	if err != nil || r.Exit != 3 || r.Report == nil {
		t.Fatalf("exit %d, %v: %s", r.Exit, err, r.Output)
	}
	where, err := d.CheckGuests(t.Context(), guests)
	if err != nil {
		t.Fatal(err)
	}
	for i, v := range r.Report.VMs {
		switch {
		case v.State == "evacuated" && where[i] == d.Lab.Targets[0]:
		case v.State == "on-source" && where[i] == d.Lab.Source && v.Cause == "no target has room for it":
		default:
			t.Errorf("guest %s is on %s, the report says %+v", guests[i].Name, where[i].Name, v)
		}
	}
	if err := d.Reset(t.Context(), receivers); err != nil {
		t.Fatal(err)
	}
}
