package planning

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/placement"
	"github.com/scatter-vm/scatter/scatter/model"
)

// Description is what a Plan is rendered from.
type Description struct {
	Problem  *Problem
	Placed   *placement.Placement
	Schedule *Schedule
	Limits   GroupLimits
	Forecast Forecast
}

// Render says all that follows from the problem, its placement and the plan.
func (d *Description) Render() *Plan {
	p, placed := d.Problem, d.Placed
	out := &Plan{
		Format: PlanFormat, Placement: make(map[string]string), Objective: cmp.Or(p.Objective, ObjectiveTraffic),
		Capacity: cmp.Or(p.Capacity, CapacitySum), Seed: p.Seed, Cost: placed.Cost, LowerBound: placed.LowerBound, Optimal: placed.Optimal,
		Limits:  PlanLimits{Groups: d.Limits.Max, Memberships: d.Limits.Memberships, Unicast: d.Limits.None},
		Traffic: d.Schedule.traffic(), Classes: countClasses(p.Classes), Sharing: sharingOf(p),
		PredictedBytes: d.Forecast.bytes, PredictedTimeS: d.Forecast.time.Seconds(), PredictedRateBPS: p.SourceBPS,
		Joins: d.Schedule.Cost.Joins, Leaves: d.Schedule.Cost.Leaves, Blockers: []model.Blocker{}, Problem: p,
	}
	if b := placed.Balance; b != nil {
		out.Balance = &PlanBalance{Slack: b.Slack, ExtraBytes: b.Traffic, ExtraTimeS: b.Makespan.Seconds()}
	}
	for i, h := range p.Hosts {
		out.Hosts = append(out.Hosts, PlanHost{Name: h.Name, MemoryBytes: h.Memory, VCPUs: h.VCPUs, Rack: h.Rack, VMs: []string{},
			DeliveredBytes: d.Schedule.delivered(i), PredictedBytes: d.Forecast.hosts[i]})
	}
	d.renderVMs(out)
	for _, h := range out.Hosts {
		out.HostsUsed += flag(len(h.VMs) > 0)
	}
	for _, c := range d.Schedule.Channels {
		out.Groups = append(out.Groups, d.Schedule.describe(c))
	}
	return out
}

func (d *Description) renderVMs(out *Plan) {
	p := d.Problem
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
		r := d.Placed.Reasons[i]
		line := PlanVM{Name: v.Name, MemoryBytes: v.Memory, VCPUs: v.VCPUs, ContentBytes: content[i], SentBytes: own[i], SharesWith: []string{},
			Reason: d.why(r), SavedBytes: r.Saved, TimeS: d.Forecast.vms[i].time.Seconds(), DowntimeMS: d.Forecast.vms[i].downtime.Milliseconds(), ExposedS: d.Forecast.vms[i].exposed.Seconds()}
		for _, with := range r.With {
			line.SharesWith = append(line.SharesWith, p.VMs[with].Name)
		}
		if r.Host >= 0 && r.Next >= 0 {
			line.NextHost = p.Hosts[r.Next].Name
		}
		if h := d.Placed.Host[i]; h >= 0 {
			line.Host, out.Hosts[h].VMs = p.Hosts[h].Name, append(out.Hosts[h].VMs, v.Name)
			out.Placement[v.Name] = line.Host
		} else {
			out.Unplaced = append(out.Unplaced, v.Name)
		}
		out.VMs = append(out.VMs, line)
	}
}

// describe is a channel as the plan shows it.
func (p *Schedule) describe(c Channel) PlanGroup {
	g := PlanGroup{Hosts: []string{}, Address: "unicast", Contents: c.Contents, Bytes: c.bytes, CopiedBytes: c.copied}
	if c.Group.IsValid() {
		g.Address = c.Group.Addr().String()
		g.Lane, g.Opens = c.Lane+1, c.Opens+1
		g.WastedBytes, g.Joins, g.Leaves = c.wasted, c.joins, c.leaves
	}
	for _, h := range c.Hosts {
		g.Hosts = append(g.Hosts, p.Hosts[h])
	}
	return g
}

// traffic is what the plan uses of the network.
func (p *Schedule) traffic() PlanTraffic {
	c := p.Cost
	return PlanTraffic{SourceBytes: c.Source, HostBytes: c.Host, DuplicatedBytes: c.Duplicated, WastedBytes: c.Wasted,
		OverheardBytes: c.Overheard, Changes: c.Joins + c.Leaves, ChangePriceBytes: changePrice}
}

// delivered is what a host receives of the contents.
func (p *Schedule) delivered(host int) int64 {
	var n int64
	for _, c := range p.Channels {
		if slices.Contains(c.Hosts, host) {
			n += c.bytes
		}
	}
	return n
}

// why says in words why a VM goes where it goes.
func (d *Description) why(r placement.Reason) string {
	with := ""
	if len(r.With) > 0 {
		var names []string
		for _, vm := range r.With {
			names = append(names, d.Problem.VMs[vm].Name)
		}
		with = ", shares with " + strings.Join(names, ", ")
	}
	switch {
	case r.Host < 0:
		return "no room"
	case r.Next < 0:
		return "the only host that may take it" + with
	case r.Saved > 0:
		return fmt.Sprintf("saves %.1f MiB over %s%s", float64(r.Saved)/(1<<20), d.Problem.Hosts[r.Next].Name, with)
	case r.Saved == 0:
		return "as good as any, evens the load" + with
	}
	if r.Room {
		return fmt.Sprintf("evens the load, for %.1f MiB more than on %s%s", float64(-r.Saved)/(1<<20), d.Problem.Hosts[r.Next].Name, with)
	}
	return fmt.Sprintf("%s cannot take it beside the others%s", d.Problem.Hosts[r.Next].Name, with)
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
