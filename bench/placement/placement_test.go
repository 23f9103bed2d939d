package main

import (
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/placement"
)

// pairs is four VMs of which two and two share all they have, on two hosts with room for two.
func pairs() placement.Problem {
	p := placement.Problem{Hosts: []placement.Host{{Name: "a", Memory: 20}, {Name: "b", Memory: 20}},
		Classes: []placement.Class{{VMs: []int{0, 2, 2}, Bytes: 5}, {VMs: []int{1, 3}, Bytes: 7}, {VMs: []int{3}, Bytes: 1}}}
	for range 4 {
		p.VMs = append(p.VMs, placement.VM{Memory: 10})
	}
	return p
}

func TestRulesCountTheirTraffic(t *testing.T) {
	p := pairs()
	want := map[string]float64{"greedy": 13}
	for i := range rules {
		cost, fits := rules[i].cost(&p)
		if !fits || cost < 13 || cost > 25 {
			t.Errorf("%s: %v, %v", rules[i].name, cost, fits)
		}
		if w, ok := want[rules[i].name]; ok && cost != w {
			t.Errorf("%s: %v, want %v", rules[i].name, cost, w)
		}
	}
}

func TestRulesSayWhenThereIsNoRoom(t *testing.T) {
	p := pairs()
	p.Hosts[1].Memory = 19
	for i := range rules {
		if _, fits := rules[i].cost(&p); fits {
			t.Errorf("%s found room for four VMs in three places", rules[i].name)
		}
	}
}

func TestPromises(t *testing.T) {
	good := result{instance: instance{name: "x", exact: true, vsLong: 0.02, gain: 0.1, seconds: 1, gib: 1}, cost: 100, known: 100, long: 99,
		rules: map[string]float64{"greedy": 120}, took: 5e8, peak: 1 << 29, bound: 90}
	if tab := promises(tiny{problems: 1, proven: 1}, []result{good}, 0); !tab.Kept() {
		t.Error(tab.Markdown())
	}
	for name, spoil := range map[string]func(*result){
		"best": func(r *result) { r.known = 99 }, "near": func(r *result) { r.near, r.exact, r.known, r.once = 0.08, false, 91, 10 }, "long": func(r *result) { r.long = 97 }, "greedy": func(r *result) { r.rules = map[string]float64{"greedy": 105} },
		"time": func(r *result) { r.took = 2e9 }, "memory": func(r *result) { r.peak = 2 << 30 },
	} {
		bad := good
		spoil(&bad)
		if promises(tiny{problems: 1, proven: 1}, []result{bad}, 0).Kept() {
			t.Errorf("%s: a broken promise counts as kept", name)
		}
	}
	good.copies, good.once, good.rules = true, 80, map[string]float64{"greedy": 102}
	if s := good.saved(); s < 0.09 || s > 0.1 {
		t.Errorf("%v of the copies are saved", s)
	}
	good.rules = map[string]float64{"greedy": 120}
	if svg := plot([]result{good}); !strings.Contains(svg, ">1.20</text>") {
		t.Error(svg)
	}
}
