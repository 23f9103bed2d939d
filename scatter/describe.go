package scatter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/placement"
)

// description is what a Plan is rendered from.
type description struct {
	problem  *Problem
	placed   *placement.Placement
	plan     *plan
	limits   groupLimits
	forecast forecast
}

// render says all that follows from the problem, its placement and the plan.
func (d *description) render() *Plan {
	p, placed := d.problem, d.placed
	out := &Plan{
		Format: PlanFormat, Placement: make(map[string]string), Objective: cmp.Or(p.Objective, ObjectiveTraffic),
		Capacity: cmp.Or(p.Capacity, CapacitySum), Seed: p.Seed, Cost: placed.Cost, LowerBound: placed.LowerBound, Optimal: placed.Optimal,
		Limits:  PlanLimits{Groups: d.limits.max, Memberships: d.limits.memberships, Unicast: d.limits.none},
		Traffic: d.plan.traffic(), Classes: countClasses(p.Classes), Sharing: sharingOf(p),
		PredictedBytes: d.forecast.bytes, PredictedTimeS: d.forecast.time.Seconds(), PredictedRateBPS: p.SourceBPS,
		Joins: d.plan.cost.Joins, Leaves: d.plan.cost.Leaves, Blockers: []Blocker{}, Problem: p,
	}
	if b := placed.Balance; b != nil {
		out.Balance = &PlanBalance{Slack: b.Slack, ExtraBytes: b.Traffic, ExtraTimeS: b.Makespan.Seconds()}
	}
	for i, h := range p.Hosts {
		out.Hosts = append(out.Hosts, PlanHost{Name: h.Name, MemoryBytes: h.Memory, VCPUs: h.VCPUs, Rack: h.Rack, VMs: []string{},
			DeliveredBytes: d.plan.delivered(i), PredictedBytes: d.forecast.hosts[i]})
	}
	d.renderVMs(out)
	for _, h := range out.Hosts {
		out.HostsUsed += flag(len(h.VMs) > 0)
	}
	for _, c := range d.plan.channels {
		out.Groups = append(out.Groups, d.plan.describe(c))
	}
	return out
}

func (d *description) renderVMs(out *Plan) {
	p := d.problem
	content, own := make([]int64, len(p.VMs)), make([]int64, len(p.VMs))
	for _, c := range p.Classes {
		for _, vm := range c.VMs {
			content[vm] += c.Bytes
		}
		if len(c.VMs) == 1 {
			own[c.VMs[0]] += c.Bytes
		}
	}
	for i, v := range p.VMs {
		r := d.placed.Reasons[i]
		line := PlanVM{Name: v.Name, MemoryBytes: v.Memory, VCPUs: v.VCPUs, ContentBytes: content[i], SentBytes: own[i], SharesWith: []string{},
			Reason: d.why(r), SavedBytes: r.Saved, TimeS: d.forecast.vms[i].time.Seconds(), DowntimeMS: d.forecast.vms[i].downtime.Milliseconds()}
		for _, with := range r.With {
			line.SharesWith = append(line.SharesWith, p.VMs[with].Name)
		}
		if r.Host >= 0 && r.Next >= 0 {
			line.NextHost = p.Hosts[r.Next].Name
		}
		if h := d.placed.Host[i]; h >= 0 {
			line.Host, out.Hosts[h].VMs = p.Hosts[h].Name, append(out.Hosts[h].VMs, v.Name)
			out.Placement[v.Name] = line.Host
		} else {
			out.Unplaced = append(out.Unplaced, v.Name)
		}
		out.VMs = append(out.VMs, line)
	}
}

// describe adds what only live VMs and targets know.
func (e *evacuation) describe(d description) *Plan {
	out := d.render()
	out.Pages, out.Stays = e.pages, e.blockers()
	for i, l := range e.links {
		out.Hosts[i].Address = l.target.Addr.String()
	}
	for i, v := range e.vms {
		out.VMs[i].Pages = e.pagesOf[i]
		if e.cfg.Place[v.name()] != "" {
			out.VMs[i].Reason = "placed by the operator"
		}
	}
	return out
}

