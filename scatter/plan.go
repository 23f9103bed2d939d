package scatter

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/placement"
)

// groupPort is the UDP port of all groups.
const groupPort = 9770

// plan is what bulk executes.
type plan struct {
	hosts    []string // names, by host index
	channels []channel
	steps    []bulkStep
	endsAt   map[int][]int // step -> VMs whose last contents it sends; step -1: VMs without any
	bytes    int64         // of the contents, once per channel that carries them
}

// channel is one target set and how it is reached.
type channel struct {
	id       uint32
	hosts    []int // ascending
	group    netip.AddrPort
	contents int
	bytes    int64
}

// bulkStep sends the contents of one class into one channel.
type bulkStep struct {
	class   int
	channel int
	part    bool // the channel reaches only some of the class's hosts; other steps reach the rest
}

func (c channel) multicast(p *plan) multicast.Channel {
	m := multicast.Channel{ID: multicast.ChannelID(c.id), Group: c.group}
	for _, h := range c.hosts {
		m.Members = append(m.Members, p.hosts[h])
	}
	return m
}

// classInfo is what the plan needs to know of a class.
type classInfo struct {
	vms      []int
	contents int
	bytes    int64
}

// groupLimits says what may be used of multicast.
type groupLimits struct {
	base netip.Addr
	max  int
	none bool
}

// newPlan turns a placement (host[vm], -1 = stays) into channels and steps. Sets of several hosts come
// first, each as near as possible to the one before it, so that few hosts join and leave; then the contents of single
// hosts, VM by VM in turn over the hosts, so that the first VMs can converge while the rest is still being sent.
func newPlan(hosts []string, host []int, classes []classInfo, order []int, lim groupLimits) (*plan, error) {
	p := &plan{hosts: hosts, endsAt: make(map[int][]int)}
	sets := p.targetSets(host, classes)
	p.makeChannels(sets, lim)
	if err := p.addressGroups(lim); err != nil {
		return nil, err
	}
	p.makeSteps(host, classes, order)
	p.findEnds(host, classes)
	return p, nil
}

// targetSet is the hosts that need some classes.
type targetSet struct {
	hosts   []int
	classes []int
	bytes   int64
}

func (p *plan) targetSets(host []int, classes []classInfo) []targetSet {
	byKey := make(map[string]int)
	var sets []targetSet
	for ci, c := range classes {
		hosts := hostsOf(c.vms, host)
		if len(hosts) == 0 {
			continue
		}
		key := fmt.Sprint(hosts)
		i, ok := byKey[key]
		if !ok {
			i = len(sets)
			byKey[key] = i
			sets = append(sets, targetSet{hosts: hosts})
		}
		sets[i].classes = append(sets[i].classes, ci)
		sets[i].bytes += c.bytes
	}
	return sets
}

