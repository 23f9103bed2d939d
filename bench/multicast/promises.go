package main

import (
	"fmt"

	"github.com/scatter-vm/scatter/bench/promise"
)

// reach is what scatter promises to 8 targets on links of 100 Mbit/s, by per cent of loss.
var reach = []struct{ loss, goodput, bytes float64 }{
	{0, 0.945, 1.055},
	{0.1, 0.94, 1.06},
	{1, 0.92, 1.085},
	{5, 0.865, 1.15},
}

// fast is what scatter promises where links are not shaped, in bit/s by number of targets.
var fast = []struct {
	targets int
	rate    float64
}{{4, 4e9}, {8, 2e9}}

const (
	sealAllowance = 0.012 // of the link, for the peers do not seal
	sendCPULimit  = 1.0   // seconds per GB
	memoryLimit   = 64    // MiB
	patternLimit  = 1.5   // time where packets get lost many at once, of what it takes where they get lost one by one
	slowLimit     = 1.10  // time of the others beside a slow target, of what they need without
)

// promises holds the figures against what scatter promises of them.
func (r results) promises() *promise.Table {
	t := &promise.Table{Title: "One source, many targets", Facts: r.facts()}
	for _, p := range reach {
		c := cell{Mbit: 100, Targets: 8, Loss: p.loss}
		if f, ok := r[job{c, "scatter"}]; ok {
			t.AtLeast(c.String()+": goodput", "%.3f", c.share(f.goodput), p.goodput)
			t.AtMost(c.String()+": bytes/payload", "%.3f", f.overhead, p.bytes)
		}
	}
	for _, p := range fast {
		c := cell{Targets: p.targets}
		if f, ok := r[job{c, "scatter"}]; ok {
			t.AtLeast(c.String()+": goodput", "%.2f Gbit/s", f.goodput*8/1e9, p.rate/1e9)
		}
	}
	for _, c := range r.cells() {
		alone := c
		alone.Slow = false
		f, ok := r[job{c, "scatter"}]
		if without, both := r[job{alone, "scatter"}]; ok && both && c.Slow && f.goodput > 0 {
			t.AtMost(c.String()+": time of the others, of what they need without it", "%.3f", without.goodput/f.goodput, slowLimit)
		}
	}
	for _, c := range r.cells() {
		f, ok := r[job{c, "scatter"}]
		if single, both := r[job{c.single(), "scatter"}]; ok && both && c != c.single() && f.goodput > 0 {
			t.AtMost(c.String()+": time, of what as much loss one by one costs", "%.2f", single.goodput/f.goodput, patternLimit)
		}
	}
	for _, c := range r.cells() {
		if f, ok := r[job{c, "scatter"}]; ok {
			r.beside(t, c, f)
		}
	}
	r.worst(t)
	return t
}

// beside compares with the peers in the same cell.
func (r results) beside(t *promise.Table, c cell, f figures) {
	best, ok := r.better(c, "uftp", "udpcast")
	if ok && c.Mbit > 0 {
		t.AtLeast(c.String()+": goodput, beside the better of uftp and udpcast", "%.3f", c.share(f.goodput), c.share(best)-sealAllowance)
	} else if ok {
		t.AtLeast(c.String()+": goodput, beside the better of uftp and udpcast", "%.2f Gbit/s", f.goodput*8/1e9, best*8/1e9*(1-sealAllowance))
	}
	if sealed, ok := r.better(c, "uftp-sealed"); ok && c.Mbit > 0 {
		t.AtLeast(c.String()+": goodput, beside uftp with a seal", "%.3f", c.share(f.goodput), c.share(sealed))
	}
}

// better is the better goodput of tools that were measured in a cell. One that failed counts as nothing.
func (r results) better(c cell, names ...string) (best float64, measured bool) {
	for _, name := range names {
		f, ok := r[job{c, name}]
		best, measured = max(best, f.goodput), measured || ok
	}
	return best, measured
}

// worst holds what is promised of every cell against the worst of them.
func (r results) worst(t *promise.Table) {
	cpu, memory, failed := 0.0, int64(0), 0
	for j, f := range r {
		if j.tool != "scatter" {
			continue
		}
		failed += f.failed
		memory = max(memory, f.memory)
		if j.Mbit == 0 && j.Loss == 0 && j.Busy == 0 {
			cpu = max(cpu, f.send)
		}
	}
	t.Add(failed == 0, "runs of scatter that failed", fmt.Sprint(failed), "0")
	if cpu > 0 {
		t.AtMost("CPU of the sender where links are not shaped and lose nothing, s/GB", "%.2f", cpu, sendCPULimit)
	}
	t.AtMost("peak memory of a receiver, MiB", "%.0f", float64(memory)/(1<<20), memoryLimit)
}
