package groups

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestPlanCanBeExecuted walks through plans as their executor would.
func TestPlanCanBeExecuted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		plan, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p = p.withDefaults()
		if len(plan.Groups) > p.Limits.Groups || plan.Lanes > min(p.Limits.Groups, p.Limits.Memberships) {
			t.Fatalf("%d groups in %d lanes, limits %+v", len(plan.Groups), plan.Lanes, p.Limits)
		}
		checkCarriage(t, &p, plan)
		members := newMembers(t, &p, plan)
		for i := range plan.Groups {
			members.begin(i)
			members.end(i)
		}
		for lane, hosts := range members.joined {
			if len(hosts) > 0 {
				t.Fatalf("lane %d: %v never leave", lane, hosts)
			}
		}
	})
}

// checkCarriage: every set reaches each of its hosts once.
func checkCarriage(t *rapid.T, p *Problem, plan *Plan) {
	carried := make([][]int, len(plan.Groups))
	for i, how := range plan.Sets {
		reached := slices.Clone(how.Copies)
		if how.Group != NoGroup {
			carried[how.Group] = append(carried[how.Group], i)
			for _, h := range plan.Groups[how.Group].Hosts {
				if slices.Contains(p.Sets[i].Hosts, h) {
					reached = append(reached, h)
				}
			}
		}
		slices.Sort(reached)
		if want := slices.Sorted(slices.Values(p.Sets[i].Hosts)); !slices.Equal(reached, want) {
			t.Fatalf("set %d of hosts %v reaches %v", i, want, reached)
		}
	}
	for g, sets := range carried {
		checkGroup(t, p, plan.Groups[g], sets)
	}
}

// checkGroup: a group knows what it carries.
func checkGroup(t *rapid.T, p *Problem, g Group, sets []int) {
	var sent, wasted int64
	for _, s := range sets {
		sent += p.Sets[s].Bytes
		for _, h := range g.Hosts {
			if !slices.Contains(p.Sets[s].Hosts, h) {
				wasted += p.Sets[s].Bytes
			}
		}
	}
	if len(sets) == 0 || !slices.Equal(sets, g.Sets) || sent != g.Bytes || wasted != g.Wasted {
		t.Fatalf("carries %v, %d bytes, %d wasted, but says %+v", sets, sent, wasted, g)
	}
}

// members is who has joined which lane while a plan is executed.
type members struct {
	*rapid.T
	limit  int
	plan   *Plan
	joined []map[int]bool // by lane
	opened []bool         // by group
	sent   map[int]int    // by lane: its last group
}

func newMembers(t *rapid.T, p *Problem, plan *Plan) *members {
	m := &members{T: t, limit: p.Limits.Memberships, plan: plan, opened: make([]bool, len(plan.Groups)), sent: map[int]int{}}
	for range plan.Lanes {
		m.joined = append(m.joined, map[int]bool{})
	}
	return m
}

// begin issues the joins that are due, and finds everyone who is to hear group i a member.
func (m *members) begin(i int) {
	for j, g := range m.plan.Groups {
		if g.Opens == i {
			m.join(j)
		}
	}
	if last, ok := m.sent[m.plan.Groups[i].Lane]; !m.opened[i] || ok && m.plan.Groups[i].Opens < last {
		m.Fatalf("group %d is not open, or too early: %+v", i, m.plan.Groups[i])
	}
	m.sent[m.plan.Groups[i].Lane] = i
	for _, h := range m.plan.Groups[i].Hosts {
		if !m.joined[m.plan.Groups[i].Lane][h] {
			m.Fatalf("group %d: host %d is no member", i, h)
		}
	}
}

func (m *members) join(group int) {
	m.opened[group] = true
	g := m.plan.Groups[group]
	for _, h := range g.Join {
		if m.joined[g.Lane][h] {
			m.Fatalf("group %d: host %d joins lane %d twice", group, h, g.Lane)
		}
		m.joined[g.Lane][h] = true
		n := 0
		for _, lane := range m.joined {
			if lane[h] {
				n++
			}
		}
		if n > m.limit {
			m.Fatalf("group %d: host %d has %d memberships, limit %d", group, h, n, m.limit)
		}
	}
}

func (m *members) end(i int) {
	g := m.plan.Groups[i]
	for _, h := range g.Leave {
		if !m.joined[g.Lane][h] {
			m.Fatalf("group %d: host %d leaves a lane that it is not in", i, h)
		}
		delete(m.joined[g.Lane], h)
	}
}

// TestCostIsWhatHappens adds every cost up again, byte by byte.
func TestCostIsWhatHappens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		plan, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p = p.withDefaults()
		want := twinCost(&p, plan)
		if plan.Cost != want {
			t.Fatalf("cost\n%+v, is\n%+v", plan.Cost, want)
		}
	})
}

// TestJoinsAreHidden: with a lane to spare, the source waits for no join but the first.
func TestJoinsAreHidden(t *testing.T) {
	for seed := range 3 * seeds(5) {
		p := family(8, 40, seed)
		p.Limits.Memberships = 2 + int(seed%3)
		p.Delay = Delay{Join: 2e6, Leave: 25e7}
		plan, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		if plan.Lanes < 2 || plan.Cost.Idle != p.Delay.Join {
			t.Fatalf("%d lanes: %+v", plan.Lanes, plan.Cost)
		}
		for i, g := range plan.Groups[1:] {
			if g.Opens > i || plan.Groups[i].Lane == g.Lane || plan.Groups[g.Opens].Lane == g.Lane {
				t.Fatalf("group %d on lane %d opens with %d", i+1, g.Lane, g.Opens)
			}
		}
	}
}

func TestOrderOfSetsDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawProblem(t)
		q := p
		at := rapid.Permutation(indices(len(p.Sets))).Draw(t, "order")
		q.Sets = nil
		for _, i := range at {
			q.Sets = append(q.Sets, p.Sets[i])
		}
		a, errA := Solve(p)
		b, errB := Solve(q)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		for g := range b.Groups {
			for i, s := range b.Groups[g].Sets {
				b.Groups[g].Sets[i] = at[s]
			}
			slices.Sort(b.Groups[g].Sets)
		}
		if !reflect.DeepEqual(a.Groups, b.Groups) || a.Cost != b.Cost {
			t.Fatalf("%+v\n%+v", a, b)
		}
		for i, s := range at {
			if a.Sets[s].Group != b.Sets[i].Group {
				t.Fatalf("set %d: group %d, or %d", s, a.Sets[s].Group, b.Sets[i].Group)
			}
		}
	})
}

func indices(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestDearJoinsMeanFewerGroups: a group on the way from one to the next costs nothing; one that is off the way goes first.
func TestDearJoinsMeanFewerGroups(t *testing.T) {
	sets := []Set{{[]int{0, 1, 2}, 1000}, {[]int{0, 1, 2, 3}, 1000}, {[]int{1, 2}, 10}, {[]int{4, 5}, 3}, {[]int{3}, 500}}
	for _, c := range []struct {
		change int64
		groups [][]int
		copies []int // of set 2
	}{
		{0, [][]int{{0, 1, 2}, {0, 1, 2, 3}, {1, 2}, {4, 5}}, nil},
		{4, [][]int{{0, 1, 2}, {0, 1, 2, 3}, {1, 2}}, nil},
		{501, [][]int{{0, 1, 2}, {1, 2}}, nil},
		{5000, nil, []int{1, 2}},
	} {
		plan, err := Solve(Problem{Hosts: 6, Sets: sets, Prices: Prices{1, 1, c.change}})
		if err != nil {
			t.Fatal(err)
		}
		if got := sortedSets(plan); !reflect.DeepEqual(got, c.groups) {
			t.Errorf("change %d: groups %v, want %v", c.change, got, c.groups)
		}
		if !slices.Equal(plan.Sets[2].Copies, c.copies) || !slices.Equal(plan.Sets[4].Copies, []int{3}) {
			t.Errorf("change %d: copies %+v", c.change, plan.Sets)
		}
	}
}

func TestMostHostsByGroupTheRestByCopies(t *testing.T) {
	plan, err := Solve(Problem{Hosts: 6, Limits: Limits{Groups: 1}, Sets: []Set{{[]int{0, 1, 2, 3, 4}, 100}, {[]int{5, 0, 1, 2, 3, 4}, 10}}})
	if err != nil {
		t.Fatal(err)
	}
	want := []Carriage{{Group: 0, Copies: []int{}}, {Group: 0, Copies: []int{5}}}
	if !reflect.DeepEqual(plan.Sets, want) || plan.Cost.Duplicated != 10 || plan.Cost.Wasted != 0 {
		t.Fatalf("%+v", plan)
	}
}

func TestProblemsAreRefused(t *testing.T) {
	good := Problem{Hosts: 3, Sets: []Set{{[]int{0, 1}, 5}}}
	for _, c := range []struct {
		word string
		edit func(*Problem)
	}{
		{"hosts -1", func(p *Problem) { p.Hosts = -1 }},
		{"hosts 4097", func(p *Problem) { p.Hosts = MaxHosts + 1 }},
		{"limit of groups -1", func(p *Problem) { p.Limits.Groups = -1 }},
		{"limit of groups 4097", func(p *Problem) { p.Limits.Groups = MaxGroups + 1 }},
		{"limit of memberships -2", func(p *Problem) { p.Limits.Memberships = -2 }},
		{"price of a source's byte -1", func(p *Problem) { p.Prices.Source = -1 }},
		{"price of a host's byte -1", func(p *Problem) { p.Prices.Host = -1 }},
		{"price of a change -1", func(p *Problem) { p.Prices.Change = -1 }},
		{"delay of a join -1", func(p *Problem) { p.Delay.Join = -1 }},
		{"delay of a leave -1", func(p *Problem) { p.Delay.Leave = -1 }},
		{"effort -1", func(p *Problem) { p.Effort = -1 }},
		{"set 0: host 3", func(p *Problem) { p.Sets = []Set{{[]int{0, 3}, 5}} }},
		{"set 0: host -1", func(p *Problem) { p.Sets = []Set{{[]int{-1}, 5}} }},
		{"set 0: host 1", func(p *Problem) { p.Sets = []Set{{[]int{1, 1}, 5}} }},
		{"set 0: 5 bytes for 0 hosts", func(p *Problem) { p.Sets = []Set{{nil, 5}} }},
		{"set 0: -5 bytes", func(p *Problem) { p.Sets = []Set{{[]int{1}, -5}} }},
		{"set 1: more bytes", func(p *Problem) { p.Sets = append(p.Sets, Set{[]int{1, 2}, 1 << 58}) }},
	} {
		p := good
		c.edit(&p)
		if _, err := Solve(p); err == nil || !strings.HasPrefix(err.Error(), c.word) {
			t.Errorf("%q, want %q", err, c.word)
		}
	}
	if _, err := Solve(good); err != nil {
		t.Error(err)
	}
}
