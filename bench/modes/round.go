package main

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/promise"
)

// measurement is what was measured.
type measurement struct {
	lab        *lab.Lab
	deployment *deploy.Deployment
	part       part // under way
	guests     []*lab.Guest
	receivers  []*deploy.Receiver // of the move under way
	rounds     map[string][]round // by the name of their way
}

// round is one move of the guests. What is told of one guest is that of the worst.
type round struct {
	time  time.Duration
	bytes int64         // on the source's port
	gap   time.Duration // longest time between two heartbeats
	over  time.Duration // between the last one on the source and the first one elsewhere
	lost  time.Duration // of the guests' work, all of them together
	taken time.Duration // of their processors' time, by scatter's own account
	down  time.Duration // stopped there and not yet running elsewhere, by the same

	exposed time.Duration // for which it lived on both hosts
	faults  int64         // pages that they have waited for then
	fault   time.Duration // for half of them at most
	most    time.Duration // for 99 of 100 at most

	distinct int64         // bytes of different pages that the guests held; 0: not counted
	read     int64         // pages that a reader has read while it was exposed, each counted once; 0: not counted
	idle     time.Duration // of a ping on the way of its pages before it moved, median
	loaded   time.Duration // and meanwhile
	passes   []pass        // over a throttled guest's dirty pages, if they were followed
}

func (r round) String() string {
	s := fmt.Sprintf("%5.1f s %6.0f MB, gap %4d ms, %4.1f s of work lost", r.time.Seconds(), float64(r.bytes)/1e6, r.gap.Milliseconds(), r.lost.Seconds())
	if r.down > 0 {
		s += fmt.Sprintf(", down for %d ms (%d between beats)", r.down.Milliseconds(), r.over.Milliseconds())
	}
	if r.taken > 0 {
		s += fmt.Sprintf(", %.1f s throttled", r.taken.Seconds())
	}
	if r.exposed > 0 {
		s += fmt.Sprintf(", %.1f s exposed, %d faults of %.1f ms (99 %%: %.0f ms)", r.exposed.Seconds(), r.faults, r.fault.Seconds()*1e3, r.most.Seconds()*1e3)
	}
	if r.read > 0 {
		s += fmt.Sprintf(" for %d pages read, ping of %.2f ms before and %.2f ms meanwhile", r.read, r.idle.Seconds()*1e3, r.loaded.Seconds()*1e3)
	}
	if r.distinct > 0 {
		s += fmt.Sprintf(", D = %.0f MB", float64(r.distinct)/1e6)
	}
	return s
}

// median is that of each figure.
func median(all []round) round {
	length := func(of func(r round) time.Duration) time.Duration { return promise.Median(all, of) }
	count := func(of func(r round) int64) int64 { return promise.Median(all, of) }
	return round{
		time:     length(func(r round) time.Duration { return r.time }),
		bytes:    count(func(r round) int64 { return r.bytes }),
		gap:      length(func(r round) time.Duration { return r.gap }),
		over:     length(func(r round) time.Duration { return r.over }),
		lost:     length(func(r round) time.Duration { return r.lost }),
		taken:    length(func(r round) time.Duration { return r.taken }),
		down:     length(func(r round) time.Duration { return r.down }),
		exposed:  length(func(r round) time.Duration { return r.exposed }),
		faults:   count(func(r round) int64 { return r.faults }),
		fault:    length(func(r round) time.Duration { return r.fault }),
		most:     length(func(r round) time.Duration { return r.most }),
		distinct: count(func(r round) int64 { return r.distinct }),
		read:     count(func(r round) int64 { return r.read }),
		idle:     length(func(r round) time.Duration { return r.idle }),
		loaded:   length(func(r round) time.Duration { return r.loaded }),
	}
}

// Times around a move in which the guests' work is measured.
const (
	baseline = 4 * time.Second // before, undisturbed
	recovery = 2 * time.Second // after, which belongs to the move
)

// measure moves the guests, looks at them, and brings them home.
func (m *measurement) measure(ctx context.Context, w way) (round, error) {
	if err := wait.For(ctx, baseline); err != nil {
		return round{}, err
	}
	before := time.Now()
	r, began, err := w.move(ctx, m)
	if err != nil {
		return r, err
	}
	ended := time.Now()
	if err := wait.For(ctx, recovery); err != nil {
		return r, err
	}
	if _, err := m.deployment.CheckGuests(ctx, m.guests); err != nil {
		return r, err
	}
	over := ended.Add(recovery)
	for _, g := range m.guests {
		line := g.Serial
		r.gap = max(r.gap, line.LongestPause(began, over).Length)
		r.over = max(r.over, line.Crossing(began, over).Length)
		usual := float64(line.VerifiedBy(before)-line.VerifiedBy(before.Add(-baseline))) / baseline.Seconds()
		done := float64(line.VerifiedBy(over) - line.VerifiedBy(began))
		r.lost += over.Sub(began) - time.Duration(done/usual*float64(time.Second))
	}
	receivers := m.receivers
	m.receivers = nil
	return r, m.deployment.Reset(ctx, receivers)
}