// describe is a channel as the plan shows it.
func (p *plan) describe(c channel) PlanGroup {
	g := PlanGroup{Hosts: []string{}, Address: "unicast", Contents: c.contents, Bytes: c.bytes, CopiedBytes: c.copied}
	if c.group.IsValid() {
		g.Address = c.group.Addr().String()
		g.Lane, g.Opens = c.lane+1, c.opens+1
		g.WastedBytes, g.Joins, g.Leaves = c.wasted, c.joins, c.leaves
	}
	for _, h := range c.hosts {
		g.Hosts = append(g.Hosts, p.hosts[h])
	}
	return g
}

// traffic is what the plan uses of the network.
func (p *plan) traffic() PlanTraffic {
	c := p.cost
	return PlanTraffic{SourceBytes: c.Source, HostBytes: c.Host, DuplicatedBytes: c.Duplicated, WastedBytes: c.Wasted,
		OverheardBytes: c.Overheard, Changes: c.Joins + c.Leaves, ChangePriceBytes: changePrice}
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

// why says in words why a VM goes where it goes.
func (d *description) why(r placement.Reason) string {
	with := ""
	if len(r.With) > 0 {
		var names []string
		for _, vm := range r.With {
			names = append(names, d.problem.VMs[vm].Name)
		}
		with = ", shares with " + strings.Join(names, ", ")
	}
	switch {
	case r.Host < 0:
		return "no room"
	case r.Next < 0:
		return "the only host that may take it" + with
	case r.Saved > 0:
		return fmt.Sprintf("saves %.1f MiB over %s%s", float64(r.Saved)/(1<<20), d.problem.Hosts[r.Next].Name, with)
	case r.Saved == 0:
		return "as good as any, evens the load" + with
	}
	if r.Room {
		return fmt.Sprintf("evens the load, for %.1f MiB more than on %s%s", float64(-r.Saved)/(1<<20), d.problem.Hosts[r.Next].Name, with)
	}
	return fmt.Sprintf("%s cannot take it beside the others%s", d.problem.Hosts[r.Next].Name, with)
}

// countClasses sums classes up by how many VMs own them.
func countClasses(classes []placement.Class) []PlanClasses {
	byVMs := make(map[int]*PlanClasses)
	for _, c := range classes {
		n := len(c.VMs)
		if byVMs[n] == nil {
			byVMs[n] = &PlanClasses{VMs: n}
		}
		byVMs[n].Classes++
		byVMs[n].Bytes += c.Bytes
	}
	out := []PlanClasses{}
	for _, n := range slices.Sorted(maps.Keys(byVMs)) {
		out = append(out, *byVMs[n])
	}
	return out
}

// Bounds of what a plan says about pairs of VMs: beyond, there is too much to look at.
const (
	maxSharingVMs   = 1024
	maxSharingPairs = 20_000
)

// sharingOf is the bytes that each two VMs have in common, most first.
func sharingOf(p *Problem) []PlanSharing {
	n := len(p.VMs)
	out := []PlanSharing{}
	if n > maxSharingVMs {
		return out
	}
	common := make([]int64, n*n)
	for _, c := range p.Classes {
		for i, a := range c.VMs {
			for _, b := range c.VMs[:i] {
				common[min(a, b)*n+max(a, b)] += c.Bytes
			}
		}
	}
	for i, bytes := range common {
		if bytes > 0 {
			a, b := p.VMs[i/n].Name, p.VMs[i%n].Name
			out = append(out, PlanSharing{VMs: [2]string{min(a, b), max(a, b)}, Bytes: bytes})
		}
	}
	slices.SortStableFunc(out, func(a, b PlanSharing) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out[:min(len(out), maxSharingPairs)]
}
