package planning

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// keptPlan is a plan as it is kept in a file.
func keptPlan(t *testing.T) (*Plan, []byte) {
	t.Helper()
	p := mustPlanProblem(t, twoFamilies())
	b, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	p.Problem = nil
	return p, b
}

// TestPlansSurviveJSON: what is kept is read as it was, also as a line of --json; and nothing less than all of it is a plan.
func TestPlansSurviveJSON(t *testing.T) {
	want, b := keptPlan(t)
	line, err := json.Marshal(struct {
		Type string `json:"type"`
		*Plan
	}{"plan", want})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range [][]byte{b, line} {
		got, err := ReadPlan(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	}
	for i := range len(line) {
		if _, err := ReadPlan(bytes.NewReader(line[:i])); err == nil {
			t.Fatalf("the first %d bytes are a plan", i)
		}
	}
}

func TestPlansThatAreNone(t *testing.T) {
	_, b := keptPlan(t)
	for _, c := range []struct{ from, to, want string }{
		{`"format": 1`, `"format": 2`, "plan of format 2: this scatter reads format 1"},
		{`"format": 1,`, ``, "it has no format"},
		{`"unicast": false`, `"multicast": false`, `unknown field "multicast"`},
		{`"a": "`, `"": "`, "a name is empty"},
		{`"max_groups": 64`, `"max_groups": -1`, "limits.max_groups -1: must be 1 to 4096"},
		{`"max_memberships": 16`, `"max_memberships": 5000`, "limits.max_memberships 5000"},
		{`"seed": 0`, `"seed": "x"`, "seed"},
	} {
		text := strings.Replace(string(b), c.from, c.to, 1)
		if text == string(b) {
			t.Fatalf("%s is not in the plan", c.from)
		}
		if _, err := ReadPlan(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.to, err, c.want)
		}
	}
	if _, err := ReadPlan(strings.NewReader(`{"format": 1, "placement": {}, "limits": {"max_groups": 1, "max_memberships": 1}}`)); err == nil {
		t.Error("a plan that moves nothing")
	}
	if _, err := ReadPlan(strings.NewReader(string(b) + "x")); err == nil {
		t.Error("something behind the plan")
	}
}

func FuzzReadPlan(f *testing.F) {
	f.Add([]byte(`{"format":1,"placement":{"a":"b"},"limits":{"max_groups":1,"max_memberships":1},"groups":[{"hosts":["b","c"],"lane":1}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ReadPlan(bytes.NewReader(b))
		if err != nil {
			return
		}
		problem := twoFamilies()
		Drift(p, &problem)
		p.GroupsFor(HostNames(&problem))
	})
}

// changed is twoFamilies after a change.
func changed(edit func(*Problem)) *Problem {
	p := twoFamilies()
	edit(&p)
	return &p
}

// TestDrift: a plan holds while nothing that it rests on has changed by more than a tenth, and it says what has.
func TestDrift(t *testing.T) {
	for name, c := range map[string]struct {
		edit func(*Problem)
		want []string // beginnings of what is told
	}{
		"nothing":       {func(*Problem) {}, nil},
		"more room":     {func(p *Problem) { p.Hosts[0].Memory *= 2 }, nil},
		"less, enough":  {func(p *Problem) { p.Hosts[0].Memory = 200 * mib }, nil},
		"another host":  {func(p *Problem) { p.Hosts = append(p.Hosts, p.Hosts[0]); p.Hosts[2].Name = "h2" }, nil},
		"less room":     {func(p *Problem) { p.Hosts[1].Memory = 150 * mib }, []string{"host h1: has room for 150 MiB, the plan puts 200 MiB there (it had 200 MiB)"}},
		"no such host":  {func(p *Problem) { p.Hosts[0].Name = "h7" }, []string{"vm a on host h0: is planned there", "vm c on host h0: is planned there"}},
		"no such vm":    {func(p *Problem) { p.VMs[3].Name = "e" }, []string{"vm d: is in the plan, but", "vm e: is to move, but is not in the plan", "what the VMs share has changed by"}},
		"a larger vm":   {func(p *Problem) { p.VMs[1].Memory += 8 * mib; p.Hosts[0].Memory, p.Hosts[1].Memory = 300*mib, 300*mib }, []string{"vm b: had 100 MiB and 1 vcpus when it was planned, has 108 MiB and 1"}},
		"more vcpus":    {func(p *Problem) { p.VMs[1].VCPUs = 4 }, []string{"vm b: had 100 MiB and 1 vcpus when it was planned, has 100 MiB and 4"}},
		"little shared": {func(p *Problem) { p.Classes[0].Bytes = 45 * mib }, nil}, // 15 of 230 MiB in pairs, 30 of 310 in VMs
		"too little":    {func(p *Problem) { p.Classes[0].Bytes = 36 * mib }, []string{"what the VMs share has changed by 10 % (most: a and c: 56.0 MiB, were 80.0)", "what the VMs hold has changed by"}},
		"none shared":   {func(p *Problem) { p.Classes = p.Classes[3:] }, []string{"what the VMs share has changed by 100 %", "what the VMs hold has changed by 97 %"}},
		"new contents":  {func(p *Problem) { p.Classes[6].Bytes += 40 * mib }, []string{"what the VMs hold has changed by 13 % (most: d: 114.0 MiB, were 74.0)"}},
	} {
		kept, _ := keptPlan(t)
		var got []string
		for _, b := range Drift(kept, changed(c.edit)) {
			got = append(got, b.String())
		}
		ok := len(got) == len(c.want)
		for i := range c.want {
			ok = ok && strings.HasPrefix(got[i], c.want[i])
		}
		if !ok {
			t.Errorf("%s: told %q, want %q", name, got, c.want)
		}
	}
}

// TestKeptGroupsAreExecuted: with an unchanged plan its groups are used, in its order.
func TestKeptGroupsAreExecuted(t *testing.T) {
	kept, _ := keptPlan(t)
	kept.Groups = []PlanGroup{{Hosts: []string{"h1", "h0", "gone"}, Lane: 3}, {Hosts: []string{"h1"}}, {Hosts: []string{"h0"}, Lane: 1}}
	if got := fmt.Sprint(kept.GroupsFor([]string{"h0", "h1"})); got != "[{[1 0] 3}]" {
		t.Errorf("got %s", got)
	}
	lim := GroupLimits{Base: groupBase, Max: 4, Memberships: 2, Keep: kept.GroupsFor([]string{"h0", "h1"})}
	p := mustPlan(t, 2, []int{0, 1}, []ClassInfo{vmsOf(1, 0, 1), vmsOf(7, 0)}, lim) // so few contents would go by copies
	if !strings.HasPrefix(p.summary(), "channel 1 to [0 1] by 239.77.0.0:9770: 1 contents\n") {
		t.Errorf("got %s", p.summary())
	}
}
