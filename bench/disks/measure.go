package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/promise"
)

// baseline is how long the guests are watched before, and settling how long after.
const (
	baseline = 5 * time.Second
	settling = 2 * time.Second
)

// targetMemory has room for two guests.
const targetMemory = "1200MiB"

// round is what one run took.
type round struct {
	time  time.Duration
	bytes int64         // on the source's port
	gap   time.Duration // longest time between two heartbeats of any guest
	work  float64       // of what they verify usually, while they moved
}

func (r round) String() string {
	return fmt.Sprintf("%6.1f s %6.0f MB, gap %5d ms, %3.0f %% of the usual reads", r.time.Seconds(), float64(r.bytes)/1e6, r.gap.Milliseconds(), 100*r.work)
}

// measure boots the guests, moves them, and looks at them.
func measure(ctx context.Context, w way, binary string) (r round, err error) {
	m := new(measurement)
	if m.lab, err = lab.New(ctx, lab.Config{Targets: targets, Rate: rate}); err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, m.lab.Close()) }()
	if m.deployment, err = deploy.New(ctx, m.lab, binary); err != nil {
		return r, err
	}
	var configs []lab.GuestConfig
	for n := range guests {
		configs = append(configs, guest(n+1))
	}
	if m.guests, err = m.lab.Boot(ctx, configs...); err != nil {
		return r, err
	}
	if err := wait.For(ctx, baseline); err != nil {
		return r, err
	}
	before, err := m.lab.Source.Traffic(ctx)
	if err != nil {
		return r, err
	}
	began := time.Now()
	if err := w.move(ctx, m); err != nil {
		return r, err
	}
	over := time.Now()
	after, err := m.lab.Source.Traffic(ctx)
	if err != nil {
		return r, err
	}
	r.time, r.bytes = over.Sub(began), after.SentBytes-before.SentBytes
	if err := wait.For(ctx, settling); err != nil {
		return r, err
	}
	if _, err := m.deployment.CheckGuests(ctx, m.guests); err != nil {
		return r, err
	}
	for _, g := range m.guests {
		r.gap = max(r.gap, g.Serial.LongestPause(began, over.Add(settling/2)).Length)
		usual := float64(g.Serial.VerifiedBy(began)-g.Serial.VerifiedBy(began.Add(-baseline))) / baseline.Seconds()
		r.work += float64(g.Serial.VerifiedBy(over)-g.Serial.VerifiedBy(began)) / r.time.Seconds() / usual / guests
	}
	return r, nil
}

// byScatter is scatter send.
func (m *measurement) byScatter(ctx context.Context, args ...string) error {
	if _, err := m.deployment.ReceiveAll(ctx, m.lab.Targets, "--memory", targetMemory); err != nil {
		return err
	}
	r, err := m.deployment.Send(ctx, deploy.Job{Args: append([]string{"--disks", "pre", "--rate", "300mbit"}, args...)})
	if err == nil && r.Exit != 0 {
		err = fmt.Errorf("exit %d: %s", r.Exit, r.Output)
	}
	return err
}

// What is promised, beside stock QEMU.
const (
	mostBytes = 0.30
	mostTime  = 0.36
	morePause = 100 * time.Millisecond
	leastWork = 0.85
)

// table holds the measurements against the promises.
func table(all map[string][]round) *promise.Table {
	t := &promise.Table{Title: "Emptying a host whose guests have disks of their own", Facts: []string{
		fmt.Sprintf("%d guests of %d MiB with disks of %d MiB, %d MiB of which all have, %d MiB of text are their own, %d MiB are rewritten and the rest is a hole; each reads and verifies %d pages a second and writes %d, past its page cache; "+
			"%d targets, %.0f Mbit/s on each port", guests, memory, mibCommon+mibOwn+mibHot+mibHole, mibCommon, mibOwn, mibHot, reads, writes, targets, rate/1e6),
		promise.Guests(),
		"stock QEMU mirrors each disk to an NBD server of its target (sync=full) and migrates then, all guests at once, as libvirt has it do; half of them go to each target",
		"medians; bytes are those on the source's port, the gap is the longest time between two heartbeats of any guest, reads are those of all guests while they moved, beside the five seconds before",
	}}
	median := make(map[string]round)
	for _, w := range ways {
		of := all[w.name]
		if len(of) == 0 {
			continue
		}
		r := round{time: promise.Median(of, func(r round) time.Duration { return r.time }), bytes: promise.Median(of, func(r round) int64 { return r.bytes }),
			gap: promise.Median(of, func(r round) time.Duration { return r.gap }), work: promise.Median(of, func(r round) float64 { return r.work })}
		median[w.name] = r
		t.Facts = append(t.Facts, w.name+": "+r.String())
	}
	stock, ours := median["stock"], median["scatter"]
	t.AtMost("bytes, beside stock QEMU", "%.2f", float64(ours.bytes)/float64(stock.bytes), mostBytes)
	t.AtMost("time, beside stock QEMU", "%.2f", ours.time.Seconds()/stock.time.Seconds(), mostTime)
	t.AtMost("gap, beside stock QEMU's", "%.0f ms", float64((ours.gap - stock.gap).Milliseconds()), float64(morePause.Milliseconds()))
	t.AtLeast("reads while they moved, beside those before", "%.2f", ours.work, leastWork)
	return t
}
