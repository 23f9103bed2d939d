package render

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/kit"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/scatter"
)

func TestPlanTable(t *testing.T) {
	var w strings.Builder
	if err := Plan(&w, kit.Plan()); err != nil {
		t.Fatal(err)
	}
	kit.Golden(t, "plan.txt", w.String())
}

// TestPlanPage: the page shows what the tables do, draws it, needs nothing from elsewhere, and takes no name for markup.
func TestPlanPage(t *testing.T) {
	var w strings.Builder
	if err := Page(&w, kit.Plan()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"web1", "pinned by the operator", "3 MiB", "r&lt;1&gt;", "No room for huge", "239.77.0.0", "<title>database, web1: 256 MiB, 8 % of 3.25 GiB</title>",
		"beta is a member of 239.77.0.0"} {
		if !strings.Contains(w.String(), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if n := strings.Count(w.String(), "<svg"); n != 3 {
		t.Errorf("%d drawings", n)
	}
	if strings.Contains(w.String(), "ZgotmplZ") || strings.Contains(w.String(), "r<1>") {
		t.Error("what comes from outside is not escaped as it should be")
	}
}

func TestPlanPageOfBlockers(t *testing.T) {
	var w strings.Builder
	if err := Page(&w, &scatter.Plan{Blockers: []scatter.Blocker{{VM: "<b>", Problem: "no way"}}}); err != nil {
		t.Fatal(err)
	}
	if s := w.String(); !strings.Contains(s, "vm &lt;b&gt;: no way") || strings.Contains(s, "<svg") {
		t.Errorf("got %s", s)
	}
}

// TestManyVMsAreDrawnByHost: a heat map of more VMs than can be told apart sums them up.
func TestManyVMsAreDrawnByHost(t *testing.T) {
	p := kit.Plan()
	p.VMs, p.Sharing = nil, nil
	for i := range maxHeatVMs + 2 {
		host := []string{"beta", "gamma"}[i%2]
		p.VMs = append(p.VMs, scatter.PlanVM{Name: fmt.Sprint("vm", i), Host: host, ContentBytes: 100})
	}
	p.Sharing = []scatter.PlanSharing{{VMs: [2]string{"vm0", "vm2"}, Bytes: 50}, {VMs: [2]string{"vm0", "vm1"}, Bytes: 20}}
	d := drawHeat(p)
	if len(d.Rows) != 2 || len(d.Cells) != 4 || len(planSharing(p)) != 0 {
		t.Fatalf("%d rows, %d cells", len(d.Rows), len(d.Cells))
	}
	if want := fmt.Sprintf("beta, gamma: 20 B, 0 %% of %s", units.FormatSize(6500+100)); d.Cells[1].Text != want {
		t.Errorf("got %q, want %q", d.Cells[1].Text, want)
	}
}

func TestQuality(t *testing.T) {
	for want, p := range map[string]*scatter.Plan{
		"all hosts receive 2.00 KiB of contents: no placement needs less":                             {Cost: 2048, LowerBound: 2048, Optimal: true},
		"the slowest link takes 1.5 s, at most 50.0 % more than the best placement (not below 1.0 s)": {Objective: scatter.ObjectiveMakespan, Cost: 15e8, LowerBound: 1e9},
		"3 hosts are used, at most 50.0 % more than the best placement (not below 2)":                 {Objective: scatter.ObjectiveHosts, Cost: 3, LowerBound: 2},
	} {
		if got := quality(p); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestPlanTableOfBlockers(t *testing.T) {
	var w strings.Builder
	p := &scatter.Plan{Blockers: []scatter.Blocker{
		{VM: "web1", Problem: "device vfio-pci cannot be migrated", Remedy: "unplug it"},
		{VM: "web1", Host: "beta", Problem: "no machine type pc-q35-10.0"},
	}}
	if err := Plan(&w, p); err != nil {
		t.Fatal(err)
	}
	want := "BLOCKERS\n  vm web1: device vfio-pci cannot be migrated (unplug it)\n  vm web1 on host beta: no machine type pc-q35-10.0\n"
	if w.String() != want {
		t.Errorf("got %q", w.String())
	}
}

func TestReportTable(t *testing.T) {
	var w strings.Builder
	if err := Report(&w, kit.Report()); err != nil {
		t.Fatal(err)
	}
	kit.Golden(t, "report.txt", w.String())
}

func TestFullStdoutIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if Plan(full, kit.Plan()) == nil || Report(full, kit.Report()) == nil || Findings(full, []scatter.Finding{{}}) == nil {
		t.Error("no error")
	}
}
