package groups

import (
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// keepAll is the groups of a plan, to be used again.
func keepAll(p *Plan) (kept []Kept) {
	for _, g := range p.Groups {
		kept = append(kept, Kept{g.Hosts, g.Lane})
	}
	return kept
}

// TestKeptGroupsGiveTheSamePlan: nothing has changed, so nothing gets dearer; nor cheaper, or Solve had missed it.
func TestKeptGroupsGiveTheSamePlan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		first, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p.Keep = keepAll(first)
		again, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		if len(first.Groups) == 0 {
			return
		}
		// What cost as much to waste at hosts may be copied at the source instead.
		copied := (again.Cost.Source - first.Cost.Source) * p.Prices.Source
		if again.Cost.Joins > first.Cost.Joins || again.Cost.Total < first.Cost.Total || copied > first.Cost.Wasted*p.Prices.Host || len(again.Groups) > len(first.Groups) {
			t.Fatalf("%+v\n%+v", first, again)
		}
		q := p.withDefaults()
		members := newMembers(t, &q, again)
		checkCarriage(t, &q, again)
		for i := range again.Groups {
			members.begin(i)
			members.end(i)
		}
		if want := twinCost(&q, again); again.Cost != want {
			t.Fatalf("cost %+v, is %+v", again.Cost, want)
		}
	})
}

// TestKeptGroupsCarryOtherSets: new sets go by the groups there are, and a group without any is left out.
func TestKeptGroupsCarryOtherSets(t *testing.T) {
	p := Problem{Hosts: 5, Prices: Prices{2, 1, 0},
		Sets: []Set{{[]int{0, 1, 2}, 10}, {[]int{0, 1}, 5}, {[]int{3, 4}, 7}, {[]int{4}, 1}},
		Keep: []Kept{{[]int{1, 2}, 7}, {[]int{0, 3}, 3}, {[]int{0, 1, 2}, 3}}}
	plan, err := Solve(p)
	if err != nil {
		t.Fatal(err)
	}
	want := []Carriage{{Group: 0, Copies: []int{}}, {Group: 0, Copies: []int{}}, {Group: NoGroup, Copies: []int{3, 4}}, {Group: NoGroup, Copies: []int{4}}}
	if !reflect.DeepEqual(plan.Sets, want) || plan.Lanes != 1 || !reflect.DeepEqual(sortedSets(plan), [][]int{{0, 1, 2}}) {
		t.Fatalf("%+v", plan)
	}
}

func TestKeptGroupsAreChecked(t *testing.T) {
	for want, edit := range map[string]func(*Problem){
		"kept group 1: host 9":                    func(p *Problem) { p.Keep[1].Hosts = []int{9} },
		"kept group 0: host 1: unknown, or named": func(p *Problem) { p.Keep[0].Hosts = []int{1, 1} },
		"2 kept groups in 2 lanes":                func(p *Problem) { p.Limits.Memberships = 1 },
		"2 kept groups in 1 lanes":                func(p *Problem) { p.Keep[1].Lane, p.Limits.Groups = 0, 1 },
	} {
		p := Problem{Hosts: 3, Sets: []Set{{[]int{0, 1}, 1}}, Keep: []Kept{{[]int{0, 1}, 0}, {[]int{1, 2}, 1}}}
		edit(&p)
		if _, err := Solve(p); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
