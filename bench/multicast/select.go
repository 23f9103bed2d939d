package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// cell is the circumstances of a transfer.
type cell struct {
	Mbit    float64 // of each link; 0 = not shaped
	Targets int
	Loss    float64 // per cent, at each target
	Burst   int     `json:",omitempty"` // packets lost in a row; 0 = each by itself
	Merged  bool    `json:",omitempty"` // what the device has merged is lost as one
	Bad     int     `json:",omitempty"` // packets on average for which a link is bad, and loses half; 0 = it is as bad always
	Slow    bool    `json:",omitempty"` // the last target's link has a tenth of the rate
	Busy    int     `json:",omitempty"` // processes that compute meanwhile
}

// slowPart is what a slow target's link has of the others' rate.
const slowPart = 0.1

// burstLength is how many packets bursty loss takes in a row: 3 ms at 100 Mbit/s.
const burstLength = 25

func (c cell) link() string {
	if c.Mbit == 0 {
		return "not shaped"
	}
	return fmt.Sprintf("%v Mbit/s", c.Mbit)
}

func (c cell) losing() string {
	switch {
	case c.Burst == burstLength:
		return fmt.Sprintf("%v %% in bursts", c.Loss)
	case c.Burst > 0:
		return fmt.Sprintf("%v %% in runs of %d", c.Loss, c.Burst)
	case c.Merged:
		return fmt.Sprintf("%v %% of merged packets", c.Loss)
	case c.Bad > 0:
		return fmt.Sprintf("%v %% while bad for %d", c.Loss, c.Bad)
	}
	return fmt.Sprintf("%v %%", c.Loss)
}

// single is the cell with as much loss, each packet by itself.
func (c cell) single() cell {
	c.Burst, c.Merged, c.Bad = 0, false, 0
	return c
}

// loss is what a target loses.
func (c cell) loss() lan.Loss {
	return lan.Loss{Fraction: c.Loss / 100, Burst: c.Burst, Merged: c.Merged, Bad: c.Bad}
}

// who says how many targets there are, and who is in the way.
func (c cell) who() string {
	who := fmt.Sprint(c.Targets)
	if c.Slow {
		who += ", one slow"
	}
	if c.Busy > 0 {
		who += fmt.Sprintf(", %d busy", c.Busy)
	}
	return who
}

func (c cell) String() string {
	with := ""
	if c.Slow {
		with = ", one of them slow"
	}
	if c.Busy > 0 {
		with += fmt.Sprintf(", %d processes busy", c.Busy)
	}
	return fmt.Sprintf("%s, %d targets%s, %s lost", c.link(), c.Targets, with, c.losing())
}

// job is one transfer to do.
type job struct {
	cell
	tool string
}

// selection is which cells and tools are measured.
type selection struct {
	rates, targets, loss, bursts []float64
	tools                        []string
	busy                         int
	more                         []job
}

// usual is a selection for a quarter of an hour: the cells with figures of their own to reach.
func usual() selection {
	s := selection{rates: []float64{100}, targets: []float64{8}, loss: []float64{0, 0.1, 1, 5}, bursts: []float64{1}, tools: []string{"scatter", "uftp", "udpcast", "tcp"}}
	s.more = []job{{cell{Mbit: 100, Targets: 8, Loss: 1}, "uftp-sealed"}}
	for _, c := range []cell{{Targets: 4}, {Targets: 8}, {Mbit: 500, Targets: 4, Busy: 8}} {
		for _, tool := range s.tools {
			s.more = append(s.more, job{c, tool})
		}
	}
	return s
}

// everything is the whole matrix.
func everything() selection {
	s := usual()
	s.rates, s.targets = []float64{100, 500, 0}, []float64{1, 2, 4, 8}
	return s
}

// slow is a selection that shows what a slow target costs the others.
func slow() selection {
	c := cell{Mbit: 100, Targets: 8}
	alone := job{c, "scatter"}
	c.Slow = true
	return selection{more: []job{alone, {c, "scatter"}}}
}

// patterns is a selection that shows what it costs in which pattern packets get lost: in runs as buffers, queues and merging hosts lose them, and
// by the model of Gilbert and Elliott.
func patterns() (s selection) {
	for _, loss := range []float64{1, 5, 10} {
		c := cell{Mbit: 300, Targets: 2, Loss: loss}
		all := []cell{c}
		for _, c.Burst = range []int{8, 45, 200} {
			all = append(all, c)
		}
		all = append(all, cell{Mbit: 300, Targets: 2, Loss: loss, Merged: true}, cell{Mbit: 300, Targets: 2, Loss: loss, Bad: 200})
		for _, c := range all {
			for _, tool := range []string{"scatter", "uftp", "udpcast", "tcp"} {
				s.more = append(s.more, job{c, tool})
			}
		}
	}
	return s
}

// jobs are the transfers of one round. The tools take turns in each cell.
func (s *selection) jobs() (all []job) {
	for _, rate := range s.rates {
		for _, n := range s.targets {
			for _, c := range s.lossy(cell{Mbit: rate, Targets: int(n), Busy: s.busy}) {
				for _, tool := range s.tools {
					all = append(all, job{c, tool})
				}
			}
		}
	}
	for _, j := range s.more {
		if !slices.Contains(all, j) {
			all = append(all, j)
		}
	}
	return all
}

// lossy is the cell with each of the losses.
func (s *selection) lossy(c cell) (all []cell) {
	for _, c.Loss = range s.loss {
		all = append(all, c)
	}
	if c.Mbit == 0 {
		return all
	}
	c.Burst = burstLength
	for _, c.Loss = range s.bursts {
		all = append(all, c)
	}
	return all
}

// narrow leaves out what is not asked for when something is, by flags of these names.
func (s *selection) narrow(given map[string]bool) {
	if given["loss"] != given["bursts"] {
		if given["loss"] {
			s.bursts = nil
		} else {
			s.loss = nil
		}
	}
	for _, name := range []string{"rates", "targets", "loss", "bursts", "tools", "busy"} {
		if given[name] {
			s.more = nil
		}
	}
}

// list is a flag of numbers.
type list struct{ of *[]float64 }

func (l list) String() string {
	if l.of == nil {
		return ""
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(*l.of), " ", ","), "[]")
}

// Set reads numbers with commas between them; none is possible.
func (l list) Set(text string) error {
	*l.of = nil
	for part := range strings.SplitSeq(text, ",") {
		if part == "" {
			continue
		}
		v, err := strconv.ParseFloat(part, 64)
		if err != nil || v < 0 {
			return fmt.Errorf("%q is not a number of zero or more", part)
		}
		*l.of = append(*l.of, v)
	}
	return nil
}

// names is a flag of tools.
type names struct{ of *[]string }

func (n names) String() string {
	if n.of == nil {
		return ""
	}
	return strings.Join(*n.of, ",")
}

// Set reads names with commas between them.
func (n names) Set(text string) error {
	*n.of = strings.Split(text, ",")
	for _, name := range *n.of {
		if toolNamed(name) == nil {
			return fmt.Errorf("unknown tool %q: there are %s", name, toolNames())
		}
	}
	return nil
}
