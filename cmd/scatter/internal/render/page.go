package render

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/scatter"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("plan").Funcs(template.FuncMap{
	"size": units.FormatSize,
	"mode": mode, "traffic": traffic,
	"inc": func(i int) int { return i + 1 },
	"seconds": func(s float64) string {
		if s <= 0 {
			return "-"
		}
		return units.FormatSeconds(s)
	},
}).Parse(pageText))

// Page draws a plan as one page that needs nothing else: no network, no script. Errors are those of w.
func Page(w io.Writer, p *scatter.Plan) error {
	return page.Execute(w, struct {
		Plan     *scatter.Plan
		Title    string
		Quality  string
		Tiles    []tile
		Heat     *heatDrawing
		Links    *linkDrawing
		Timeline *timelineDrawing
	}{p, planTitle(p), quality(p), planTiles(p), drawHeat(p), drawLinks(p), drawTimeline(p)})
}

func planTitle(p *scatter.Plan) string {
	return fmt.Sprintf("%d of %d VMs leave for %d hosts. Nothing has moved yet.", len(p.Placement), len(p.VMs)+len(Staying(p)), p.HostsUsed)
}

// Staying names the VMs that cannot move, each once.
func Staying(p *scatter.Plan) (all []string) {
	for _, b := range p.Stays {
		if !slices.Contains(all, b.VM) {
			all = append(all, b.VM)
		}
	}
	return all
}

// tile is a figure that stands out.
type tile struct{ Name, Value string }

func planTiles(p *scatter.Plan) []tile {
	time := "-"
	if p.PredictedTimeS > 0 {
		time = units.FormatSeconds(p.PredictedTimeS) + atRate(p.PredictedRateBPS)
	}
	var pause int64
	exposed := 0.0
	for _, v := range p.VMs {
		pause, exposed = max(pause, v.DowntimeMS), max(exposed, v.ExposedS)
	}
	tiles := []tile{
		{"leave the source", units.FormatSize(p.PredictedBytes)},
		{"in all", time},
		{"longest pause of a VM", fmt.Sprintf("%d ms", pause)},
		{"reach the hosts", units.FormatSize(p.Traffic.HostBytes)},
		{"joins and leaves", fmt.Sprintf("%d + %d", p.Joins, p.Leaves)},
	}
	if exposed > 0 {
		tiles = append(tiles, tile{"for which a VM depends on both hosts", units.FormatSeconds(exposed)})
	}
	return tiles
}

// Sizes of the drawings, in their own units.
const (
	drawingWidth = 960.0
	nameWidth    = 130.0
	rowHeight    = 24.0
	maxHeatVMs   = 128 // more are summed up by host
)

// label is a text at a place.
type label struct {
	X, Y float64
	Text string
}

// box is a rectangle with what it stands for.
type box struct {
	X, Y, W, H float64
	Depth      float64 // of its colour, 0 to 1
	Colour     string
	Text       string
}

// heatDrawing is who shares how much with whom.
type heatDrawing struct {
	Caption       string
	Width, Height float64
	Columns, Rows []label
	Cells         []box
	Rules         []rule // between hosts
}

// drawHeat draws what VMs share, nil where there is nothing to see.
func drawHeat(p *scatter.Plan) *heatDrawing {
	if len(p.VMs) < 2 || len(p.Sharing) == 0 {
		return nil
	}
	m := newHeat(p)
	caption := "How much of what the VM of a row needs the VM of a column needs too. VMs of one host stand together."
	if len(m.vms) > maxHeatVMs {
		m = m.byHost()
		caption = "How much the VMs of two hosts have in common, pair by pair, against all that the host of the row needs."
	}
	n := float64(len(m.vms))
	size := min(28, (drawingWidth-nameWidth-60)/n)
	d := &heatDrawing{Caption: caption, Width: nameWidth + n*size + 80, Height: 90 + n*size}
	for i, row := range m.vms {
		at := float64(i) * size
		d.Columns = append(d.Columns, label{nameWidth + at + size/2, 82, shorten(row.Name)})
		d.Rows = append(d.Rows, label{nameWidth - 6, 90 + at + size/2 + 4, shorten(row.Name)})
		if i > 0 && row.Host != m.vms[i-1].Host {
			d.Rules = append(d.Rules, rule{X: nameWidth + at, Y: 90 + at, End: 90 + n*size, Right: nameWidth + n*size})
		}
		for j, column := range m.vms {
			part := m.part(i, j)
			if part == 0 {
				continue
			}
			d.Cells = append(d.Cells, box{X: nameWidth + float64(j)*size, Y: 90 + at, W: size, H: size, Depth: round(0.04 + 0.96*part),
				Text: fmt.Sprintf("%s, %s: %s, %.0f %% of %s", row.Name, column.Name, units.FormatSize(m.common[i][j]), 100*part, units.FormatSize(m.common[i][i]))})
		}
	}
	return d
}

func round(f float64) float64 { return float64(int(f*1000+0.5)) / 1000 }

// byHost sums the VMs of each host up.
func (m *heat) byHost() *heat {
	out := &heat{}
	at := make(map[string]int)
	for _, v := range m.vms {
		if _, ok := at[v.Host]; !ok {
			at[v.Host] = len(out.vms)
			out.vms = append(out.vms, scatter.PlanVM{Name: v.Host})
		}
	}
	for range out.vms {
		out.common = append(out.common, make([]int64, len(out.vms)))
	}
	for i, a := range m.vms {
		for j, b := range m.vms {
			if i != j || a.Host == b.Host {
				out.common[at[a.Host]][at[b.Host]] += m.common[i][j]
			}
		}
	}
	return out
}

