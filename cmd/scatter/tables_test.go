package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

func somePlan() *scatter.Plan {
	pages := scatter.Pages{Total: 131072, Zero: 52428, Shared: 65536, Unique: 12000, Hot: 1108}
	return &scatter.Plan{
		Format: scatter.PlanFormat, Placement: map[string]string{"web1": "beta", "database": "gamma"}, Objective: scatter.ObjectiveTraffic,
		Capacity: scatter.CapacitySum, Cost: 3500 << 20, LowerBound: 3400 << 20, HostsUsed: 2, Unplaced: []string{"huge"},
		VMs: []scatter.PlanVM{
			{Name: "web1", Host: "beta", Reason: "most bytes in common with web2", MemoryBytes: 512 << 20, VCPUs: 2, Pages: pages,
				ContentBytes: 303 << 20, SentBytes: 47 << 20, TimeS: 12.3, DowntimeMS: 85},
			{Name: "database", Host: "gamma", Reason: "pinned by the operator", MemoryBytes: 8 << 30, VCPUs: 4, Pages: pages,
				ContentBytes: 3328 << 20, SentBytes: 3 << 30, DowntimeMS: 120},
			{Name: "huge", Reason: "no room", MemoryBytes: 900 << 30, VCPUs: 64, Pages: pages, ContentBytes: 256 << 20},
		},
		Hosts: []scatter.PlanHost{
			{Name: "beta", Address: "10.0.0.2:7400", Rack: "r<1>", MemoryBytes: 64 << 30, VMs: []string{"web1"}, DeliveredBytes: 300 << 20, PredictedBytes: 320 << 20},
			{Name: "gamma", Address: "10.0.0.3:7400", MemoryBytes: 32 << 30, VMs: []string{"database"}, DeliveredBytes: 3 << 30, PredictedBytes: 3200 << 20},
			{Name: "idle", Address: "10.0.0.4:7400", MemoryBytes: 32 << 30},
		},
		Groups: []scatter.PlanGroup{
			{Hosts: []string{"beta", "gamma"}, Address: "239.77.0.0", Contents: 65536, Bytes: 256 << 20, WastedBytes: 3 << 20, Lane: 1, Opens: 1, Joins: 2, Leaves: 2},
			{Hosts: []string{"gamma"}, Address: "unicast", Contents: 786432, Bytes: 3 << 30, CopiedBytes: 1 << 20},
		},
		Traffic: scatter.PlanTraffic{SourceBytes: 3400 << 20, HostBytes: 3500 << 20, DuplicatedBytes: 1 << 20, WastedBytes: 3 << 20},
		Classes: []scatter.PlanClasses{{VMs: 1, Classes: 2, Bytes: 3 << 30}, {VMs: 3, Classes: 1, Bytes: 256 << 20}},
		Sharing: []scatter.PlanSharing{{VMs: [2]string{"database", "web1"}, Bytes: 256 << 20}},
		Pages:   pages, PredictedBytes: 3500 << 20, PredictedTimeS: 58.7, PredictedRateBPS: 500_000_000, Joins: 2, Leaves: 2,
	}
}

func TestPlanTable(t *testing.T) {
	var w strings.Builder
	if err := writePlan(&w, somePlan()); err != nil {
		t.Fatal(err)
	}
	golden(t, "plan.txt", w.String())
}

