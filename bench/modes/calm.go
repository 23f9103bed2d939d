package main

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// six is how many guests a host has that is evacuated.
const six = 6

// hosted are guests as many a host has them, which are calm. No two guests of a lab have the same name.
func hosted(name string) (all []lab.GuestConfig) {
	for i := range six {
		all = append(all, lab.GuestConfig{Name: fmt.Sprintf("%s%d", name, i+1), Memory: 512, Workload: lab.HostWorkload(i + 1)})
	}
	return all
}

// calm is a host of which all guests run elsewhere at once, and their memory follows.
func calm() part {
	return part{
		about: "six calm guests of 512 MiB, of whose pages half are common to all, three targets, 500 Mbit/s, not compressed; D are their distinct pages, counted from outside while they stand still:",
		rate:  fast, targets: 3, guests: hosted("post"), judge: judgeCalm,
		ways: []way{{"post, six guests", countedFirst(scatterWay(nil, "--mode", "post", "--no-compress"))}},
	}
}

// countedFirst counts what the guests hold before it moves them.
func countedFirst(move mover) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		contents, err := lab.CountContents(ctx, m.guests...)
		if err != nil {
			return r, began, err
		}
		r, began, err = move(ctx, m)
		r.distinct = contents.Distinct
		return r, began, err
	}
}

// What is promised of guests that run elsewhere at once.
const (
	calmDown  = 1500 // ms
	calmBytes = 1.03
)

// datagramPart is what a full datagram takes of the link beside what it carries, where packets have 1500 bytes.
const datagramPart = 1514. / (1500 - 20 - 8 - wire.Overhead)

func judgeCalm(t *promise.Table, of map[string]round) {
	ours := of["post, six guests"]
	t.AtMost("post, six guests: stopped and not yet running, the longest, by scatter's account", "%.0f ms", float64(ours.down.Milliseconds()), calmDown)
	t.AtMost("post, six guests: the same, between heartbeats", "%.0f ms", float64(ours.over.Milliseconds()), calmDown)
	sent := float64(ours.bytes) / float64(ours.distinct)
	t.AtMost("post, six guests: bytes, beside D in full datagrams", "%.3f", sent/datagramPart, calmBytes)
	t.Add(true, "post, six guests: bytes, beside D", fmt.Sprintf("%.3f", sent), "nothing")
}
