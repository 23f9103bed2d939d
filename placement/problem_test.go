package placement

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/scatter-vm/scatter/placement/internal/kit"
	"github.com/scatter-vm/scatter/placement/problem"
)

const example = `{
	"vms": [
		{"name": "web1", "memory_bytes": 4294967296, "vcpus": 2},
		{"name": "web2", "memory_bytes": 4294967296, "vcpus": 2, "labels": {"tier": "web"}},
		{"name": "db", "memory_bytes": 8589934592, "vcpus": 4, "priority": 9}
	],
	"hosts": [
		{"name": "a", "memory_bytes": 8589934592, "vcpus": 8, "link_bps": 10000000000, "rack": "r1"},
		{"name": "b", "memory_bytes": 17179869184, "max_vms": 3, "labels": {"ssd": "yes"}, "residents": ["old"]}
	],
	"classes": [{"vms": [0, 1], "bytes": 1073741824}, {"vms": [2], "bytes": 4096}],
	"constraints": [
		{"kind": "label", "name": "fast disk", "vms": ["db"], "labels": {"ssd": "yes"}},
		{"kind": "anti-affinity", "vms": ["db", "web1"], "scope": "rack", "max": 1}
	],
	"objective": "traffic", "capacity": "sum", "seed": 7, "budget_ns": 1000000
}`

func TestProblemInJSON(t *testing.T) {
	want := Problem{
		VMs: []VM{
			{Name: "web1", Memory: 4 * kit.GiB, VCPUs: 2},
			{Name: "web2", Memory: 4 * kit.GiB, VCPUs: 2, Labels: map[string]string{"tier": "web"}},
			{Name: "db", Memory: 8 * kit.GiB, VCPUs: 4, Priority: 9},
		},
		Hosts: []Host{
			{Name: "a", Memory: 8 * kit.GiB, VCPUs: 8, LinkBPS: 1e10, Rack: "r1"},
			{Name: "b", Memory: 16 * kit.GiB, MaxVMs: 3, Labels: map[string]string{"ssd": "yes"}, Residents: []string{"old"}},
		},
		Classes: []Class{{VMs: []int{0, 1}, Bytes: kit.GiB}, {VMs: []int{2}, Bytes: 4096}},
		Constraints: []Constraint{
			{Kind: Label, Name: "fast disk", VMs: []string{"db"}, Labels: map[string]string{"ssd": "yes"}},
			{Kind: AntiAffinity, VMs: []string{"db", "web1"}, Scope: ScopeRack, Max: 1},
		},
		Objective: Traffic, Capacity: Sum, Seed: 7, Budget: time.Millisecond,
	}
	var got Problem
	if err := json.Unmarshal([]byte(example), &got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("(-want +got):\n%s", d)
	}
	pl := solve(t, got)
	if d := cmp.Diff([]int{0, 0, 1}, pl.Host); d != "" {
		t.Errorf("hosts (-want +got):\n%s", d)
	}
	b, err := json.Marshal(pl)
	if err != nil {
		t.Fatal(err)
	}
	var back Placement
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(*pl, back, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("placement (-want +got):\n%s", d)
	}
}

