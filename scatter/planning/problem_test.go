package planning

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
)

const mib = 1 << 20

// twoFamilies is a problem of four VMs, of which a and c, b and d share much, and two hosts with room for two each.
func twoFamilies() Problem {
	p := Problem{
		Hosts:   []placement.Host{{Name: "h0", Memory: 200 * mib, VCPUs: 8}, {Name: "h1", Memory: 200 * mib, VCPUs: 8}},
		Classes: []placement.Class{{VMs: []int{0, 2}, Bytes: 60 * mib}, {VMs: []int{1, 3}, Bytes: 50 * mib}, {VMs: []int{0, 1, 2, 3}, Bytes: 20 * mib}},
	}
	for i, name := range []string{"a", "b", "c", "d"} {
		p.VMs = append(p.VMs, placement.VM{Name: name, Memory: 100 * mib, VCPUs: 1})
		p.Classes = append(p.Classes, placement.Class{VMs: []int{i}, Bytes: int64(i+1) * mib})
	}
	return p
}

func mustPlanProblem(t *testing.T, p Problem) *Plan {
	t.Helper()
	plan, err := PlanProblem(t.Context(), p, Network{})
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TestPlanOfAProblem: a plan says what its problem and its placement imply.
func TestPlanOfAProblem(t *testing.T) {
	p := mustPlanProblem(t, twoFamilies())
	if p.Placement["a"] != p.Placement["c"] || p.Placement["b"] != p.Placement["d"] || p.Placement["a"] == p.Placement["b"] {
		t.Errorf("placement %v", p.Placement)
	}
	const cost = (60 + 50 + 2*20 + 1 + 2 + 3 + 4) * mib
	if p.Cost != cost || p.LowerBound != cost || !p.Optimal || p.HostsUsed != 2 || p.Objective != "traffic" || p.Capacity != "sum" {
		t.Errorf("cost %d, bound %d, %+v", p.Cost, p.LowerBound, p)
	}
	wantSharing := []PlanSharing{{[2]string{"a", "c"}, 80 * mib}, {[2]string{"b", "d"}, 70 * mib}, {[2]string{"a", "b"}, 20 * mib},
		{[2]string{"a", "d"}, 20 * mib}, {[2]string{"b", "c"}, 20 * mib}, {[2]string{"c", "d"}, 20 * mib}}
	if d := cmp.Diff(wantSharing, p.Sharing); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]PlanClasses{{1, 4, 10 * mib}, {2, 2, 110 * mib}, {4, 1, 20 * mib}}, p.Classes); d != "" {
		t.Error(d)
	}
	if v := p.VMs[1]; v.ContentBytes != 72*mib || v.SentBytes != 2*mib || v.SavedBytes != 50*mib || v.NextHost != p.Placement["a"] || !slices.Equal(v.SharesWith, []string{"d"}) {
		t.Errorf("vm b: %+v", v)
	}
	if g := p.Groups[0]; g.Lane != 1 || g.Joins != 2 || g.Leaves != 2 || g.Bytes != 20*mib || len(g.Hosts) != 2 {
		t.Errorf("group %+v", g)
	}
	if tr := p.Traffic; tr.SourceBytes != 140*mib || tr.HostBytes != cost || tr.Changes != 4 {
		t.Errorf("traffic %+v", tr)
	}
	var onLinks int64
	for _, h := range p.Hosts {
		onLinks += h.DeliveredBytes
	}
	if onLinks != cost {
		t.Errorf("%d bytes on all links, cost %d", onLinks, cost)
	}
}

func TestPlanOfAnInfeasibleProblem(t *testing.T) {
	problem := twoFamilies()
	problem.Constraints = []Constraint{{Name: "all three", Kind: placement.Affinity, VMs: []string{"a", "b", "c"}}}
	p, err := PlanProblem(t.Context(), problem, Network{})
	blocked, ok := errors.AsType[*model.BlockedError](err)
	if !ok || len(blocked.Blockers) != 1 || !strings.Contains(err.Error(), "all three") {
		t.Fatal(err)
	}
	if c := p.Conflict; !slices.Equal(c.VMs, []string{"a", "b", "c"}) || !slices.Equal(c.Constraints, []string{"all three"}) || !slices.Equal(c.Resources, []string{"memory"}) || !c.Proven {
		t.Errorf("conflict %+v", c)
	}
	problem.Partial = true
	if p, err = PlanProblem(t.Context(), problem, Network{}); err != nil {
		t.Fatal(err)
	}
	if len(p.Unplaced) != 3 || len(p.Placement) != 1 || p.VMs[slices.IndexFunc(p.VMs, func(v PlanVM) bool { return v.Host == "" })].Reason != "no room" {
		t.Errorf("unplaced %v, placement %v", p.Unplaced, p.Placement)
	}
}

// TestOwnersOfAClassCountOnce: a class that names a VM twice, or owners in another order, is the same class.
func TestOwnersOfAClassCountOnce(t *testing.T) {
	a, b := twoFamilies(), twoFamilies()
	b.Classes[0].VMs = []int{2, 0, 2}
	if d := cmp.Diff(mustPlanProblem(t, a), mustPlanProblem(t, b), cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".Problem" }, cmp.Ignore())); d != "" {
		t.Error(d)
	}
}

