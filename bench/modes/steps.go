package main

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/promise"
)

// pass is a pass over a throttled guest's dirty pages, as its steering sees it when the pass begins.
type pass struct {
	at        float64       // seconds since its migration began
	remaining float64       // MB that are dirty
	pause     time.Duration // if it switched over now
	taken     float64       // share of its processor time that is taken
	share     float64       // that is to be, from now on
	order     string
}

// steps is how the loop answers to a guest that dirties memory faster than the link carries, from its first pass on.
func steps() part {
	return part{
		about: "the passes of one throttled move, as the loop sees them (throttle-steps.md):", rate: slow, targets: 1, guests: []lab.GuestConfig{writer("followed", true)},
		ways:  []way{{"throttle, step by step", followed(lan.WithGroups, "--on-stall", "throttle")}},
		judge: func(*promise.Table, map[string]round) {},
		draw: func(rounds map[string][]round) map[string]string {
			passes := rounds["throttle, step by step"][0].passes
			return map[string]string{"throttle-steps.md": stepsTable(passes), "throttle-steps.svg": stepsPlot(passes)}
		},
	}
}

// passLine is what send logs of a pass.
var passLine = regexp.MustCompile(`msg=pass .*at_s=(\S+) remaining=(\S+) pause=(\S+) taken=(\S+) share=(\S+) order=(\S+)`)

// followed is scatterWay, and keeps the passes.
func followed(prefix []string, args ...string) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		result, err := m.send(ctx, prefix, append(args, "--log-level", "debug")...)
		if err != nil {
			return r, began, err
		}
		r = roundOf(result)
		for _, found := range passLine.FindAllStringSubmatch(result.Output, -1) {
			p, err := passOf(found[1:])
			if err != nil {
				return r, began, err
			}
			r.passes = append(r.passes, p)
		}
		if len(r.passes) == 0 {
			return r, began, fmt.Errorf("send logged no pass")
		}
		return r, result.Started, nil
	}
}

// passOf reads the figures of a pass.
func passOf(words []string) (p pass, err error) {
	for i, to := range []*float64{&p.at, &p.remaining, nil, &p.taken, &p.share} {
		if to == nil {
			p.pause, err = time.ParseDuration(words[i])
		} else {
			*to, err = strconv.ParseFloat(words[i], 64)
		}
		if err != nil {
			return p, fmt.Errorf("a pass: %w", err)
		}
	}
	p.remaining, p.order = p.remaining/1e6, words[5]
	return p, nil
}

// stepsTable shows passes as lines.
func stepsTable(passes []pass) string {
	lines := [][]string{{"at", "dirty", "pause if it went now", "taken from it", "to be taken", "order"}}
	for _, p := range passes {
		lines = append(lines, []string{fmt.Sprintf("%.2f s", p.at), fmt.Sprintf("%.1f MB", p.remaining), fmt.Sprintf("%d ms", p.pause.Milliseconds()),
			fmt.Sprintf("%.0f %%", 100*p.taken), fmt.Sprintf("%.0f %%", 100*p.share), p.order})
	}
	return "# The throttle's loop, pass by pass\n\n" +
		"- the guest of modes.md that computes without a pause and rewrites 64 MiB, 20,000 pages a second; 300 Mbit/s, 300 ms of pause allowed\n" +
		"- a share is of the guest's processor time; each line is the begin of a pass over its dirty pages, the picture is throttle-steps.svg\n\n" + promise.Grid(lines)
}

// Sizes of the plot.
const (
	plotWidth, plotHeight = 520, 240
	plotMargin            = 50
)

// stepsPlot draws what is dirty and what is taken over time.
func stepsPlot(passes []pass) string {
	last, most := 0.1, 1.0
	for _, p := range passes {
		last, most = max(last, p.at), max(most, p.remaining)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth+2*plotMargin, plotHeight+2*plotMargin)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><g transform="translate(%d,%d)">`+"\n", plotMargin, plotMargin)
	for i := range 6 {
		x, y := plotWidth*i/5, plotHeight-plotHeight*i/5
		fmt.Fprintf(&b, `<line x1="0" y1="%d" x2="%d" y2="%d" stroke="#dddddd"/>`+"\n", y, plotWidth, y)
		fmt.Fprintf(&b, `<text x="-6" y="%d" text-anchor="end">%.0f</text><text x="%d" y="%d">%d %%</text>`+"\n", y+4, most*float64(i)/5, plotWidth+6, y+4, 20*i)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="middle">%.1f s</text>`+"\n", x, plotHeight+18, last*float64(i)/5)
	}
	line := func(label, colour string, place int, of func(pass) float64) {
		var points []string
		for i, p := range passes {
			x := plotWidth * p.at / last
			if i > 0 { // it stays until the next pass
				points = append(points, fmt.Sprintf("%.1f,%.1f", x, plotHeight*(1-of(passes[i-1]))))
			}
			points = append(points, fmt.Sprintf("%.1f,%.1f", x, plotHeight*(1-of(p))))
		}
		fmt.Fprintf(&b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/><text x="%d" y="-16" fill="%s">%s</text>`+"\n",
			strings.Join(points, " "), colour, place, colour, label)
	}
	line("dirty, MB", "#c0392b", 0, func(p pass) float64 { return p.remaining / most })
	line("taken from the guest", "#2471a3", 120, func(p pass) float64 { return p.taken })
	line("to be taken", "#1e8449", 280, func(p pass) float64 { return p.share })
	b.WriteString("</g></svg>\n")
	return b.String()
}