func TestInvalidProblemsAreNamed(t *testing.T) {
	for want, change := range map[string]func(p *Problem){
		"vms[0].name":           func(p *Problem) { p.VMs[0].Name = "" },
		"vms[2].name":           func(p *Problem) { p.VMs[2].Name = "web1" },
		"vms[1].memory_bytes":   func(p *Problem) { p.VMs[1].Memory = -1 },
		"vms[2].memory_bytes":   func(p *Problem) { p.VMs[2].Memory = MaxBytes },
		"vms[1].vcpus":          func(p *Problem) { p.VMs[1].VCPUs = -1 },
		"hosts[0].name":         func(p *Problem) { p.Hosts[0].Name = "" },
		"hosts[1].name":         func(p *Problem) { p.Hosts[1].Name = "a" },
		"hosts[0].memory_bytes": func(p *Problem) { p.Hosts[0].Memory = -1 },
		"hosts[0].vcpus":        func(p *Problem) { p.Hosts[0].VCPUs = -1 },
		"hosts[0].max_vms":      func(p *Problem) { p.Hosts[0].MaxVMs = -1 },
		"hosts[0].link_bps":     func(p *Problem) { p.Hosts[0].LinkBPS = -1 },
		"hosts[1].residents":    func(p *Problem) { p.Hosts[0].Residents = []string{"old"} },
		"classes[0].vms":        func(p *Problem) { p.Classes[0].VMs = []int{3} },
		"classes[1].vms":        func(p *Problem) { p.Classes[1].VMs = []int{-1} },
		"classes[1].bytes":      func(p *Problem) { p.Classes[1].Bytes = MaxBytes },
		"classes[0].bytes":      func(p *Problem) { p.Classes[0].Bytes = -1 },
		"constraints[0].kind":   func(p *Problem) { p.Constraints[0].Kind = "near" },
		"constraints[0].labels": func(p *Problem) { p.Constraints[0].Labels = nil },
		"constraints[0].hosts":  func(p *Problem) { p.Constraints[0] = Constraint{Kind: Pin, VMs: []string{"db"}} },
		"constraints[1].hosts":  func(p *Problem) { p.Constraints[1] = Constraint{Kind: Exclude, Hosts: []string{"c"}} },
		"constraints[1].vms":    func(p *Problem) { p.Constraints[1].VMs[0] = "nobody" },
		"constraints[1].scope":  func(p *Problem) { p.Constraints[1].Scope = "row" },
		"constraints[1].max":    func(p *Problem) { p.Constraints[1].Max = -1 },
		"objective":             func(p *Problem) { p.Objective = "speed" },
		"capacity":              func(p *Problem) { p.Capacity = "some" },
		"budget_ns":             func(p *Problem) { p.Budget = -1 },
		"vms":                   func(p *Problem) { p.VMs = make([]VM, MaxVMs+1) },
		"hosts":                 func(p *Problem) { p.Hosts = make([]Host, MaxHosts+1) },
		"vms and classes times hosts": func(p *Problem) {
			p.Hosts, p.Classes = make([]Host, MaxHosts), make([]Class, problem.MaxCells/MaxHosts)
		},
	} {
		var p Problem
		if err := json.Unmarshal([]byte(example), &p); err != nil {
			t.Fatal(err)
		}
		change(&p)
		_, err := Solve(t.Context(), p)
		var inv *InvalidError
		if !errors.As(err, &inv) || inv.Field != want {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// FuzzSolve feeds problems of any shape: Solve must refuse them, or place the VMs within all rules.
func FuzzSolve(f *testing.F) {
	f.Add([]byte(example))
	f.Add([]byte(`{"vms":[{"name":"v"}],"hosts":[{"name":"h"}],"partial":true,"capacity":"shared","objective":"hosts"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Problem
		if json.Unmarshal(b, &p) != nil || len(p.VMs) > 30 || len(p.Hosts) > 20 {
			return
		}
		p.Budget = 1
		pl, err := Solve(context.Background(), p)
		if err != nil {
			return
		}
		if broken, cost, _ := kit.Verdict(&p, pl.Host); broken != "" || cost != pl.Cost || pl.LowerBound > cost {
			t.Fatalf("%s: %s, costs %d, says %d, bound %d", b, broken, cost, pl.Cost, pl.LowerBound)
		}
	})
}

func ExampleSolve() {
	var p Problem
	if err := json.Unmarshal([]byte(example), &p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	pl, err := Solve(context.Background(), p)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	for v, h := range pl.Host {
		fmt.Println(p.VMs[v].Name, "->", p.Hosts[h].Name, "saves", pl.Reasons[v].Saved)
	}
	// Output:
	// web1 -> a saves 1073741824
	// web2 -> a saves 1073741824
	// db -> b saves 0
}
