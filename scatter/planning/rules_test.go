package planning

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/scatter-vm/scatter/placement"
)

func TestRules(t *testing.T) {
	rules, err := ReadRules(strings.NewReader(`{
		"memory_headroom": 0.1,
		"vms": {"a": {"labels": {"tier": "web", "os": "new"}, "priority": 3}, "elsewhere": {"priority": 9}},
		"hosts": {"h0": {"rack": "r1", "link_bps": 5, "memory_bytes": 100, "vcpus": 4, "max_vms": 2}, "h1": {"memory_bytes": 9000000000, "labels": {"ssd": "yes"}}},
		"constraints": [
			{"name": "one", "kind": "pin", "vms": ["a", "x"], "hosts": ["h1", "h9"]},
			{"kind": "exclude", "vms": ["b"], "hosts": ["h8"]},
			{"kind": "affinity", "vms": ["y", "z"]},
			{"kind": "anti-affinity", "select": {"tier": "web"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	p := twoFamilies()
	p.VMs[0].Labels = map[string]string{"os": "old", "owner": "me"}
	p.Hosts[1].Residents = []string{"r"}
	passed, err := rules.Apply(&p)
	if err != nil {
		t.Fatal(err)
	}
	want := twoFamilies()
	want.Headroom = 0.1
	want.VMs[0].Labels, want.VMs[0].Priority = map[string]string{"tier": "web", "os": "new", "owner": "me"}, 3
	h := &want.Hosts[0]
	h.Rack, h.LinkBPS, h.Memory, h.VCPUs, h.MaxVMs = "r1", 5, 100, 4, 2
	want.Hosts[1].Labels, want.Hosts[1].Residents = map[string]string{"ssd": "yes"}, []string{"r"}
	want.Constraints = []Constraint{{Name: "one", Kind: placement.Pin, VMs: []string{"a"}, Hosts: []string{"h1"}},
		{Kind: placement.AntiAffinity, Select: map[string]string{"tier": "web"}}}
	if d := cmp.Diff(want, p); d != "" {
		t.Error(d)
	}
	told := []string{"constraint one: vm x neither moves nor runs on a target: passed over", "constraint one: host h9 is no target: passed over",
		"constraint exclude: host h8 is no target: passed over", "constraint affinity: vm y neither moves nor runs on a target: passed over",
		"constraint affinity: vm z neither moves nor runs on a target: passed over"}
	if d := cmp.Diff(told, passed); d != "" {
		t.Error(d)
	}
}

// TestPinToNowhere: a VM that may only go to hosts that are no targets is a blocker, not a VM without a rule.
func TestPinToNowhere(t *testing.T) {
	p := twoFamilies()
	rules := Rules{Constraints: []Constraint{{Name: "far", Kind: placement.Pin, VMs: []string{"a"}, Hosts: []string{"h8", "h9"}}}}
	if _, err := rules.Apply(&p); err == nil || !strings.Contains(err.Error(), "constraint far: none of its hosts is a target: h8, h9") {
		t.Errorf("got %v", err)
	}
}

// TestAddHosts: what rules say of a host stands, and what is known of it from elsewhere completes it.
func TestAddHosts(t *testing.T) {
	ours := Rules{Hosts: map[string]HostRules{"h0": {Rack: "r1", Labels: map[string]string{"ssd": "no"}}}}
	alone := ours
	if alone.AddHosts(nil); !cmp.Equal(alone, ours) {
		t.Errorf("nothing was added, and %v came of it", alone.Hosts)
	}
	ours.AddHosts(map[string]HostRules{"h0": {Rack: "r2", LinkBPS: 7, Labels: map[string]string{"ssd": "yes", "room": "a"}}, "h1": {Rack: "r3"}})
	if diff := cmp.Diff(map[string]HostRules{"h0": {Rack: "r1", LinkBPS: 7, Labels: map[string]string{"ssd": "no", "room": "a"}}, "h1": {Rack: "r3"}}, ours.Hosts); diff != "" {
		t.Error(diff)
	}
}

func TestRulesThatAreNone(t *testing.T) {
	for text, want := range map[string]string{`{"host": {}}`: `unknown field "host"`, `{"hosts": []}`: "hosts", `[]`: "array", `{"constraints": [{"kin": "pin"}]}`: `unknown field "kin"`} {
		if _, err := ReadRules(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := RulesOf(map[string]any{"vms": map[string]any{"a": map[string]any{"prio": 1}}}); err == nil || !strings.Contains(err.Error(), `unknown field "prio"`) {
		t.Errorf("got %v", err)
	}
}
