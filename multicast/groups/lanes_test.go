package groups

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLanesCostFewChanges: the joins and leaves of whole plans beside the bound for one lane, with an address for each
// group, and what is overheard. A join takes 2 MB of sending, a leave 250 MB.
func TestLanesCostFewChanges(t *testing.T) {
	t.Log("hosts groups | address each | one lane  bound  ratio | with latency: lanes  joins+leaves  ratio  MB overheard, of delivered")
	for _, c := range []struct{ hosts, sets int }{{4, 11}, {8, 60}, {8, 247}, {12, 200}, {16, 300}}[:1+seeds(4)] {
		p := family(c.hosts, c.sets, 1)
		one, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		p.Delay, p.Prices = Delay{Join: 2e6, Leave: 250e6}, Prices{1, 1, 1e5}
		several, err := Solve(p)
		if err != nil {
			t.Fatal(err)
		}
		each, sets := 0, []hostset{}
		for _, s := range p.Sets {
			h := newHostset(c.hosts)
			for _, x := range s.Hosts {
				h.add(x)
			}
			sets = append(sets, h)
			each += 2 * len(s.Hosts)
		}
		least := bound(newDistances(sets))
		a, b := one.Cost.Joins+one.Cost.Leaves, several.Cost.Joins+several.Cost.Leaves
		t.Logf("%5d %6d | %12d | %8d %6d %6.3f | %19d %13d %6.3f %13d %13d", c.hosts, c.sets, each, a, least, float64(a)/float64(least),
			several.Lanes, b, float64(b)/float64(least), several.Cost.Overheard/1e6, several.Cost.Host/1e6)
		if one.Lanes != 1 || float64(a) > 1.05*float64(least) {
			t.Errorf("one lane: %d changes, bound %d", a, least)
		}
		if several.Lanes < 2 || b >= each || several.Cost.Idle > p.Delay.Join {
			t.Errorf("%d lanes: %+v", several.Lanes, several.Cost)
		}
	}
}

// TestLanesAreCutWhereNothingIsShared: two racks that share no set take one lane each, and no more changes than on one.
func TestLanesAreCutWhereNothingIsShared(t *testing.T) {
	p := family(4, 11, 1)
	p.Hosts, p.Limits = 8, Limits{}
	for _, s := range p.Sets {
		other := Set{Bytes: s.Bytes}
		for _, h := range s.Hosts {
			other.Hosts = append(other.Hosts, h+4)
		}
		p.Sets = append(p.Sets, other)
	}
	shuffle(p.Sets, 1)
	one, _ := Solve(p)
	p.Delay.Join = 1e6
	two, err := Solve(p)
	if err != nil || one.Lanes != 1 || two.Lanes != 2 || one.Cost.Joins != two.Cost.Joins || two.Cost.Overheard != 0 {
		t.Fatalf("%v\n%+v\n%+v", err, one, two)
	}
}

// TestOverheardBytesCountWhenGroupsAreChosen: with few lanes and slow leaves, fewer groups are cheaper.
func TestOverheardBytesCountWhenGroupsAreChosen(t *testing.T) {
	p := zipfFamily(12, 60, 60, 1)
	p.Limits.Memberships, p.Delay = 2, Delay{Join: 2e6, Leave: 250e6}
	plan, err := Solve(p)
	if err != nil {
		t.Fatal(err)
	}
	p = p.withDefaults()
	in := compile(&p)
	first := in.choose(p.Prices.Change, rand.New(rand.NewPCG(p.Seed, 0)))
	s := in.arrange(first.parcels())
	got, blind := plan.Cost.Duplicated+plan.Cost.Wasted+plan.Cost.Overheard, first.bytes+s.overheard
	t.Logf("%d groups, %d MB in vain or twice; %d groups, %d MB when leaves are not counted", len(plan.Groups), got/1e6, len(first.groups), blind/1e6)
	if got >= blind || len(plan.Groups) >= len(first.groups) {
		t.Error("not cheaper")
	}
}

func TestCutsAreWhereLittleIsShared(t *testing.T) {
	var parcels []parcel
	for rack, n := range []int{5, 7, 6} {
		parcels = append(parcels, slices.Repeat([]parcel{{hosts: hostset{7 << (3 * rack)}}}, n)...)
	}
	if got, want := cut(parcels, 3), []int{5, 12, 18}; !slices.Equal(got, want) {
		t.Errorf("lanes end at %v, want %v", got, want)
	}
}

// TestTurns: lanes are sent evenly, but one whose next join is not through yet lets another go first.
func TestTurns(t *testing.T) {
	for _, c := range []struct {
		join  int64
		bytes []int64
		ends  []int
		want  []int
	}{
		{0, []int64{3, 3, 3, 3, 20, 20}, []int{4, 6}, []int{0, 4, 1, 2, 5, 3}},
		{10, []int64{3, 3, 3, 3, 3, 3, 20, 20}, []int{4, 6, 8}, []int{0, 4, 6, 1, 5, 7, 2, 3}},
	} {
		in := compile(&Problem{Hosts: 2, Delay: Delay{Join: c.join}})
		var parcels []parcel
		for _, bytes := range c.bytes {
			parcels = append(parcels, parcel{hosts: hostset{3}, bytes: bytes})
		}
		var order []int
		for _, turn := range in.takeTurns(parcels, c.ends) {
			order = append(order, turn.group)
		}
		if !slices.Equal(order, c.want) {
			t.Errorf("order %v, want %v", order, c.want)
		}
	}
}
