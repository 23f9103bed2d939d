package scatter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var groupBase = netip.MustParseAddr("239.77.0.0")

// vmsOf makes a class of n contents that the VMs share.
func vmsOf(contents int, vms ...int) classInfo {
	return classInfo{vms: vms, contents: contents, bytes: int64(contents) * PageSize}
}

func mustPlan(t rapid.TB, hosts int, host []int, classes []classInfo, lim groupLimits) *plan {
	t.Helper()
	names := make([]string, hosts)
	for i := range names {
		names[i] = fmt.Sprint("h", i)
	}
	p, err := newPlan(names, host, classes, interleave(host), lim)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// summary is a plan in a few lines: its channels, its steps, its ends.
func (p *plan) summary() string {
	var b strings.Builder
	for _, c := range p.channels {
		address := "unicast"
		if c.group.IsValid() {
			address = c.group.String()
		}
		fmt.Fprintf(&b, "channel %d to %v by %s: %d contents\n", c.id, c.hosts, address, c.contents)
	}
	for i, s := range p.steps {
		part := ""
		if s.part {
			part = " in part"
		}
		fmt.Fprintf(&b, "class %d to %v%s, ends %v\n", s.class, p.channels[s.channel].hosts, part, p.endsAt[i])
	}
	fmt.Fprintf(&b, "%d contents, %d joins, ended before: %v\n", p.bytes/PageSize, p.cost.Joins, p.endsAt[-1])
	return b.String()
}

func TestPlan(t *testing.T) {
	// VMs 0 and 3 on host 0, 1 on host 1, 2 on host 2. Classes: each VM's own, then what all have, then pairs.
	host := []int{0, 1, 2, 0}
	classes := []classInfo{vmsOf(10, 0), vmsOf(11, 1), vmsOf(12, 2), vmsOf(13, 3), vmsOf(100, 0, 1, 2, 3), vmsOf(50, 0, 1), vmsOf(5, 1, 2), vmsOf(7, 0, 3)}
	cases := []struct {
		name string
		lim  groupLimits
		want string
	}{
		{"a group for each target set, in two lanes", groupLimits{base: groupBase, max: 64}, `
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
		{"one group: the others go to its members, who skip what is not theirs", groupLimits{base: groupBase, max: 1}, `
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
		{"no multicast: a copy for each host", groupLimits{base: groupBase, max: 64, none: true}, `
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
	p := mustPlan(t, 4, []int{0, 1, 2, 3}, []classInfo{vmsOf(100, 0, 1), vmsOf(3, 2, 3), vmsOf(2, 1, 2, 3)}, groupLimits{base: groupBase, max: 1})
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
	p := mustPlan(t, 4, []int{0, 1, 2, 3}, []classInfo{vmsOf(100, 0, 1, 2, 3), vmsOf(90, 0, 1, 2), vmsOf(1, 1, 2)}, groupLimits{base: groupBase, max: 2})
	const want = `channel 1 to [0 1 2 3] by 239.77.0.0:9770: 100 contents
channel 2 to [0 1 2] by 239.77.0.0:9770: 91 contents
class 0`
	if got := p.summary(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

// TestPlanOfVMsThatStay: what only they own is not sent, and nobody waits for it.
func TestPlanOfVMsThatStay(t *testing.T) {
	p := mustPlan(t, 2, []int{-1, 1}, []classInfo{vmsOf(9, 0), vmsOf(5, 0, 1)}, groupLimits{base: groupBase, max: 8})
	const want = "channel 1 to [1] by unicast: 5 contents\nclass 1 to [1], ends [1]\n5 contents, 0 joins, ended before: [0]\n"
	if got := p.summary(); got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPlanOfNothing(t *testing.T) {
	p := mustPlan(t, 2, []int{0, 1}, nil, groupLimits{base: groupBase, max: 8})
	if got, want := p.summary(), "0 contents, 0 joins, ended before: [0 1]\n"; got != want {
		t.Errorf("got\n%s", got)
	}
}

func TestPlanLeavesTheMulticastRange(t *testing.T) {
	classes := []classInfo{vmsOf(1000, 0, 1), vmsOf(1000, 1, 2)}
	lim := groupLimits{base: netip.MustParseAddr("239.255.255.255"), max: 2, memberships: 2}
	_, err := newPlan([]string{"a", "b", "c"}, []int{0, 1, 2}, classes, []int{0, 1, 2}, lim)
	if err == nil || !strings.Contains(err.Error(), "240.0.0.0") || !strings.Contains(err.Error(), "--group-base") {
		t.Errorf("got %v", err)
	}
	lim.memberships = 1
	if _, err := newPlan([]string{"a", "b", "c"}, []int{0, 1, 2}, classes, []int{0, 1, 2}, lim); err != nil {
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
		class := rapid.Custom(func(t *rapid.T) classInfo {
			set := rapid.SliceOfNDistinct(rapid.IntRange(0, vms-1), 1, vms, rapid.ID).Draw(t, "owners")
			slices.Sort(set)
			return vmsOf(rapid.OneOf(rapid.IntRange(1, 1000), rapid.IntRange(1, 1_000_000)).Draw(t, "contents"), set...)
		})
		classes := rapid.SliceOfN(class, 0, 20).Draw(t, "classes")
		lim := groupLimits{base: groupBase, max: rapid.IntRange(0, 10).Draw(t, "max"), memberships: rapid.IntRange(1, 4).Draw(t, "memberships"),
			none: rapid.Bool().Draw(t, "none")}
		p := mustPlan(t, hosts, host, classes, lim)
		checkDelivery(t, p, host, classes)
		checkChannels(t, p, lim)
		checkEnds(t, p, host, classes)
		checkWeave(t, p)
	})
}

func checkDelivery(t *rapid.T, p *plan, host []int, classes []classInfo) {
	var bytes int64
	for ci, c := range classes {
		times := make([]int, len(p.hosts))
		sent := make([]int, len(p.channels))
		steps := 0
		for _, s := range p.steps {
			if s.class != ci {
				continue
			}
			steps++
			bytes += int64(s.contents) * PageSize
			if s.first != sent[s.channel] || s.first%blockContents != 0 || s.contents < 1 {
				t.Fatalf("class %d to %v: %d contents from %d on, behind %d", ci, p.channels[s.channel].hosts, s.contents, s.first, sent[s.channel])
			}
			if sent[s.channel] += s.contents; sent[s.channel] == c.contents {
				for _, h := range p.channels[s.channel].hosts {
					times[h]++
				}
			}
			missed := slices.ContainsFunc(hostsOf(c.vms, host), func(h int) bool { return !slices.Contains(p.channels[s.channel].hosts, h) })
			if s.part != missed {
				t.Fatalf("class %d to %v: part %v", ci, p.channels[s.channel].hosts, s.part)
			}
		}
		for _, h := range hostsOf(c.vms, host) {
			if times[h] != 1 {
				t.Fatalf("class %v reaches host %d %d times:\n%s", c.vms, h, times[h], p.summary())
			}
		}
		if len(hostsOf(c.vms, host)) == 0 && steps > 0 {
			t.Fatalf("class %v is sent, but nobody needs it", c.vms)
		}
	}
	if bytes != p.bytes {
		t.Fatalf("plan of %d bytes says %d", bytes, p.bytes)
	}
}

// checkWeave: until the first VMs have what only their hosts get, the contents for several hosts and those for one are sent evenly.
func checkWeave(t *rapid.T, p *plan) {
	several := func(s bulkStep) bool { return len(p.channels[s.channel].hosts) > 1 }
	one := func(s bulkStep) bool { return !several(s) }
	if !slices.ContainsFunc(p.steps, several) || !slices.ContainsFunc(p.steps, one) {
		return // nothing to weave
	}
	last := -1 // of the woven steps
	var first []int
	for i, s := range p.steps {
		vms := p.classes[s.class].vms
		if own := !several(s) && len(vms) == 1; own && len(first) < woven && !slices.Contains(first, vms[0]) {
			first = append(first, vms[0])
		}
		if several(s) || len(vms) > 1 || slices.Contains(first, vms[0]) {
			last = i
		}
	}
	var total, sent [2]int
	piece := 0
	for _, s := range p.steps[:last+1] {
		total[flag(several(s))] += s.contents
		piece = max(piece, s.contents)
	}
	if n := (total[0] + total[1]) / mostPieces; piece > max(pieceBlocks*blockContents, n) {
		t.Fatalf("a piece of %d contents", piece)
	}
	for i, s := range p.steps[:last+1] {
		sent[flag(several(s))] += s.contents
		if d := sent[0]*total[1] - sent[1]*total[0]; max(d, -d) > piece*max(total[0], total[1]) {
			t.Fatalf("after step %d: %v of %v:\n%s", i, sent, total, p.summary())
		}
	}
}

func checkChannels(t *rapid.T, p *plan, lim groupLimits) {
	lanes := make(map[netip.AddrPort][]channel)
	groups := 0
	for i, c := range p.channels {
		if !slices.ContainsFunc(p.steps, func(s bulkStep) bool { return s.channel == i }) {
			t.Fatalf("channel to %v carries nothing:\n%s", c.hosts, p.summary())
		}
		if int(c.id) != i+1 || !slices.IsSorted(c.hosts) || len(slices.Compact(slices.Clone(c.hosts))) != len(c.hosts) {
			t.Fatalf("channel %+v", c)
		}
		if !c.group.IsValid() {
			if len(c.hosts) != 1 || c.lane != -1 || c.joins+c.leaves != 0 {
				t.Fatalf("channel without a group: %+v", c)
			}
			continue
		}
		if !c.group.Addr().IsMulticast() || c.group.Port() != DefaultGroupPort || c.opens < 0 || c.opens > i {
			t.Fatalf("channel %+v", c)
		}
		groups++
		lanes[c.group] = append(lanes[c.group], c)
	}
	if groups > lim.max || lim.none && groups > 0 || p.groups() != groups || len(lanes) > lim.memberships {
		t.Fatalf("%d groups (says %d) of at most %d on %d addresses of at most %d", groups, p.groups(), lim.max, len(lanes), lim.memberships)
	}
	joins := 0
	for _, lane := range lanes {
		joins += checkLane(t, p, lane)
	}
	if p.cost.Joins != joins || p.cost.Leaves != joins {
		t.Fatalf("%d joins, says %d and %d leaves", joins, p.cost.Joins, p.cost.Leaves)
	}
}

// checkLane goes through the channels of one address, and counts joins.
func checkLane(t *rapid.T, p *plan, lane []channel) (joins int) {
	var before []int
	for i, c := range lane {
		joined := without(c.hosts, before)
		var left []int
		next := -1
		if i+1 < len(lane) {
			left, next = without(c.hosts, lane[i+1].hosts), int(lane[i+1].id)-1
		} else {
			left = c.hosts
		}
		if c.joins != len(joined) || c.leaves != len(left) || c.after != next {
			t.Fatalf("channel %+v: %v join, %v leave, next is %d", c, joined, left, next)
		}
		if i > 0 && c.opens < int(lane[i-1].id)-1 {
			t.Fatalf("channel %+v opens before the one before it on its address begins", c)
		}
		joins, before = joins+len(joined), c.hosts
	}
	return joins
}

func without(a, b []int) []int {
	return slices.DeleteFunc(slices.Clone(a), func(h int) bool { return slices.Contains(b, h) })
}

func checkEnds(t *rapid.T, p *plan, host []int, classes []classInfo) {
	last := slices.Repeat([]int{-1}, len(host))
	for i, s := range p.steps {
		for _, vm := range classes[s.class].vms {
			if slices.Contains(p.channels[s.channel].hosts, host[vm]) {
				last[vm] = i
			}
		}
	}
	ended := 0
	for step, vms := range p.endsAt {
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
		if got := interleave(c.host); !slices.Equal(got, c.want) {
			t.Errorf("hosts %v: order %v, want %v", c.host, got, c.want)
		}
	}
}

func TestDelivered(t *testing.T) {
	p := mustPlan(t, 3, []int{0, 1, 2}, []classInfo{vmsOf(10, 0, 1), vmsOf(3, 0), vmsOf(4, 2)}, groupLimits{base: groupBase, max: 4})
	for h, want := range []int64{13, 10, 4} {
		if got := p.delivered(h) / PageSize; got != want {
			t.Errorf("host %d receives %d contents, want %d", h, got, want)
		}
	}
}
