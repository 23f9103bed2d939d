package kit

import (
	"time"

	"github.com/scatter-vm/scatter/scatter"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// At is a moment so many seconds after the beginning of Evacuation.
func At(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }

// Evacuation is a short one, as events.
var Evacuation = []scatter.Event{
	{Type: "stage", Time: At(0), Stage: "scan"},
	{Type: "warning", Time: At(1), Host: "gamma", Message: "multicast does not pass; it gets its share by unicast"},
	{Type: "stage", Time: At(2), Stage: "bulk"},
	{Type: "vm", Time: At(2), VM: "web", Host: "beta", Stage: "bulk"},
	{Type: "progress", Time: At(3), VM: "web", Bytes: 64 << 20, Total: 512 << 20},
	{Type: "progress", Time: At(3), Bytes: 64 << 20, Total: 512 << 20, WireRate: 60_000_000},
	{Type: "progress", Time: At(4), VM: "web", Bytes: 128 << 20, Total: 512 << 20},
	{Type: "progress", Time: At(4), Bytes: 128 << 20, Total: 512 << 20, WireRate: 60_000_000},
	{Type: "progress", Time: At(8), VM: "web", Bytes: 384 << 20, Total: 512 << 20},
	{Type: "progress", Time: At(8), Bytes: 384 << 20, Total: 512 << 20, WireRate: 62_500_000},
	{Type: "vm", Time: At(9), VM: "web", Host: "beta", Stage: "converge"},
	{Type: "vm", Time: At(10), VM: "db", Host: "gamma", Stage: "on-source", Message: "dirties memory faster than the link carries"},
	{Type: "vm", Time: At(11), VM: "web", Host: "beta", Stage: "evacuated"},
	{Type: "done", Time: At(12), Message: "1 of 2 evacuated"},
}

// Plan is a plan of three VMs, one of which stays, for three hosts.
func Plan() *scatter.Plan {
	pages := scatter.Pages{Total: 131072, Zero: 52428, Shared: 65536, Unique: 12000, Hot: 1108}
	return &scatter.Plan{
		Format: scatter.PlanFormat, Placement: map[string]string{"web1": "beta", "database": "gamma"}, Objective: scatter.ObjectiveTraffic,
		Capacity: scatter.CapacitySum, Cost: 3500 << 20, LowerBound: 3400 << 20, HostsUsed: 2, Unplaced: []string{"huge"},
		VMs: []scatter.PlanVM{
			{Name: "web1", Host: "beta", Reason: "most bytes in common with web2", MemoryBytes: 512 << 20, VCPUs: 2, Pages: pages,
				ContentBytes: 303 << 20, SentBytes: 47 << 20, TimeS: 12.3, DowntimeMS: 85, Mode: scatter.ModePre, ModeReason: "converges", SendsBPS: new(int64(180_000_000)), ReceivesBPS: new(int64(2_000_000))},
			{Name: "database", Host: "gamma", Reason: "pinned by the operator", MemoryBytes: 8 << 30, VCPUs: 4, Pages: pages,
				ContentBytes: 3328 << 20, SentBytes: 3 << 30, DowntimeMS: 120,
				Mode: scatter.ModeHybrid, ModeReason: "dirties 80 MB/s", ExposedS: 2.1},
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

// Report is a report of two VMs, one of which stays.
func Report() *scatter.Report {
	r := &scatter.Report{
		TotalTimeS: 61.2, SourceBytes: 3600 << 20, MulticastBytes: 256 << 20, UnicastBytes: 3 << 30, RepairBytes: 20 << 20,
		ConvergeBytes: 40 << 20, ControlBytes: 1 << 20, CPUS: 4.2, MemoryBytes: 90 << 20, Group: scatter.GroupStats{Count: 1, Joins: 2, Leaves: 2},
		Pages: Plan().Pages, Warnings: []string{"gamma: multicast does not pass"},
		VMs: []scatter.VMReport{
			{Name: "web1", Host: "beta", State: "evacuated", DowntimeMS: 85.25, Bytes: 40 << 20, Passes: 3, Verified: true},
			{Name: "database", Host: "gamma", State: "on-source", Cause: "dirties memory faster than the link carries", Passes: 4},
		},
	}
	r.Pages.Resent = 1200
	r.Plan.PredictedBytes, r.Plan.PredictedTimeS = 3500<<20, 58.7
	return r
}