// TestPlanPage: the page shows what the tables do, draws it, needs nothing from elsewhere, and takes no name for markup.
func TestPlanPage(t *testing.T) {
	var w strings.Builder
	if err := writePlanPage(&w, somePlan()); err != nil {
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
	if err := writePlanPage(&w, &scatter.Plan{Blockers: []scatter.Blocker{{VM: "<b>", Problem: "no way"}}}); err != nil {
		t.Fatal(err)
	}
	if s := w.String(); !strings.Contains(s, "vm &lt;b&gt;: no way") || strings.Contains(s, "<svg") {
		t.Errorf("got %s", s)
	}
}

// TestManyVMsAreDrawnByHost: a heat map of more VMs than can be told apart sums them up.
func TestManyVMsAreDrawnByHost(t *testing.T) {
	p := somePlan()
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
	if want := fmt.Sprintf("beta, gamma: 20 B, 0 %% of %s", formatSize(6500+100)); d.Cells[1].Text != want {
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
	if err := writePlan(&w, p); err != nil {
		t.Fatal(err)
	}
	want := "BLOCKERS\n  vm web1: device vfio-pci cannot be migrated (unplug it)\n  vm web1 on host beta: no machine type pc-q35-10.0\n"
	if w.String() != want {
		t.Errorf("got %q", w.String())
	}
}

func someReport() *scatter.Report {
	r := &scatter.Report{
		TotalTimeS: 61.2, SourceBytes: 3600 << 20, MulticastBytes: 256 << 20, UnicastBytes: 3 << 30, RepairBytes: 20 << 20,
		ConvergeBytes: 40 << 20, ControlBytes: 1 << 20, CPUS: 4.2, MemoryBytes: 90 << 20, Group: scatter.GroupStats{Count: 1, Joins: 2, Leaves: 2},
		Pages: somePlan().Pages, Warnings: []string{"gamma: multicast does not pass"},
		VMs: []scatter.VMReport{
			{Name: "web1", Host: "beta", State: "evacuated", DowntimeMS: 85.25, Bytes: 40 << 20, Passes: 3, Verified: true},
			{Name: "database", Host: "gamma", State: "on-source", Cause: "dirties memory faster than the link carries", Passes: 4},
		},
	}
	r.Pages.Resent = 1200
	r.Plan.PredictedBytes, r.Plan.PredictedTimeS = 3500<<20, 58.7
	return r
}

func TestReportTable(t *testing.T) {
	var w strings.Builder
	if err := writeReport(&w, someReport()); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", w.String())
}

func TestTablesAsJSON(t *testing.T) {
	for want, print := range map[string]func(*app) error{
		`{"type":"plan","format":1,"placement":{"database":"gamma","web1":"beta"},`: func(a *app) error { return a.printPlan(somePlan()) },
		`{"type":"report","total_time_s":61.2,`:                                     func(a *app) error { return a.printReport(someReport()) },
		`{"type":"finding","check":"c","level":`:                                    func(a *app) error { return a.printFindings([]scatter.Finding{{Check: "c", Level: "ok"}}) },
		`{"type":"recovered","vm":"a","where":"source","action":"none"}`: func(a *app) error {
			return a.printRecovered(&scatter.RecoverReport{VMs: []scatter.Recovered{{VM: "a", Where: scatter.OnSource, Action: "none"}}})
		},
	} {
		var w strings.Builder
		a := newApp(&w, &w, func(string) string { return "" })
		a.json = true
		if err := print(a); err != nil || !strings.HasPrefix(w.String(), want) || strings.Count(w.String(), "\n") != 1 {
			t.Errorf("got %q, %v; want one line that starts %q", w.String(), err, want)
		}
	}
}

func TestFullStdoutIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if writePlan(full, somePlan()) == nil || writeReport(full, someReport()) == nil || writeFindings(&sections{w: full}, []scatter.Finding{{}}) == nil {
		t.Error("no error")
	}
}

func TestReportFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.json")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := newOutFile("report", path)
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(path); string(b) != "old" {
		t.Errorf("the old report is gone before the new one is there: %q", b)
	}
	if err := f.writeJSON(someReport()); err != nil {
		t.Fatal(err)
	}
	f.discard()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got scatter.Report
	if err := json.Unmarshal(b, &got); err != nil || got.SourceBytes != 3600<<20 {
		t.Errorf("%v %+v", err, got)
	}
	onlyFile(t, dir, "report.json")
}

func TestDiscardedReportLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	f, err := newOutFile("report", filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	f.discard()
	onlyFile(t, dir)
	if f, err = newOutFile("report", ""); err != nil || f.writeJSON(someReport()) != nil {
		t.Error("a report that nobody wants is an error")
	}
}

func onlyFile(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != len(want) || len(want) == 1 && entries[0].Name() != want[0] {
		t.Errorf("files %v, %v; want %v", entries, err, want)
	}
}
