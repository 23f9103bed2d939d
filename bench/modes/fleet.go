package main

import (
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/bench/stock"
)

// writers is how many guests of a host write more than the link carries.
const writers = 2

// mixed are guests as a host has them, of which some rewrite 64 MiB of their own pages, 20,000 a second: all hold as much as if these were calm.
func mixed() []lab.GuestConfig {
	all := hosted("mixed")
	for i := range writers {
		w := &all[i].Workload
		w.Own -= writerHot - w.Hot
		w.Hot, w.Stamp, w.Dirty = writerHot, true, 20000
	}
	return all
}

// writerHot is what a writer rewrites, in MiB.
const writerHot = 64

// fleet is a host to be emptied, calm and with writers.
func fleet(mode string) []part {
	const ours, theirs = "six guests, two write, ", "six guests, two write, stock post-copy"
	args := []string{"--mode", mode}
	var calm round
	return []part{
		{about: "six calm guests of 512 MiB, three targets, 300 Mbit/s:", rate: slow, targets: 3, guests: hosted("calm"),
			ways:  []way{{"six guests, calm, " + mode, scatterWay(nil, args...)}},
			judge: func(_ *promise.Table, of map[string]round) { calm = of["six guests, calm, "+mode] }},
		{about: "two of them rewrite 64 MiB of their own pages, 20,000 pages a second. Stock QEMU moves one after the other:", rate: slow, targets: 3, guests: mixed(),
			ways: []way{{ours + mode, scatterWay(nil, args...)}, {theirs, stockWay(stock.PostCopy)}},
			judge: func(t *promise.Table, of map[string]round) {
				judgeFleet(t, calm, of[ours+mode], of[theirs])
			}},
	}
}

// What is promised of a host with writers, beside one without.
const (
	fleetTime = 1.15
	fleetGap  = 500 // ms
)

func judgeFleet(t *promise.Table, calm, ours, stock round) {
	if calm.time > 0 {
		t.AtMost("six guests, two write: time, beside six that are calm", "%.2f", ours.time.Seconds()/calm.time.Seconds(), fleetTime)
	}
	t.AtMost("six guests, two write: longest gap of any", "%.0f ms", float64(ours.gap.Milliseconds()), fleetGap)
	t.AtMost("six guests, two write: time, beside stock post-copy of one after the other", "%.2f", ours.time.Seconds()/stock.time.Seconds(), 1)
	t.AtMost("six guests, two write: bytes, beside the same", "%.2f", float64(ours.bytes)/float64(stock.bytes), 1)
}
