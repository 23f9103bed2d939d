package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// took is a sample whose goodput is a share of the link's rate.
func took(c cell, tool string, share, overhead float64) sample {
	const size = 1e6
	return sample{cell: c, Tool: tool, Size: size, Seconds: size * 8 / (c.Mbit * 1e6 * share), Bytes: int64(size * overhead), Send: 0.001, Receive: 0.002, Memory: 30 << 20}
}

var exampleCell = cell{Mbit: 100, Targets: 8, Loss: 1}

func example() []sample {
	c := exampleCell
	return []sample{
		took(c, "scatter", 0.93, 1.07), took(c, "scatter", 0.10, 9), took(c, "scatter", 0.94, 1.08),
		took(c, "uftp", 0.88, 1.12), took(c, "udpcast", 0.86, 1.13), {cell: c, Tool: "udpcast", Failed: "no"},
	}
}

func TestMediansAndPromises(t *testing.T) {
	r := summarize(example())
	if f := r[job{exampleCell, "scatter"}]; f.runs != 3 || exampleCell.share(f.goodput) < 0.929 || exampleCell.share(f.goodput) > 0.931 || f.overhead != 1.08 {
		t.Errorf("%+v", f)
	}
	if f := r[job{exampleCell, "udpcast"}]; f.runs != 1 || f.failed != 1 {
		t.Errorf("%+v", f)
	}
	if p := r.promises(); !p.Kept() {
		t.Error(p.Markdown())
	}
}

func TestPromisesBreak(t *testing.T) {
	c := exampleCell
	for name, change := range map[string][]sample{
		"goodput":          {took(c, "scatter", 0.91, 1.07)},
		"bytes":            {took(c, "scatter", 0.93, 1.09)},
		"beside a peer":    {took(c, "scatter", 0.93, 1.07), took(c, "udpcast", 0.945, 1.05)},
		"beside a sealed":  {took(c, "scatter", 0.93, 1.07), took(c, "uftp-sealed", 0.935, 1.05)},
		"failed":           {took(c, "scatter", 0.93, 1.07), {cell: c, Tool: "scatter", Failed: "it did"}},
		"a slow target":    {took(cell{Mbit: 100, Targets: 8}, "scatter", 0.95, 1.05), took(cell{Mbit: 100, Targets: 8, Slow: true}, "scatter", 0.85, 2)},
		"slow, not shaped": {{cell: cell{Targets: 4}, Tool: "scatter", Size: 1e9, Seconds: 3, Bytes: 1e9}},
		"CPU, not shaped":  {{cell: cell{Targets: 4}, Tool: "scatter", Size: 1e9, Seconds: 1, Bytes: 1e9, Send: 1.5}},
	} {
		if p := summarize(change).promises(); p.Kept() {
			t.Errorf("%s: kept:\n%s", name, p.Markdown())
		}
	}
}

func TestTableAndPlot(t *testing.T) {
	r := summarize(example())
	if s := r.table(); !strings.Contains(s, "| 100 Mbit/s | 8       | 1 %  | scatter | 0.930") || !strings.Contains(s, "1, 1 failed") {
		t.Error(s)
	}
	plot := r.plot()
	if strings.Count(plot, "<polyline") != 4 || strings.Count(plot, "<circle") != 3 || strings.Contains(plot, "NaN") {
		t.Error(plot)
	}
	if summarize([]sample{{cell: cell{Targets: 4}, Tool: "tcp", Size: 1, Seconds: 1}}).plot() != "" {
		t.Error("a plot of nothing")
	}
}

func TestSamplesAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "runs.jsonl")
	for _, m := range example() {
		if err := save(path, m); err != nil {
			t.Fatal(err)
		}
	}
	all, err := load(path)
	if err != nil || len(all) != 6 || all[2] != example()[2] {
		t.Errorf("%v, %v", all, err)
	}
	if all, err := load(path + ".none"); err != nil || all != nil {
		t.Errorf("%v, %v", all, err)
	}
}

func TestSelection(t *testing.T) {
	s := usual()
	if n := len(s.jobs()); n != 4*5+1+3*4 {
		t.Errorf("%d jobs by default", n)
	}
	s.narrow(map[string]bool{"loss": true})
	if n := len(s.jobs()); n != 4*4 {
		t.Errorf("%d jobs of one loss each", n)
	}
	all := everything()
	if n := len(all.jobs()); n != 4*(2*4*5+4*4)+1+4 {
		t.Errorf("%d jobs in all", n)
	}
	var l []float64
	if (list{&l}).Set("1,x") == nil || (list{&l}).Set("1,-1") == nil || (list{&l}).Set("0,2.5") != nil || len(l) != 2 {
		t.Errorf("numbers %v", l)
	}
	var n []string
	if (names{&n}).Set("scatter,rsync") == nil || (names{&n}).Set("scatter,tcp") != nil || len(n) != 2 {
		t.Errorf("names %v", n)
	}
}

func TestSlowTargetMayCostALittle(t *testing.T) {
	c := cell{Mbit: 100, Targets: 8}
	alone := took(c, "scatter", 0.95, 1.05)
	c.Slow = true
	p := summarize([]sample{alone, took(c, "scatter", 0.90, 2)}).promises()
	if !p.Kept() || !strings.Contains(p.Markdown(), "one of them slow") {
		t.Error(p.Markdown())
	}
}
