package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/promise"
)

// checkedRuns is after how many moves of each mode no page is wrong.
const checkedRuns = 20

// checkedModes are the modes in which a guest goes again and again.
var checkedModes = []struct {
	name   string
	prefix []string
	args   []string
}{
	{"throttle", lan.WithGroups, []string{"--on-stall", "throttle"}},
	{"hybrid", nil, []string{"--mode", "hybrid"}},
	{"post", nil, []string{"--mode", "post"}},
}

// checked is a writer that goes again and again, and each time compares all of its memory with what it must hold before it comes home.
func checked(runs int) part {
	g := writer("checked", false)
	g.Workload.Verify = 8000 // a pass in eight seconds
	p := part{
		about: "the same guest, which verifies 8,000 pages a second, and after each move all that it holds:",
		rate:  slow, targets: 1, guests: []lab.GuestConfig{g}, runs: runs,
	}
	for _, m := range checkedModes {
		p.ways = append(p.ways, way{checkedName(m.name), checking(scatterWay(m.prefix, m.args...))})
	}
	p.judge = func(t *promise.Table, of map[string]round) {
		for _, m := range checkedModes { // a wrong page ends the benchmark
			t.Add(runs >= checkedRuns, fmt.Sprintf("%s: moves one after the other, all %d pages verified after each, none wrong", m.name, g.Workload.Pages()),
				fmt.Sprint(runs), fmt.Sprint(checkedRuns))
		}
	}
	return p
}

func checkedName(mode string) string { return "checked, " + mode }

// checking has the guests go through all of their memory after they have moved. A wrong page is an error.
func checking(move mover) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		if r, began, err = move(ctx, m); err != nil {
			return r, began, err
		}
		for _, g := range m.guests {
			ctx, cancel := context.WithTimeout(ctx, passWithin)
			err = errors.Join(err, g.AwaitVerified(ctx))
			cancel()
		}
		return r, began, err
	}
}

// passWithin bounds how long a guest takes for all of its pages.
const passWithin = 3 * time.Minute
