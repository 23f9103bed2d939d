package main

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/scatter/model"
)

// readMiB is what readers hold and read.
const readMiB = 192

// reader is a guest that reads what it holds, at a rate or as fast as it gets it.
func reader(name string, random bool, rate int) lab.GuestConfig {
	return lab.GuestConfig{Name: name, Memory: 512, Workload: lab.Workload{ID: 1, Own: readMiB, Hot: 1, Random: random, Beside: true, Dirty: 1, Verify: rate}}
}

// Pages that readers read in a second, where the link brings 9000: in order about half as many, at random less than that, or as many as they get. Where each
// page is as likely as any other to be read next, no order of sending is better than another: a page that is read while a part f of all is there is asked
// for with the probability 1-f, and f grows as the link brings pages, whoever asks for them. So a guest asks for half of the ratio of these two rates.
const (
	inOrder  = 5000
	atRandom = 3500
	allItCan = 20000
)

// policies are what a VM is sent beside the pages that it asks for.
var policies = []string{"none", "forward", "bubble"}

// reading is a guest that reads while its memory comes, by what it is sent unasked.
func reading() []part {
	about := "a guest of 512 MiB reads the %d MiB that it holds, %s, while they come; --mode post, one target, 300 Mbit/s; a ping asks for a page's bytes on the same way:"
	return []part{
		{about: fmt.Sprintf(about, readMiB, fmt.Sprintf("one page after the other, %d a second", inOrder)), rate: slow, targets: 1,
			guests: []lab.GuestConfig{reader("inorder", false, inOrder)}, ways: readingWays("in order"), judge: judgeReading("in order", orderFaults)},
		{about: fmt.Sprintf(about, readMiB, fmt.Sprintf("at random, %d a second", atRandom)), rate: slow, targets: 1,
			guests: []lab.GuestConfig{reader("atrandom", true, atRandom)}, ways: readingWays("at random"), judge: judgeReading("at random", randomFaults)},
		{about: fmt.Sprintf(about, readMiB, "at random, as fast as it gets them"), rate: slow, targets: 1,
			guests: []lab.GuestConfig{reader("greedy", true, allItCan)}, ways: readingWays("all it can"), judge: judgeReading("all it can", 100)},
	}
}

func readingWays(how string) (all []way) {
	for _, p := range policies {
		all = append(all, way{readingName(how, p), watched(scatterWay(nil, "--mode", "post", "--prefetch", p))})
	}
	return all
}

func readingName(how, policy string) string { return "read " + how + ", prefetch " + policy }

// watched counts what the guest reads while it is exposed, and how long the way is that its pages come.
func watched(move mover) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		asks, answers := m.lab.Targets[0], m.lab.Source
		idle, err := idleTrip(ctx, asks, answers)
		if err != nil {
			return r, began, err
		}
		trips, err := startTrips(asks, answers)
		if err != nil {
			return r, began, err
		}
		r, began, err = move(ctx, m)
		r.idle, r.loaded = idle, trips.stop()
		if err != nil {
			return r, began, err
		}
		g := m.guests[0]
		there := g.Serial.Crossing(began, time.Now()).To.At
		read := int64(g.Serial.VerifiedBy(there.Add(r.exposed)) - g.Serial.VerifiedBy(there))
		r.read = min(read, int64(g.Config.Workload.Pages()))
		return r, began, nil
	}
}

// What is promised of pages that are sent unasked: so many percent of the pages that the guest works with have to be asked for (as Hines and Gopalan count
// them, VEE 2009), and that takes no more than so many times the way there and back.
const (
	orderFaults  = 4
	randomFaults = 21
	faultTrips   = 3
)

func judgeReading(how string, limit float64) func(t *promise.Table, of map[string]round) {
	return func(t *promise.Table, of map[string]round) {
		for _, p := range policies {
			r := of[readingName(how, p)]
			all, read := 100*float64(r.faults)/(readMiB<<20/model.PageSize), 100*float64(r.faults)/float64(r.read)
			what := fmt.Sprintf("read %s, prefetch %s: pages asked for", how, p)
			if p == "bubble" && limit < 100 {
				t.AtMost(what+", of all that it reads", "%.1f %%", all, limit)
			} else {
				t.Add(true, what+", of all that it reads", fmt.Sprintf("%.1f %%", all), "nothing")
			}
			t.Add(true, what+", of what it reads until all are there", fmt.Sprintf("%.1f %%", read), "nothing")
			if p != "bubble" {
				continue
			}
			t.AtMost("read "+how+": half of them came, beside a ping on the idle way, after", "%.1f", r.fault.Seconds()/r.idle.Seconds(), faultTrips)
		}
	}
}
