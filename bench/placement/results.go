package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/promise"
)

// promises holds the results against what scatter promises of them.
func promises(t tiny, all []result, long time.Duration) *promise.Table {
	out := &promise.Table{Title: "Placements", Facts: []string{
		"cost: bytes of classes times the hosts that need them; VMs come in random order",
		"mesh: each VM shares something with each of its neighbours; straight lines are the best cuts",
		"copies: the cost without the first host of each class, which no placement can save",
		"random, round-robin and first-fit: means of 20 orders; greedy: the largest VM first, to the host that has most of its bytes",
		fmt.Sprintf("time of one core: CPU time of the search; long search: the same with a budget of %v on one core (-long); like any search it ends early when a whole generation agrees", long),
		fmt.Sprintf("%d cores; %s", runtime.NumCPU(), runtime.Version()),
	}}
	small := fmt.Sprintf("%d problems of 6 to 14 VMs on 2 to 5 hosts: ", t.problems)
	out.Add(t.proven == t.problems, small+"proven to be the best", fmt.Sprint(t.proven), fmt.Sprint(t.problems))
	out.AtMost(small+"mean cost over the least possible", "%.2f %%", 100*t.meanGap, 0.2)
	out.AtMost(small+"worst", "%.2f %%", 100*t.worstGap, 3)
	for _, r := range all {
		r.promise(out)
	}
	return out
}

func (r result) promise(t *promise.Table) {
	if r.exact {
		t.Add(r.cost == r.known, r.name+": cost beside the known best", fmt.Sprintf("%.4f", float64(r.cost)/float64(r.known)), "1")
	}
	if r.near > 0 {
		t.AtMost(r.name+": copies over those of the known best", "%.2f %%", 100*(float64(r.cost-r.once)/float64(r.known-r.once)-1), 100*r.near)
	}
	if r.vsLong > 0 {
		t.AtMost(r.name+": cost over that of a long search", "%.2f %%", 100*r.overLong(), 100*r.vsLong)
	}
	if r.gain > 0 {
		of := "cost"
		if r.copies {
			of = "copies"
		}
		t.AtLeast(r.name+": saved of greedy's "+of, "%.1f %%", 100*r.saved(), 100*r.gain)
	}
	if r.seconds > 0 {
		what := r.name + ": time"
		if r.oneCore {
			what += " of one core"
		}
		t.AtMost(what, "%.2f s", r.took.Seconds(), r.seconds)
	}
	if r.gib > 0 {
		t.AtMost(r.name+": memory", "%.2f GiB", float64(r.peak)/(1<<30), r.gib)
	}
}

// grid is all results as a table: costs beside that of scatter.
func grid(all []result) string {
	lines := [][]string{{"problem", "scatter", "lower bound"}}
	for i := range rules {
		lines[0] = append(lines[0], rules[i].name)
	}
	lines[0] = append(lines[0], "time, s", "memory, MiB")
	for _, r := range all {
		cost := "1"
		if r.optimal {
			cost = "1, the best"
		}
		line := []string{r.name, cost, fmt.Sprintf("%.3f", float64(r.bound)/float64(r.cost))}
		for i := range rules {
			line = append(line, r.beside(rules[i].name))
		}
		lines = append(lines, append(line, fmt.Sprintf("%.2f", r.took.Seconds()), fmt.Sprint(r.peak>>20)))
	}
	return promise.Grid(lines)
}

// beside is the cost of a rule beside that of scatter.
func (r result) beside(rule string) string {
	cost, ok := r.rules[rule]
	if !ok {
		return "no room"
	}
	return fmt.Sprintf("%.3f", cost/float64(r.cost))
}

// The plot has a panel for each problem, with a bar for each rule: its cost beside that of scatter.
const (
	panelWidth, panelHeight = 330, 190
	barHeight               = 18
	columns                 = 3
)

// plot draws the results as SVG.
func plot(all []result) string {
	var b strings.Builder
	height := (len(all) + columns - 1) / columns * panelHeight
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", columns*panelWidth, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", columns*panelWidth, height)
	for i, r := range all {
		fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", i%columns*panelWidth+10, i/columns*panelHeight+20)
		r.draw(&b)
		b.WriteString("</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// bar is one line of a panel.
type bar struct {
	name, colour string
	value        float64
}

func (r result) draw(b *strings.Builder) {
	bars := []bar{{"scatter", "#c0392b", 1}}
	for i := range rules {
		if cost, ok := r.rules[rules[i].name]; ok {
			bars = append(bars, bar{rules[i].name, "#7fb3d5", cost / float64(r.cost)})
		}
	}
	most := slices.MaxFunc(bars, func(x, y bar) int { return int(1e6 * (x.value - y.value)) }).value
	scale := (panelWidth - 160) / most
	fmt.Fprintf(b, `<text x="0" y="0" font-weight="bold">%s</text>`+"\n", r.name)
	for i, x := range bars {
		y := 12 + i*(barHeight+5)
		fmt.Fprintf(b, `<text x="80" y="%d" text-anchor="end">%s</text>`, y+13, x.name)
		fmt.Fprintf(b, `<rect x="86" y="%d" width="%.1f" height="%d" fill="%s"/>`, y, x.value*scale, barHeight, x.colour)
		fmt.Fprintf(b, `<text x="%.1f" y="%d">%.2f</text>`+"\n", 90+x.value*scale, y+13, x.value)
	}
	x := 86 + scale*float64(r.bound)/float64(r.cost)
	fmt.Fprintf(b, `<line x1="%.1f" y1="8" x2="%.1f" y2="%d" stroke="#333333" stroke-dasharray="4 3"/>`+"\n", x, x, 12+len(bars)*(barHeight+5))
}
