package planning

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/scatter-vm/scatter/scatter/model"
)

var groupBase = netip.MustParseAddr("239.77.0.0")

// vmsOf makes a class of n contents that the VMs share.
func vmsOf(contents int, vms ...int) ClassInfo {
	return ClassInfo{VMs: vms, Contents: contents, Bytes: int64(contents) * model.PageSize}
}

func mustPlan(t rapid.TB, hosts int, host []int, classes []ClassInfo, lim GroupLimits) *Schedule {
	t.Helper()
	names := make([]string, hosts)
	for i := range names {
		names[i] = fmt.Sprint("h", i)
	}
	p, err := NewSchedule(names, host, classes, Interleave(host), lim)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// summary is a plan in a few lines: its channels, its steps, its ends.
func (p *Schedule) summary() string {
	var b strings.Builder
	for _, c := range p.Channels {
		address := "unicast"
		if c.Group.IsValid() {
			address = c.Group.String()
		}
		fmt.Fprintf(&b, "channel %d to %v by %s: %d contents\n", c.ID, c.Hosts, address, c.Contents)
	}
	for i, s := range p.Steps {
		part := ""
		if s.Part {
			part = " in part"
		}
		fmt.Fprintf(&b, "class %d to %v%s, ends %v\n", s.Class, p.Channels[s.Channel].Hosts, part, p.EndsAt[i])
	}
	fmt.Fprintf(&b, "%d contents, %d joins, ended before: %v\n", p.Bytes/model.PageSize, p.Cost.Joins, p.EndsAt[-1])
	return b.String()
}

// TestSpareAddress is one behind those of the groups, as long as hosts may be in one more.
func TestSpareAddress(t *testing.T) {
	host := []int{0, 1, 2}
	classes := []ClassInfo{vmsOf(100, 0, 1, 2), vmsOf(50, 0, 1), vmsOf(5, 1, 2)}
	base := netip.MustParseAddr("239.1.1.1")
	p := mustPlan(t, 3, host, classes, GroupLimits{Base: base, Max: 64})
	if !p.Spare.IsValid() || p.Spare.Addr().Less(base) || slices.ContainsFunc(p.Channels, func(c Channel) bool { return c.Group == p.Spare }) {
		t.Errorf("%v beside\n%s", p.Spare, p.summary())
	}
	for name, lim := range map[string]GroupLimits{
		"no group":       {Base: base, Max: 64, None: true},
		"one membership": {Base: base, Max: 64, Memberships: 1},
	} {
		if p := mustPlan(t, 3, host, classes, lim); p.Spare.IsValid() {
			t.Errorf("%s: %v", name, p.Spare)
		}
	}
}

func TestPlan(t *testing.T) {
	// VMs 0 and 3 on host 0, 1 on host 1, 2 on host 2. Classes: each VM's own, then what all have, then pairs.
	host := []int{0, 1, 2, 0}
	classes := []ClassInfo{vmsOf(10, 0), vmsOf(11, 1), vmsOf(12, 2), vmsOf(13, 3), vmsOf(100, 0, 1, 2, 3), vmsOf(50, 0, 1), vmsOf(5, 1, 2), vmsOf(7, 0, 3)}
	cases := []struct {
		name string
		lim  GroupLimits
		want string
	}{
		{"a group for each target set, in two lanes", GroupLimits{Base: groupBase, Max: 64}, `
channel 1 to [0 1 2] by 239.77.0.0:9770: 100 contents
channel 2 to [1 2] by 239.77.0.1:9770: 5 contents
channel 3 to [0 1] by 239.77.0.0:9770: 50 contents
channel 4 to [0] by unicast: 30 contents
channel 5 to [1] by unicast: 11 contents
channel 6 to [2] by unicast: 12 contents
class 4 to [0 1 2], ends []
class 7 to [0], ends []
class 0 to [0], ends []
class 1 to [1], ends []
class 6 to [1 2], ends []
class 5 to [0 1], ends [0 1]
class 2 to [2], ends [2]
class 3 to [0], ends [3]
208 contents, 5 joins, ended before: []
`},
		{"one group: the others go to its members, who skip what is not theirs", GroupLimits{Base: groupBase, Max: 1}, `
channel 1 to [0 1 2] by 239.77.0.0:9770: 155 contents
channel 2 to [0] by unicast: 30 contents
channel 3 to [1] by unicast: 11 contents
channel 4 to [2] by unicast: 12 contents
class 4 to [0 1 2], ends []
class 7 to [0], ends []
class 0 to [0], ends []
class 1 to [1], ends []
class 5 to [0 1 2], ends [0]
class 6 to [0 1 2], ends [1]
class 2 to [2], ends [2]
class 3 to [0], ends [3]
208 contents, 3 joins, ended before: []
`},
		{"no multicast: a copy for each host", GroupLimits{Base: groupBase, Max: 64, None: true}, `
channel 1 to [0] by unicast: 180 contents
channel 2 to [1] by unicast: 166 contents
channel 3 to [2] by unicast: 117 contents
class 4 to [0] in part, ends []
class 5 to [0] in part, ends []
class 7 to [0], ends []
class 4 to [1] in part, ends []
class 5 to [1] in part, ends []
class 6 to [1] in part, ends []
class 4 to [2] in part, ends []
class 6 to [2] in part, ends []
class 0 to [0], ends [0]
class 1 to [1], ends [1]
class 2 to [2], ends [2]
class 3 to [0], ends [3]
463 contents, 0 joins, ended before: []
`},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p := mustPlan(t, 3, host, classes, c.lim)
			if d := cmp.Diff(strings.TrimPrefix(c.want, "\n"), p.summary()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestPlanWithoutASuperset: a set that no group covers goes to each of its hosts.
func TestPlanWithoutASuperset(t *testing.T) {
	p := mustPlan(t, 4, []int{0, 1, 2, 3}, []ClassInfo{vmsOf(100, 0, 1), vmsOf(3, 2, 3), vmsOf(2, 1, 2, 3)}, GroupLimits{Base: groupBase, Max: 1})
	const want = `channel 1 to [0 1] by 239.77.0.0:9770: 100 contents
channel 2 to [1] by unicast: 2 contents
channel 3 to [2] by unicast: 5 contents
channel 4 to [3] by unicast: 5 contents
`
	if got := p.summary(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// TestPlanTakesTheSmallestSuperset: fewer hosts skip what is not theirs, and nobody opens a channel for nothing.
func TestPlanTakesTheSmallestSuperset(t *testing.T) {
	p := mustPlan(t, 4, []int{0, 1, 2, 3}, []ClassInfo{vmsOf(100, 0, 1, 2, 3), vmsOf(90, 0, 1, 2), vmsOf(1, 1, 2)}, GroupLimits{Base: groupBase, Max: 2})
	const want = `channel 1 to [0 1 2 3] by 239.77.0.0:9770: 100 contents
channel 2 to [0 1 2] by 239.77.0.0:9770: 91 contents
class 0`
	if got := p.summary(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// TestPlanOfVMsThatStay: what only they own is not sent, and nobody waits for it.
func TestPlanOfVMsThatStay(t *testing.T) {
	p := mustPlan(t, 2, []int{-1, 1}, []ClassInfo{vmsOf(9, 0), vmsOf(5, 0, 1)}, GroupLimits{Base: groupBase, Max: 8})
	const want = "channel 1 to [1] by unicast: 5 contents\nclass 1 to [1], ends [1]\n5 contents, 0 joins, ended before: [0]\n"
	if got := p.summary(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPlanOfNothing(t *testing.T) {
	p := mustPlan(t, 2, []int{0, 1}, nil, GroupLimits{Base: groupBase, Max: 8})
	if got, want := p.summary(), "0 contents, 0 joins, ended before: [0 1]\n"; got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPlanLeavesTheMulticastRange(t *testing.T) {
	classes := []ClassInfo{vmsOf(1000, 0, 1), vmsOf(1000, 1, 2)}
	lim := GroupLimits{Base: netip.MustParseAddr("239.255.255.255"), Max: 2, Memberships: 2}
	_, err := NewSchedule([]string{"a", "b", "c"}, []int{0, 1, 2}, classes, []int{0, 1, 2}, lim)
	if err == nil || !strings.Contains(err.Error(), "240.0.0.0") || !strings.Contains(err.Error(), "--group-base") {
		t.Errorf("got %v", err)
	}
	lim.Memberships = 1
	if _, err := NewSchedule([]string{"a", "b", "c"}, []int{0, 1, 2}, classes, []int{0, 1, 2}, lim); err != nil {
		t.Error(err)
	}
}

// TestPlanProperties: whatever is planned, each content reaches every host of its VMs exactly once, what many and what one host get is
// woven evenly until the first VMs have all, no more groups are used than allowed, no host has more memberships than allowed, joins and leaves are counted right, and a VM is done exactly after the last
// step that brings it anything.
func TestPlanProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hosts, vms := rapid.IntRange(1, 6).Draw(t, "hosts"), rapid.IntRange(1, 8).Draw(t, "vms")
		host := rapid.SliceOfN(rapid.IntRange(-1, hosts-1), vms, vms).Draw(t, "host")
		class := rapid.Custom(func(t *rapid.T) ClassInfo {
			set := rapid.SliceOfNDistinct(rapid.IntRange(0, vms-1), 1, vms, rapid.ID).Draw(t, "owners")
			slices.Sort(set)
			return vmsOf(rapid.OneOf(rapid.IntRange(1, 1000), rapid.IntRange(1, 1_000_000)).Draw(t, "contents"), set...)
		})
		classes := rapid.SliceOfN(class, 0, 20).Draw(t, "classes")
		lim := GroupLimits{Base: groupBase, Max: rapid.IntRange(0, 10).Draw(t, "max"), Memberships: rapid.IntRange(1, 4).Draw(t, "memberships"),
			None: rapid.Bool().Draw(t, "none")}
		p := mustPlan(t, hosts, host, classes, lim)
		checkDelivery(t, p, host, classes)
		checkChannels(t, p, lim)
		checkEnds(t, p, host, classes)
		checkWeave(t, p)
	})
}

func checkDelivery(t *rapid.T, p *Schedule, host []int, classes []ClassInfo) {
	var bytes int64
	for ci, c := range classes {
		times := make([]int, len(p.Hosts))
		sent := make([]int, len(p.Channels))
		steps := 0
		for _, s := range p.Steps {
			if s.Class != ci {
				continue
			}
			steps++
			bytes += int64(s.Contents) * model.PageSize
			if s.First != sent[s.Channel] || s.First%BlockContents != 0 || s.Contents < 1 {
				t.Fatalf("class %d to %v: %d contents from %d on, behind %d", ci, p.Channels[s.Channel].Hosts, s.Contents, s.First, sent[s.Channel])
			}
			if sent[s.Channel] += s.Contents; sent[s.Channel] == c.Contents {
				for _, h := range p.Channels[s.Channel].Hosts {
					times[h]++
				}
			}
			missed := slices.ContainsFunc(hostsOf(c.VMs, host), func(h int) bool { return !slices.Contains(p.Channels[s.Channel].Hosts, h) })
			if s.Part != missed {
				t.Fatalf("class %d to %v: part %v", ci, p.Channels[s.Channel].Hosts, s.Part)
			}
		}
		for _, h := range hostsOf(c.VMs, host) {
			if times[h] != 1 {
				t.Fatalf("class %v reaches host %d %d times:\n%s", c.VMs, h, times[h], p.summary())
			}
		}
		if len(hostsOf(c.VMs, host)) == 0 && steps > 0 {
			t.Fatalf("class %v is sent, but nobody needs it", c.VMs)
		}
	}
	if bytes != p.Bytes {
		t.Fatalf("plan of %d bytes says %d", bytes, p.Bytes)
	}
}

// checkWeave: until the first VMs have what only their hosts get, the contents for several hosts and those for one are sent evenly.
func checkWeave(t *rapid.T, p *Schedule) {
	several := func(s BulkStep) bool { return len(p.Channels[s.Channel].Hosts) > 1 }
	one := func(s BulkStep) bool { return !several(s) }
	if !slices.ContainsFunc(p.Steps, several) || !slices.ContainsFunc(p.Steps, one) {
		return // nothing to weave
	}
	last := -1 // of the woven steps
	var first []int
	for i, s := range p.Steps {
		vms := p.classes[s.Class].VMs
		if own := !several(s) && len(vms) == 1; own && len(first) < woven && !slices.Contains(first, vms[0]) {
			first = append(first, vms[0])
		}
		if several(s) || len(vms) > 1 || slices.Contains(first, vms[0]) {
			last = i
		}
	}
	var total, sent [2]int
	piece := 0
	for _, s := range p.Steps[:last+1] {
		total[flag(several(s))] += s.Contents
		piece = max(piece, s.Contents)
	}
	if n := (total[0] + total[1]) / mostPieces; piece > max(pieceBlocks*BlockContents, n) {
		t.Fatalf("a piece of %d contents", piece)
	}
	for i, s := range p.Steps[:last+1] {
		sent[flag(several(s))] += s.Contents
		if d := sent[0]*total[1] - sent[1]*total[0]; max(d, -d) > piece*max(total[0], total[1]) {
			t.Fatalf("after step %d: %v of %v:\n%s", i, sent, total, p.summary())
		}
	}
}

func checkChannels(t *rapid.T, p *Schedule, lim GroupLimits) {
	lanes := make(map[netip.AddrPort][]Channel)
	groups := 0
	for i, c := range p.Channels {
		if !slices.ContainsFunc(p.Steps, func(s BulkStep) bool { return s.Channel == i }) {
			t.Fatalf("channel to %v carries nothing:\n%s", c.Hosts, p.summary())
		}
		if int(c.ID) != i+1 || !slices.IsSorted(c.Hosts) || len(slices.Compact(slices.Clone(c.Hosts))) != len(c.Hosts) {
			t.Fatalf("channel %+v", c)
		}
		if !c.Group.IsValid() {
			if len(c.Hosts) != 1 || c.Lane != -1 || c.joins+c.leaves != 0 {
				t.Fatalf("channel without a group: %+v", c)
			}
			continue
		}
		if !c.Group.Addr().IsMulticast() || c.Group.Port() != model.DefaultGroupPort || c.Opens < 0 || c.Opens > i {
			t.Fatalf("channel %+v", c)
		}
		groups++
		lanes[c.Group] = append(lanes[c.Group], c)
	}
	if groups > lim.Max || lim.None && groups > 0 || p.GroupCount() != groups || len(lanes) > lim.Memberships {
		t.Fatalf("%d groups (says %d) of at most %d on %d addresses of at most %d", groups, p.GroupCount(), lim.Max, len(lanes), lim.Memberships)
	}
	joins := 0
	for _, lane := range lanes {
		joins += checkLane(t, p, lane)
	}
	if p.Cost.Joins != joins || p.Cost.Leaves != joins {
		t.Fatalf("%d joins, says %d and %d leaves", joins, p.Cost.Joins, p.Cost.Leaves)
	}
}

// checkLane goes through the channels of one address, and counts joins.
func checkLane(t *rapid.T, p *Schedule, lane []Channel) (joins int) {
	var before []int
	for i, c := range lane {
		joined := without(c.Hosts, before)
		var left []int
		next := -1
		if i+1 < len(lane) {
			left, next = without(c.Hosts, lane[i+1].Hosts), int(lane[i+1].ID)-1
		} else {
			left = c.Hosts
		}
		if c.joins != len(joined) || c.leaves != len(left) || c.After != next {
			t.Fatalf("channel %+v: %v join, %v leave, next is %d", c, joined, left, next)
		}
		if i > 0 && c.Opens < int(lane[i-1].ID)-1 {
			t.Fatalf("channel %+v opens before the one before it on its address begins", c)
		}
		joins, before = joins+len(joined), c.Hosts
	}
	return joins
}

func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(h int) bool { return slices.Contains(b, h) })
}

func checkEnds(t *rapid.T, p *Schedule, host []int, classes []ClassInfo) {
	last := slices.Repeat([]int{-1}, len(host))
	for i, s := range p.Steps {
		for _, vm := range classes[s.Class].VMs {
			if slices.Contains(p.Channels[s.Channel].Hosts, host[vm]) {
				last[vm] = i
			}
		}
	}
	ended := 0
	for step, vms := range p.EndsAt {
		for _, vm := range vms {
			ended++
			if last[vm] != step {
				t.Fatalf("vm %d ends at step %d, but step %d brings the last of it:\n%s", vm, step, last[vm], p.summary())
			}
		}
	}
	if ended != len(host) {
		t.Fatalf("%d of %d VMs end", ended, len(host))
	}
}

// TestInterleave: hosts take turns, so that all of them have a VM to converge early.
func TestInterleave(t *testing.T) {
	for _, c := range []struct{ host, want []int }{
		{nil, []int{}},
		{[]int{0, 0, 0, 1, 1, 2}, []int{0, 3, 5, 1, 4, 2}},
		{[]int{2, 1, 0}, []int{2, 1, 0}},
		{[]int{0, 0, 0}, []int{0, 1, 2}},
	} {
		if got := Interleave(c.host); !slices.Equal(got, c.want) {
			t.Errorf("hosts %v: order %v, want %v", c.host, got, c.want)
		}
	}
}

func TestDelivered(t *testing.T) {
	p := mustPlan(t, 3, []int{0, 1, 2}, []ClassInfo{vmsOf(10, 0, 1), vmsOf(3, 0), vmsOf(4, 2)}, GroupLimits{Base: groupBase, Max: 4})
	for h, want := range []int64{13, 10, 4} {
		if got := p.delivered(h) / model.PageSize; got != want {
			t.Errorf("host %d receives %d contents, want %d", h, got, want)
		}
	}
}