func hostsOf(vms, host []int) []int {
	var hosts []int
	for _, vm := range vms {
		if h := host[vm]; h >= 0 && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	slices.Sort(hosts)
	return hosts
}

// makeChannels gives a channel to the sets that gain most by a group of their own, at most lim.max of them, and one
// to each single host.
func (p *plan) makeChannels(sets []targetSet, lim groupLimits) {
	var multi []targetSet
	single := make(map[int]bool)
	for _, s := range sets {
		if len(s.hosts) > 1 {
			multi = append(multi, s)
		} else {
			single[s.hosts[0]] = true
		}
	}
	slices.SortStableFunc(multi, func(a, b targetSet) int {
		return cmp.Compare(b.bytes*int64(len(b.hosts)-1), a.bytes*int64(len(a.hosts)-1))
	})
	groups := min(len(multi), lim.max)
	if lim.none {
		groups = 0
	}
	for _, s := range inSequence(multi[:groups]) {
		p.channels = append(p.channels, channel{hosts: s.hosts, group: netip.AddrPortFrom(netip.IPv4Unspecified(), groupPort)})
	}
	for _, s := range multi[groups:] {
		if p.superset(s.hosts) < 0 {
			for _, h := range s.hosts {
				single[h] = true
			}
		}
	}
	for h := range p.hosts {
		if single[h] {
			p.channels = append(p.channels, channel{hosts: []int{h}})
		}
	}
	for i := range p.channels {
		p.channels[i].id = uint32(i + 1)
	}
}

// inSequence orders sets so that each differs in few hosts from the one before it: nearest neighbour from the largest.
func inSequence(sets []targetSet) []targetSet {
	left := slices.Clone(sets)
	slices.SortStableFunc(left, func(a, b targetSet) int { return cmp.Compare(len(b.hosts), len(a.hosts)) })
	var out []targetSet
	for len(left) > 0 {
		next := 0
		if len(out) > 0 {
			last := out[len(out)-1].hosts
			for i := range left {
				if difference(last, left[i].hosts) < difference(last, left[next].hosts) {
					next = i
				}
			}
		}
		out = append(out, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return out
}

// difference counts the hosts that are in one of two sets only.
func difference(a, b []int) int {
	common := 0
	for _, h := range a {
		if slices.Contains(b, h) {
			common++
		}
	}
	return len(a) + len(b) - 2*common
}

// superset is the smallest group that reaches all hosts, or -1.
func (p *plan) superset(hosts []int) int {
	best := -1
	for i, c := range p.channels {
		if !c.group.IsValid() || difference(c.hosts, hosts) != len(c.hosts)-len(hosts) {
			continue
		}
		if best < 0 || len(c.hosts) < len(p.channels[best].hosts) {
			best = i
		}
	}
	return best
}

// addressGroups numbers the groups from the base address on.
func (p *plan) addressGroups(lim groupLimits) error {
	addr := lim.base
	for i := range p.channels {
		c := &p.channels[i]
		if !c.group.IsValid() {
			continue
		}
		if !addr.IsMulticast() {
			return fmt.Errorf("group address %s: not a multicast address (--group-base, --max-groups)", addr)
		}
		c.group = netip.AddrPortFrom(addr, groupPort)
		addr = addr.Next()
	}
	return nil
}

// makeSteps orders the classes: by channel, several VMs before one, then VM by VM.
func (p *plan) makeSteps(host []int, classes []classInfo, order []int) {
	rank := make([]int, len(host))
	for i, vm := range order {
		rank[vm] = i
	}
	for ci, c := range classes {
		hosts := hostsOf(c.vms, host)
		if len(hosts) == 0 {
			continue
		}
		carriers := p.carriers(hosts)
		for _, ch := range carriers {
			p.steps = append(p.steps, bulkStep{ci, ch, len(carriers) > 1})
			p.channels[ch].contents += c.contents
			p.channels[ch].bytes += c.bytes
			p.bytes += c.bytes
		}
	}
	key := func(s bulkStep) []int {
		c := classes[s.class]
		multi := len(p.channels[s.channel].hosts) > 1
		return []int{flag(!multi), flag(len(c.vms) == 1), ifElse(len(c.vms) == 1, rank[c.vms[0]], s.channel), -len(c.vms), s.class}
	}
	slices.SortStableFunc(p.steps, func(a, b bulkStep) int { return slices.Compare(key(a), key(b)) })
}

// carriers are the channels that bring a class to exactly its hosts, or a little more.
func (p *plan) carriers(hosts []int) []int {
	for i, c := range p.channels {
		if slices.Equal(c.hosts, hosts) {
			return []int{i}
		}
	}
	if i := p.superset(hosts); i >= 0 {
		return []int{i}
	}
	var each []int
	for i, c := range p.channels {
		if len(c.hosts) == 1 && slices.Contains(hosts, c.hosts[0]) {
			each = append(each, i)
		}
	}
	return each
}

func flag(b bool) int { return ifElse(b, 1, 0) }

func ifElse(b bool, x, y int) int {
	if b {
		return x
	}
	return y
}

// findEnds notes after which step each VM has got all its contents.
func (p *plan) findEnds(host []int, classes []classInfo) {
	last := make([]int, len(host))
	for i := range last {
		last[i] = -1
	}
	for i, s := range p.steps {
		for _, vm := range classes[s.class].vms {
			if slices.Contains(p.channels[s.channel].hosts, host[vm]) {
				last[vm] = i
			}
		}
	}
	for vm, i := range last {
		p.endsAt[i] = append(p.endsAt[i], vm)
	}
}

// changes counts the joins (and as many leaves) of the sequence of groups.
func (p *plan) changes() int {
	n := 0
	for _, c := range p.channels {
		if c.group.IsValid() {
			n += len(c.hosts)
		}
	}
	return n
}

// interleave orders VMs in turn over the hosts.
func interleave(host []int) []int {
	order := make([]int, 0, len(host))
	turn := make([]int, len(host))
	seen := make(map[int]int)
	for vm, h := range host {
		turn[vm] = seen[h]
		seen[h]++
		order = append(order, vm)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(turn[a], turn[b]), cmp.Compare(host[a], host[b]))
	})
	return order
}

// place decides which VM goes to which host.
func (e *evacuation) place(ctx context.Context, classes []classInfo) (*placement.Placement, error) {
	p := placement.Problem{Seed: 1}
	for _, v := range e.vms {
		p.VMs = append(p.VMs, placement.VM{Name: v.name(), Memory: int64(v.vm.MemoryBytes), VCPUs: v.vm.VCPUs})
	}
	for _, l := range e.links {
		p.Hosts = append(p.Hosts, placement.Host{Name: l.welcome.Name, Memory: l.welcome.Memory, VCPUs: l.welcome.VCPUs, Residents: l.welcome.VMs})
	}
	for _, c := range classes {
		p.Classes = append(p.Classes, placement.Class{VMs: c.vms, Bytes: c.bytes})
	}
	for _, vm := range sortedKeys(e.cfg.Place) {
		p.Constraints = append(p.Constraints, placement.Constraint{Kind: placement.Pin, VMs: []string{vm}, Hosts: []string{e.cfg.Place[vm]}})
	}
	for h, l := range e.links {
		for i, v := range e.vms {
			if e.refused.of(h, i) != nil {
				p.Constraints = append(p.Constraints, placement.Constraint{Kind: placement.Exclude, VMs: []string{v.name()}, Hosts: []string{l.name()}})
			}
		}
	}
	got, err := placement.Solve(ctx, p)
	var infeasible *placement.InfeasibleError
	if errors.As(err, &infeasible) {
		return nil, &BlockedError{[]Blocker{{Problem: infeasible.Error(), Remedy: "give the targets more room (recv --memory, --vcpus), add targets, or change --place"}}}
	}
	return got, err
}

// describe renders the plan for people and scripts.
func (e *evacuation) describe(placed *placement.Placement) *Plan {
	out := &Plan{PredictedBytes: e.predictedBytes(), Joins: e.plan.changes(), Leaves: e.plan.changes(), Pages: e.pages, Blockers: []Blocker{}}
	if r := e.cfg.Rate; r > 0 {
		out.PredictedTimeS = float64(out.PredictedBytes) / float64(r)
	}
	for i, l := range e.links {
		out.Hosts = append(out.Hosts, PlanHost{Name: l.welcome.Name, Address: l.target.Addr.String(), MemoryBytes: l.welcome.Memory,
			VMs: []string{}, DeliveredBytes: e.plan.delivered(i)})
	}
	for i, v := range e.vms {
		h := placed.Host[i]
		line := PlanVM{Name: v.name(), MemoryBytes: int64(v.vm.MemoryBytes), VCPUs: v.vm.VCPUs, Pages: e.pagesOf[i], SentBytes: e.ownBytes[i]}
		line.DowntimeMS = e.predictedDowntime(i).Milliseconds()
		if h >= 0 {
			line.Host, out.Hosts[h].VMs = e.links[h].welcome.Name, append(out.Hosts[h].VMs, v.name())
		}
		line.Reason = e.reasonFor(placed, i)
		out.VMs = append(out.VMs, line)
	}
	for _, c := range e.plan.channels {
		g := PlanGroup{Address: "unicast", Contents: c.contents, Bytes: c.bytes}
		if c.group.IsValid() {
			g.Address = c.group.Addr().String()
		}
		for _, h := range c.hosts {
			g.Hosts = append(g.Hosts, e.plan.hosts[h])
		}
		out.Groups = append(out.Groups, g)
	}
	return out
}

// delivered is what a host receives of the contents.
func (p *plan) delivered(host int) int64 {
	var n int64
	for _, c := range p.channels {
		if slices.Contains(c.hosts, host) {
			n += c.bytes
		}
	}
	return n
}

// reasonFor says in words why a VM goes where it goes.
func (e *evacuation) reasonFor(placed *placement.Placement, vm int) string {
	if pinned := e.cfg.Place[e.vms[vm].name()]; pinned != "" {
		return "placed by the operator"
	}
	for _, r := range placed.Reasons {
		if r.VM == vm && r.Host >= 0 {
			return e.words(r)
		}
	}
	return ""
}

func (e *evacuation) words(r placement.Reason) string {
	with := ""
	if len(r.With) > 0 {
		var names []string
		for _, vm := range r.With {
			names = append(names, e.vms[vm].name())
		}
		with = ", shares with " + strings.Join(names, ", ")
	}
	switch {
	case r.Next < 0:
		return "the only host that may take it" + with
	case r.Saved > 0:
		return fmt.Sprintf("saves %.1f MiB over %s%s", float64(r.Saved)/(1<<20), e.links[r.Next].name(), with)
	case r.Saved == 0:
		return "as good as any, evens the load" + with
	}
	return fmt.Sprintf("%s has no room for it%s", e.links[r.Next].name(), with)
}