// linkDrawing is the bytes of each link as bars.
type linkDrawing struct {
	Width, Height float64
	Bars          []bar
}

type bar struct {
	Name, Text                   string
	Label, X, Y, W, H, Base, End float64
}

func drawLinks(p *scatter.Plan) *linkDrawing {
	if len(p.Hosts) == 0 {
		return nil
	}
	links := []scatter.PlanHost{{Name: "source", PredictedBytes: p.PredictedBytes}}
	links = append(links, p.Hosts...)
	most := slices.MaxFunc(links, func(a, b scatter.PlanHost) int { return int(min(1, max(-1, a.PredictedBytes-b.PredictedBytes))) }).PredictedBytes
	d := &linkDrawing{Width: drawingWidth, Height: rowHeight * float64(len(links))}
	for i, l := range links {
		y := rowHeight * float64(i)
		width := (drawingWidth - nameWidth - 90) * float64(l.PredictedBytes) / float64(max(1, most))
		d.Bars = append(d.Bars, bar{Name: shorten(l.Name), Text: units.FormatSize(l.PredictedBytes), Label: nameWidth - 6, X: nameWidth, Y: y + 4,
			W: round(width), H: rowHeight - 8, Base: y + rowHeight/2 + 4, End: round(nameWidth + width + 6)})
	}
	return d
}

// timelineDrawing is which host receives what when, and how long it is joined.
type timelineDrawing struct {
	Width, Height float64
	Rows          []label
	Rules         []rule
	Blocks        []box
}

// rule is a thin line, down from a place and, with Right, to the right of it.
type rule struct {
	X, Y, End, Base, Right float64
	Text                   string
}

// laneColours tell multicast addresses apart, also for those who see few colours.
var laneColours = []string{"#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#B8A800", "#7A5195"}

// timeline is a plan's groups laid out by the bytes that leave the source.
type timeline struct {
	*timelineDrawing
	plan  *scatter.Plan
	row   map[string]int // by host
	start []int64        // of each group, and the end of all
	joins map[[2]int]int // lane and host's row -> group at whose beginning it joined
}

func drawTimeline(p *scatter.Plan) *timelineDrawing {
	if len(p.Groups) == 0 {
		return nil
	}
	t := &timeline{timelineDrawing: &timelineDrawing{Width: drawingWidth, Height: rowHeight*float64(len(p.Hosts)) + 24}, plan: p,
		row: make(map[string]int), start: make([]int64, 1), joins: make(map[[2]int]int)}
	for i, h := range p.Hosts {
		t.row[h.Name] = i
		t.Rows = append(t.Rows, label{nameWidth - 6, rowHeight*float64(i) + rowHeight/2 + 2, shorten(h.Name)})
	}
	for i, g := range p.Groups {
		t.start = append(t.start, t.start[i]+g.Bytes)
	}
	for part := 0; part <= 4; part++ {
		x := nameWidth + (drawingWidth-nameWidth-40)*float64(part)/4
		t.Rules = append(t.Rules, rule{X: x, Y: 0, End: t.Height - 20, Base: t.Height - 5, Text: units.FormatSize(t.start[len(p.Groups)] * int64(part) / 4)})
	}
	for i := range p.Groups {
		t.draw(i)
	}
	return t.timelineDrawing
}

// x is where so many bytes have been sent.
func (t *timeline) x(bytes int64) float64 {
	all := max(1, t.start[len(t.start)-1])
	return round(nameWidth + (drawingWidth-nameWidth-40)*float64(bytes)/float64(all))
}

func (t *timeline) draw(i int) {
	g := &t.plan.Groups[i]
	colour := ""
	if g.Lane > 0 {
		colour = laneColours[(g.Lane-1)%len(laneColours)]
	}
	for _, name := range g.Hosts {
		row, ok := t.row[name]
		if !ok {
			continue
		}
		y, from, to := rowHeight*float64(row), t.x(t.start[i]), t.x(t.start[i+1])
		t.Blocks = append(t.Blocks, box{X: from, Y: y + 2, W: max(0.5, round(to-from)), H: rowHeight - 10, Colour: colour,
			Text: fmt.Sprintf("%d: %s to %s, %s", i+1, g.Address, names(g.Hosts), units.FormatSize(g.Bytes))})
		if g.Lane > 0 {
			t.member(i, g, name, row, colour)
		}
	}
}

// member draws how long a host is joined, when group i is the last of the lane that it stays for.
func (t *timeline) member(i int, g *scatter.PlanGroup, name string, row int, colour string) {
	key := [2]int{g.Lane, row}
	if _, joined := t.joins[key]; !joined {
		t.joins[key] = min(max(g.Opens-1, 0), i)
	}
	next := slices.IndexFunc(t.plan.Groups[i+1:], func(o scatter.PlanGroup) bool { return o.Lane == g.Lane })
	if next >= 0 && slices.Contains(t.plan.Groups[i+1+next].Hosts, name) {
		return
	}
	from, to := t.x(t.start[t.joins[key]]), t.x(t.start[i+1])
	delete(t.joins, key)
	t.Blocks = append(t.Blocks, box{X: from, Y: rowHeight*float64(row) + rowHeight - 7 + 2*float64(g.Lane%3), W: max(0.5, round(to-from)), H: 1.5, Colour: colour,
		Text: name + " is a member of " + g.Address})
}
