package main

import (
	"fmt"
	"strings"
)

// A plot has a panel for each rate and number of targets, and in it a line for each tool: goodput as a share of the link's rate over
// loss. Losses stand side by side, for they differ by orders of magnitude.
const (
	panelWidth, panelHeight = 300, 220
	marginLeft, marginTop   = 48, 40
	gapX, gapY              = 60, 64
	legendHeight            = 30
)

var colours = map[string]string{"scatter": "#c0392b", "uftp": "#2471a3", "uftp-sealed": "#7fb3d5", "udpcast": "#1e8449", "tcp": "#7d6608", "limit": "#888888"}

// panel is one part of the plot.
type panel struct {
	mbit    float64
	targets int
	cells   []cell // by loss
}

// panels are the parts of the plot: a row for each rate.
func (r results) panels() (rows [][]panel) {
	for _, c := range r.cells() {
		if c.Mbit == 0 || c != c.single() || c.Slow || c.Busy > 0 {
			continue
		}
		if len(rows) == 0 || rows[len(rows)-1][0].mbit != c.Mbit {
			rows = append(rows, nil)
		}
		row := &rows[len(rows)-1]
		if n := len(*row); n == 0 || (*row)[n-1].targets != c.Targets {
			*row = append(*row, panel{mbit: c.Mbit, targets: c.Targets})
		}
		p := &(*row)[len(*row)-1]
		p.cells = append(p.cells, c)
	}
	return rows
}

// plot draws the results as SVG; "" if there is nothing to draw.
func (r results) plot() string {
	rows := r.panels()
	if len(rows) == 0 {
		return ""
	}
	columns := 0
	for _, row := range rows {
		columns = max(columns, len(row))
	}
	width := marginLeft + columns*(panelWidth+gapX)
	height := marginTop + legendHeight + len(rows)*(panelHeight+gapY)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="white"/>`+"\n", width, height)
	b.WriteString(r.legend())
	for i, row := range rows {
		for j, p := range row {
			fmt.Fprintf(&b, `<g transform="translate(%d,%d)">`+"\n", marginLeft+j*(panelWidth+gapX), marginTop+legendHeight+i*(panelHeight+gapY))
			r.draw(&b, p)
			b.WriteString("</g>\n")
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// drawn are the tools that were measured, and the limit.
func (r results) drawn() (names []string) {
	for _, t := range tools {
		for j := range r {
			if j.tool == t.name && j.Mbit > 0 {
				names = append(names, t.name)
				break
			}
		}
	}
	return append(names, "limit")
}

func (r results) legend() string {
	var b strings.Builder
	for i, name := range r.drawn() {
		x := marginLeft + i*90
		fmt.Fprintf(&b, `<line x1="%d" y1="20" x2="%d" y2="20" stroke="%s" stroke-width="2"/><text x="%d" y="24">%s</text>`+"\n", x, x+20, colours[name], x+25, name)
	}
	return b.String()
}

// draw draws one panel.
func (r results) draw(b *strings.Builder, p panel) {
	fmt.Fprintf(b, `<text x="0" y="-8" font-weight="bold">%v Mbit/s, %d targets: goodput / link rate</text>`+"\n", p.mbit, p.targets)
	for i := range 6 {
		y := panelHeight - panelHeight*i/5
		fmt.Fprintf(b, `<line x1="0" y1="%d" x2="%d" y2="%d" stroke="#dddddd"/><text x="-6" y="%d" text-anchor="end">%.1f</text>`+"\n", y, panelWidth, y, y+4, float64(i)/5)
	}
	for i, c := range p.cells {
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">%v %%</text>`+"\n", p.x(i), panelHeight+18, c.Loss)
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle">loss at each target</text>`+"\n", panelWidth/2, panelHeight+36)
	for _, name := range r.drawn() {
		r.line(b, p, name)
	}
}

func (p panel) x(i int) int { return panelWidth * (2*i + 1) / (2 * len(p.cells)) }

// line draws one tool's, through the cells where it was measured.
func (r results) line(b *strings.Builder, p panel, name string) {
	var points []string
	for i, c := range p.cells {
		share := 1 / limit(c)
		if name != "limit" {
			f, ok := r[job{c, name}]
			if !ok {
				continue
			}
			share = c.share(f.goodput)
		}
		y := float64(panelHeight) * (1 - share)
		points = append(points, fmt.Sprintf("%d,%.1f", p.x(i), y))
		if name != "limit" {
			fmt.Fprintf(b, `<circle cx="%d" cy="%.1f" r="3" fill="%s"/>`+"\n", p.x(i), y, colours[name])
		}
	}
	dash := ""
	if name == "limit" {
		dash = ` stroke-dasharray="4 3"`
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"%s/>`+"\n", strings.Join(points, " "), colours[name], dash)
}
