package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/scatter-vm/scatter/bench/promise"
)

// save adds a sample to a file.
func save(path string, m sample) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(json.NewEncoder(f).Encode(m), f.Close())
}

// load reads the samples of a file, none if there is no such file.
func load(path string) (all []sample, err error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for d := json.NewDecoder(f); ; {
		var m sample
		if err := d.Decode(&m); err == io.EOF {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, m)
	}
}

// figures are the medians of the runs of a job that went well.
type figures struct {
	runs, failed int
	failure      string
	size         int64
	goodput      float64 // bytes per second
	overhead     float64 // bytes on the source's link for each byte of payload
	send         float64 // CPU seconds per GB
	receive      float64
	memory       int64 // the worst
	startup      float64
}

// results are the figures of each job.
type results map[job]figures

func summarize(all []sample) results {
	runs, r := map[job][]sample{}, results{}
	for _, m := range all {
		j := job{m.cell, m.Tool}
		if m.Failed != "" {
			f := r[j]
			f.failed, f.failure = f.failed+1, m.Failed
			r[j] = f
			continue
		}
		runs[j] = append(runs[j], m)
	}
	for j, list := range runs {
		f := r[j]
		f.runs, f.size = len(list), list[0].Size
		f.goodput = promise.Median(list, sample.goodput)
		f.overhead = promise.Median(list, sample.overhead)
		f.send, f.receive = promise.Median(list, sample.sendCPU), promise.Median(list, sample.receiveCPU)
		f.startup = promise.Median(list, func(m sample) float64 { return m.Total - m.Seconds })
		for _, m := range list {
			f.memory = max(f.memory, m.Memory)
		}
		r[j] = f
	}
	return r
}

// cells are those that were measured, in order.
func (r results) cells() []cell {
	set := map[cell]bool{}
	for j := range r {
		set[j.cell] = true
	}
	var all []cell
	for c := range set {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b cell) int {
		// links that are not shaped come last
		return cmp.Or(boolCompare(a.Mbit == 0, b.Mbit == 0), cmp.Compare(a.Mbit, b.Mbit), cmp.Compare(a.Targets, b.Targets),
			boolCompare(a.Slow, b.Slow), cmp.Compare(a.Busy, b.Busy), boolCompare(a.Merged, b.Merged), cmp.Compare(a.Bad, b.Bad),
			cmp.Compare(a.Burst, b.Burst), cmp.Compare(a.Loss, b.Loss))
	})
	return all
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// share is goodput as a share of the link's rate.
func (c cell) share(goodput float64) float64 { return goodput * 8 / (c.Mbit * 1e6) }

// speed is goodput as text: a share of the link's rate where there is one.
func (c cell) speed(goodput float64) string {
	if c.Mbit == 0 {
		return fmt.Sprintf("%.2f Gbit/s", goodput*8/1e9)
	}
	return fmt.Sprintf("%.3f", c.share(goodput))
}

// table is all figures as text.
func (r results) table() string {
	lines := [][]string{{"link", "targets", "loss", "tool", "goodput", "limit", "bytes/payload", "limit", "CPU s/GB: sender", "receiver", "memory, MiB", "start-up, s", "MiB each", "runs"}}
	for _, c := range r.cells() {
		for _, t := range tools {
			if f, ok := r[job{c, t.name}]; ok {
				lines = append(lines, f.line(c, t.name))
			}
		}
	}
	return promise.Grid(lines)
}

func (f figures) line(c cell, tool string) []string {
	line := []string{c.link(), c.who(), c.losing(), tool}
	runs := fmt.Sprint(f.runs)
	if f.failed > 0 {
		runs += fmt.Sprintf(", %d failed", f.failed)
	}
	if f.runs == 0 {
		return append(line, "-", "", "-", "", "-", "-", "-", "-", "-", runs)
	}
	goodput, overhead := "", ""
	if tool == "scatter" && c == c.single() && !c.Slow {
		overhead = fmt.Sprintf("%.3f", limit(c))
		if c.Mbit > 0 {
			goodput = fmt.Sprintf("%.3f", 1/limit(c))
		}
	}
	return append(line, c.speed(f.goodput), goodput, fmt.Sprintf("%.3f", f.overhead), overhead, fmt.Sprintf("%.2f", f.send), fmt.Sprintf("%.2f", f.receive),
		fmt.Sprint(f.memory>>20), fmt.Sprintf("%.2f", f.startup), fmt.Sprint(f.size>>20), runs)
}

// facts say what was measured.
func (r results) facts() []string {
	return []string{
		"random bytes to each target, on a bridge with IGMP snooping; links shaped by tbf in both directions; tcp: one connection to each target, " +
			"which share the link and carry 1/targets of the bytes each",
		"loss is drawn at each target by itself, packet by packet; in bursts: " + fmt.Sprint(burstLength) + " packets in a row, at other times at each target",
		"in runs: likewise; merged packets: up to 45 datagrams that were sent at once are lost as one, at random; bad: the link is bad for so many packets on average, and loses " +
			"half of them (Gilbert and Elliott)",
		"medians; goodput: payload per target from the first data on the source's link until the last target has all, as a share of the link's rate; " +
			"bytes: all that left the source's port, with headers; what arrived was compared with what was sent; scatter and tcp write over files that are there, the others make new ones",
		"scatter seals all it sends (AES-256-GCM), and is told the rate, like uftp and udpcast, which send in the clear; uftp-sealed is uftp with AES-256-GCM",
		fmt.Sprintf("one slow: the link of one target has %.0f %% of the rate; the figures are those of the others, but all that left the source until that one has "+
			"got the payload, too, counts", slowPart*100),
		"busy: so many processes compute meanwhile, like guests of a host that is being emptied",
		"links that are not shaped: a thread of the kernel does the switch's and the receivers' work for UDP; for TCP, the sender does it within its system calls",
		"limit: what headers, seal and the parity that the worst target needs leave of the link at best",
		fmt.Sprintf("%d cores run source and targets; %s", runtime.NumCPU(), runtime.Version()),
	}
}