// drawnProblem is any problem that makes sense.
func drawnProblem(t *rapid.T) Problem {
	labels := rapid.MapOfN(rapid.StringMatching("[a-c]"), rapid.StringMatching("[a-c]"), 0, 2)
	p := Problem{Comment: rapid.SampledFrom([]string{"", "about guest0"}).Draw(t, "comment"), Seed: rapid.Uint64().Draw(t, "seed"), Partial: true, Objective: rapid.SampledFrom([]string{"", "traffic", "makespan", "hosts"}).Draw(t, "objective"),
		Capacity: rapid.SampledFrom([]string{"", "sum", "shared"}).Draw(t, "capacity")}
	for i := range rapid.IntRange(1, 6).Draw(t, "vms") {
		p.VMs = append(p.VMs, placement.VM{Name: fmt.Sprint("guest", i), Memory: rapid.Int64Range(0, 100).Draw(t, "memory"), VCPUs: rapid.IntRange(0, 4).Draw(t, "vcpus"),
			Labels: labels.Draw(t, "labels"), Priority: rapid.IntRange(-1, 1).Draw(t, "priority")})
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "hosts") {
		p.Hosts = append(p.Hosts, placement.Host{Name: fmt.Sprint("metal", i), Memory: rapid.Int64Range(0, 300).Draw(t, "room"), LinkBPS: rapid.Int64Range(0, 100).Draw(t, "link"),
			Rack: rapid.StringMatching("[ab]?").Draw(t, "rack"), Labels: labels.Draw(t, "labels"), Residents: []string{fmt.Sprint("resident", i)}, MaxVMs: rapid.IntRange(0, 4).Draw(t, "max")})
	}
	for range rapid.IntRange(0, 6).Draw(t, "classes") {
		vms := rapid.SliceOfNDistinct(rapid.IntRange(0, len(p.VMs)-1), 1, len(p.VMs), rapid.ID).Draw(t, "owners")
		p.Classes = append(p.Classes, placement.Class{VMs: vms, Bytes: rapid.Int64Range(0, 100).Draw(t, "bytes")})
	}
	for range rapid.IntRange(0, 2).Draw(t, "constraints") {
		c := Constraint{Kind: rapid.SampledFrom([]string{"pin", "exclude", "affinity", "anti-affinity", "label"}).Draw(t, "kind"), VMs: []string{"guest0"}}
		switch c.Kind {
		case "pin", "exclude":
			c.Hosts = []string{"metal0"}
		case "label":
			c.Labels, c.VMs, c.Select = map[string]string{"a": "b"}, nil, map[string]string{"b": "c"}
		case "anti-affinity":
			c.VMs, c.Max, c.Scope = []string{"guest0", "resident0"}, 1, "rack"
		}
		c.Name = rapid.StringMatching("[a-z]*").Draw(t, "name")
		p.Constraints = append(p.Constraints, c)
	}
	return p
}

// TestProblemsSurviveJSON: what is written is read as it was.
func TestProblemsSurviveJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawnProblem(t)
		b, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadProblem(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(got)
		if !bytes.Equal(b, again) {
			t.Fatalf("%s\n%s", b, again)
		}
	})
}

func TestProblemsThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		``:                               "EOF",
		`{"vms":[`:                       "EOF",
		`{"vm":[]}`:                      `unknown field "vm"`,
		`{} {}`:                          "something follows",
		`{"vms":[{"memory_bytes":"5"}]}`: "memory_bytes",
	} {
		if _, err := ReadProblem(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestReadingIsBounded(t *testing.T) {
	if _, err := readBounded(strings.NewReader("12345"), 4); err == nil {
		t.Error("no error")
	}
	if b, err := readBounded(strings.NewReader("1234"), 4); err != nil || string(b) != "1234" {
		t.Error(b, err)
	}
}

// TestAnonymousProblemsAreTheSameProblem: other names, the same answer, and nothing of the old names.
func TestAnonymousProblemsAreTheSameProblem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawnProblem(t)
		before, _ := json.Marshal(p)
		a := Anonymise(&p)
		if after, _ := json.Marshal(p); !bytes.Equal(before, after) {
			t.Fatal("the problem was changed")
		}
		b, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "guest") || strings.Contains(string(b), "resident0") || strings.Contains(string(b), "metal") {
			t.Fatalf("%s", b)
		}
		want, errA := placement.Solve(t.Context(), p)
		got, errB := placement.Solve(t.Context(), *a)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if got.Cost != want.Cost || !reflect.DeepEqual(placedCount(got), placedCount(want)) {
			t.Fatalf("cost %d, was %d", got.Cost, want.Cost)
		}
	})
}

func placedCount(p *placement.Placement) (n int) {
	for _, h := range p.Host {
		if h >= 0 {
			n++
		}
	}
	return n
}

func FuzzReadProblem(f *testing.F) {
	b, _ := json.Marshal(twoFamilies())
	f.Add(b)
	f.Add([]byte(`{"vms":[{"name":"a"}],"constraints":[{"kind":"pin","hosts":["b"]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadProblem(bytes.NewReader(b))
		if err != nil || len(p.VMs)*len(p.Hosts) > 20 || len(p.Classes) > 10 || p.Budget > 0 {
			return
		}
		plan, err := PlanProblem(t.Context(), *p, Network{})
		if err == nil && len(plan.Placement)+len(plan.Unplaced) != len(p.VMs) {
			t.Errorf("%d placed, %d not, of %d", len(plan.Placement), len(plan.Unplaced), len(p.VMs))
		}
	})
}
