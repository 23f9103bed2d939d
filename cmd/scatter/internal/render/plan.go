package render

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/scatter"
)

// Plan writes a plan as tables, or what is in its way. Errors are those of w.
func Plan(w io.Writer, p *scatter.Plan) error {
	s := &sections{w: w}
	if len(p.VMs) > 0 {
		for _, rows := range [][][]string{planVMs(p), planHosts(p), planSharing(p), planGroups(p)} {
			if len(rows) > 1 {
				s.table(rows)
				s.printf("\n")
			}
		}
		s.summary(p)
	}
	if len(p.Stays) > 0 {
		s.printf("CANNOT MOVE, STAY HERE\n")
		for _, b := range p.Stays {
			s.printf("  %s\n", b)
		}
	}
	if len(p.Blockers) > 0 {
		s.printf("BLOCKERS\n")
		for _, b := range p.Blockers {
			s.printf("  %s\n", b)
		}
	}
	return s.err
}

// summary says what the plan costs.
func (s *sections) summary(p *scatter.Plan) {
	if p.Pages.Total > 0 {
		s.printf("%s\n", pagesLine(p.Pages))
	}
	s.printf("%s\n", quality(p))
	if p.Balance != nil {
		s.printf("%s\n", balanceLine(p.Balance))
	}
	s.printf("source sends %s%s; hosts join %d times and leave %d times\n",
		units.FormatSize(p.PredictedBytes), inTime(p.PredictedTimeS)+atRate(p.PredictedRateBPS), p.Joins, p.Leaves)
	if t := p.Traffic; t.DuplicatedBytes+t.WastedBytes+t.OverheardBytes > 0 {
		s.printf("of the contents %s are sent more than once, %s reach hosts in vain, %s hosts that have left\n",
			units.FormatSize(t.DuplicatedBytes), units.FormatSize(t.WastedBytes), units.FormatSize(t.OverheardBytes))
	}
	for _, v := range p.VMs {
		if v.Mode != "" && v.Mode != scatter.ModePre {
			s.printf("%s moves in mode %s: %s\n", v.Name, v.Mode, v.ModeReason)
		}
	}
	if len(p.Unplaced) > 0 {
		s.printf("no room, they stay: %s\n", names(p.Unplaced))
	}
}

// quality says how good the placement is, by its objective.
func quality(p *scatter.Plan) string {
	what, format := "all hosts receive %s of contents", func(n int64) string { return units.FormatSize(n) }
	if slices.ContainsFunc(p.Hosts, func(h scatter.PlanHost) bool { return h.Rack != "" }) {
		what = "the links of all hosts and racks carry %s of contents"
	}
	switch p.Objective {
	case scatter.ObjectiveMakespan:
		what, format = "the slowest link takes %s", func(n int64) string { return units.FormatSeconds(float64(n) / 1e9) }
	case scatter.ObjectiveHosts:
		what, format = "%s hosts are used", func(n int64) string { return fmt.Sprint(n) }
	}
	line := fmt.Sprintf(what, format(p.Cost))
	switch {
	case p.Optimal:
		return line + ": no placement needs less"
	case p.LowerBound > 0:
		return fmt.Sprintf("%s, at most %.1f %% more than the best placement (not below %s)", line,
			100*float64(p.Cost-p.LowerBound)/float64(p.LowerBound), format(p.LowerBound))
	}
	return line
}

// balanceLine says how even a placement is, and what that costs.
func balanceLine(b *scatter.PlanBalance) string {
	if b.Slack == 0 {
		return "no target is kept from more than its share: the VMs come in too few pieces, or the constraints leave no choice"
	}
	line := fmt.Sprintf("no target gets more than %.2f times its share", 1+b.Slack)
	if b.ExtraBytes <= 0 {
		return line + ", which costs nothing"
	}
	return fmt.Sprintf("%s, which costs %s more on all hosts' links%s (--balance)", line, units.FormatSize(b.ExtraBytes), moreTime(b.ExtraTimeS))
}

// moreTime is the difference that balance makes to the slowest link, where that is worth a word.
func moreTime(s float64) string {
	switch {
	case s > 0.005:
		return " and " + units.FormatSeconds(s)
	case s < -0.005:
		return " and spares " + units.FormatSeconds(-s)
	}
	return ""
}

func inTime(s float64) string {
	if s <= 0 {
		return ""
	}
	return " in " + units.FormatSeconds(s)
}

func atRate(bps int64) string {
	if bps == 0 {
		return ""
	}
	return " at " + units.FormatRate(bps/8)
}

func planVMs(p *scatter.Plan) [][]string {
	rows := [][]string{{"VM", "HOST", "MEMORY", "VCPUS", "ZERO", "SHARED", "UNIQUE", "NEEDS", "OWN", "TIME", "DOWN-TIME", "TRAFFIC", "MODE", "WHY"}}
	for _, v := range p.VMs {
		time := "-"
		if v.TimeS > 0 {
			time = units.FormatSeconds(v.TimeS)
		}
		rows = append(rows, []string{v.Name, cmp.Or(v.Host, "-"), units.FormatSize(v.MemoryBytes), fmt.Sprint(v.VCPUs),
			share(v.Pages.Zero, v.Pages.Total), share(v.Pages.Shared, v.Pages.Total), share(v.Pages.Unique, v.Pages.Total),
			units.FormatSize(v.ContentBytes), units.FormatSize(v.SentBytes), time, fmt.Sprintf("%d ms", v.DowntimeMS), traffic(v), mode(v), v.Reason})
	}
	return withoutEmpty(rows, p.Pages.Total == 0, "ZERO", "SHARED", "UNIQUE", "TIME", "DOWN-TIME", "TRAFFIC", "MODE")
}

// traffic is what a VM's guest sends and receives.
func traffic(v scatter.PlanVM) string {
	switch {
	case v.SendsBPS == nil || v.ReceivesBPS == nil:
		return "unknown"
	case *v.SendsBPS+*v.ReceivesBPS == 0:
		return "none"
	}
	return fmt.Sprintf("%s out, %s in", units.FormatRate(*v.SendsBPS/8), units.FormatRate(*v.ReceivesBPS/8))
}

// mode is how a VM moves, and what that takes of it.
func mode(v scatter.PlanVM) string {
	switch {
	case v.ExposedS > 0:
		return fmt.Sprintf("%s, on both hosts for %s", v.Mode, units.FormatSeconds(v.ExposedS))
	case v.Throttle > 0:
		return fmt.Sprintf("%s, up to %.0f %%", v.Mode, 100*v.Throttle)
	}
	return string(v.Mode)
}

func planHosts(p *scatter.Plan) [][]string {
	rows := [][]string{{"HOST", "ADDRESS", "RACK", "ROOM", "CONTENTS", "ON ITS LINK", "VMS"}}
	for _, h := range p.Hosts {
		rows = append(rows, []string{h.Name, h.Address, h.Rack, units.FormatSize(h.MemoryBytes), units.FormatSize(h.DeliveredBytes), units.FormatSize(h.PredictedBytes),
			cmp.Or(names(h.VMs), "-")})
	}
	noRack := !slices.ContainsFunc(p.Hosts, func(h scatter.PlanHost) bool { return h.Rack != "" })
	noAddress := !slices.ContainsFunc(p.Hosts, func(h scatter.PlanHost) bool { return h.Address != "" })
	return withoutEmpty(withoutEmpty(rows, noRack, "RACK"), noAddress, "ADDRESS")
}

// withoutEmpty drops columns when they are known to say nothing.
func withoutEmpty(rows [][]string, empty bool, columns ...string) [][]string {
	if !empty {
		return rows
	}
	for _, c := range columns {
		i := slices.Index(rows[0], c)
		for r := range rows {
			rows[r] = slices.Delete(rows[r], i, i+1)
		}
	}
	return rows
}

func planGroups(p *scatter.Plan) [][]string {
	rows := [][]string{{"ORDER", "GROUP", "CONTENTS", "BYTES", "COPIES", "IN VAIN", "JOIN", "LEAVE", "HOSTS"}}
	none := func(n int64, format string) string {
		if n == 0 {
			return "-"
		}
		return format
	}
	for i, g := range p.Groups {
		rows = append(rows, []string{fmt.Sprint(i + 1), g.Address, fmt.Sprint(g.Contents), units.FormatSize(g.Bytes),
			none(g.CopiedBytes, units.FormatSize(g.CopiedBytes)), none(g.WastedBytes, units.FormatSize(g.WastedBytes)),
			none(int64(g.Joins), fmt.Sprint(g.Joins)), none(int64(g.Leaves), fmt.Sprint(g.Leaves)), names(g.Hosts)})
	}
	return rows
}

// heatVMs is how many VMs a heat map of text shows at most, and heatName how many letters of a name.
const (
	heatVMs  = 20
	heatName = 12
)

// planSharing is a heat map: how much of what the VM of a row needs the VM of a column needs too, in percent. VMs of one host stand
// together.
func planSharing(p *scatter.Plan) [][]string {
	if len(p.VMs) < 2 || len(p.VMs) > heatVMs || len(p.Sharing) == 0 {
		return nil
	}
	m := newHeat(p)
	head := []string{"SHARED %"}
	for _, v := range m.vms {
		head = append(head, shorten(v.Name))
	}
	rows := [][]string{head}
	for i, v := range m.vms {
		row := []string{shorten(v.Name)}
		for j := range m.vms {
			switch part := m.part(i, j); {
			case i == j:
				row = append(row, "-")
			case part < 0.005:
				row = append(row, ".")
			default:
				row = append(row, fmt.Sprintf("%.0f", 100*part))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

func shorten(name string) string {
	if r := []rune(name); len(r) > heatName {
		return string(r[:heatName-1]) + "~"
	}
	return name
}

// heat is what VMs have in common, by pairs, with the VMs of one host side by side.
type heat struct {
	vms    []scatter.PlanVM
	common [][]int64 // by VM and VM; its own is what it needs
}

func newHeat(p *scatter.Plan) *heat {
	m := &heat{vms: slices.Clone(p.VMs)}
	slices.SortStableFunc(m.vms, func(a, b scatter.PlanVM) int {
		return cmp.Or(cmp.Compare(nowhere(a), nowhere(b)), cmp.Compare(a.Host, b.Host))
	})
	at := make(map[string]int, len(m.vms))
	for i, v := range m.vms {
		at[v.Name] = i
		m.common = append(m.common, make([]int64, len(m.vms)))
		m.common[i][i] = v.ContentBytes
	}
	for _, s := range p.Sharing {
		a, okA := at[s.VMs[0]]
		b, okB := at[s.VMs[1]]
		if okA && okB {
			m.common[a][b], m.common[b][a] = s.Bytes, s.Bytes
		}
	}
	return m
}

// nowhere puts VMs that stay last.
func nowhere(v scatter.PlanVM) int {
	if v.Host == "" {
		return 1
	}
	return 0
}

// part is which part of what VM i needs VM j needs too, 0 to 1.
func (m *heat) part(i, j int) float64 {
	if m.common[i][i] == 0 {
		return 0
	}
	return min(1, float64(m.common[i][j])/float64(m.common[i][i]))
}
