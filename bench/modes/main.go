// Command modes moves a guest that dirties memory faster than the link carries, in the ways that scatter and stock QEMU have for such a one, side by side.
//
//	go run ./bench/modes [-runs 3] [-out bench/results/modes.md]
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes about ten minutes on two cores.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/bench/stock"
)

func main() {
	only := flag.String("only", "", "regular expression: the ways that are measured, without a table")
	runs := flag.Int("runs", 3, "runs of each way; the table shows their medians")
	binary := flag.String("scatter", "bin/scatter", "the program")
	out := flag.String("out", filepath.Join("bench", "results", "modes.md"), "where to write the table")
	flag.Parse()
	promise.Main("modes", func(ctx context.Context) (bool, error) { return run(ctx, *runs, *binary, *out, *only) })
}

// rate is that of the link, in bit/s.
const rate = 300e6

// writer is a guest that rewrites 64 MiB, 20,000 pages a second, and holds 192 MiB of others. A busy one computes in between without a pause: only then
// taking processor time from it costs work.
func writer(name string, busy bool) lab.GuestConfig {
	return lab.GuestConfig{Name: name, Memory: 512, Workload: lab.Workload{ID: 1, Own: 192, Hot: 64, Stamp: true, Busy: busy, Dirty: 20000, Verify: 1000}}
}

// run measures everything and reports whether all promises are kept.
func run(ctx context.Context, runs int, binary, out, only string) (kept bool, err error) {
	some, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	restore, err := lab.ShareEqually()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	l, err := lab.New(ctx, lab.Config{Targets: 1, Rate: rate})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d, err := deploy.New(ctx, l, binary)
	if err != nil {
		return false, err
	}
	m := &measurement{lab: l, deployment: d, rounds: make(map[string][]round)}
	for _, part := range parts {
		if err := m.play(ctx, part, runs, some); err != nil {
			return false, err
		}
	}
	if only != "" {
		return true, nil
	}
	t := m.table()
	fmt.Print("\n", t.Markdown())
	return t.Kept(), promise.Write(out, t.Markdown())
}

// play moves a part's guest in all of its ways, in turn.
func (m *measurement) play(ctx context.Context, p part, runs int, some *regexp.Regexp) error {
	ways := slices.DeleteFunc(slices.Clone(p.ways), func(w way) bool { return !some.MatchString(w.name) })
	if len(ways) == 0 {
		return nil
	}
	guests, err := m.lab.Boot(ctx, p.guest)
	if err != nil {
		return err
	}
	m.guest = guests[0]
	for m.guest.Serial.VerifiedBy(time.Now()) == 0 { // its work takes its time to begin
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	for i := range runs {
		for _, w := range ways {
			r, err := m.measure(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Printf("%-31s %d/%d %s\n", w.name, i+1, runs, r)
			m.rounds[w.name] = append(m.rounds[w.name], r)
		}
	}
	return m.lab.Discard(ctx, m.guest)
}

// measurement is what was measured.
type measurement struct {
	lab        *lab.Lab
	guest      *lab.Guest
	deployment *deploy.Deployment
	receivers  []*deploy.Receiver // of the move under way
	rounds     map[string][]round // by the name of their way
}

// round is one move of the guest.
type round struct {
	time  time.Duration
	bytes int64         // on the source's port
	gap   time.Duration // longest time between two heartbeats
	lost  time.Duration // of the guest's work
	taken time.Duration // of its processor's time, by scatter's own account

	exposed time.Duration // for which it lived on both hosts
	faults  int64         // pages that it has waited for then
	fault   time.Duration // for half of them at most
	most    time.Duration // for 99 of 100 at most
}

func (r round) String() string {
	s := fmt.Sprintf("%5.1f s %6.0f MB, gap %4d ms, %4.1f s of work lost", r.time.Seconds(), float64(r.bytes)/1e6, r.gap.Milliseconds(), r.lost.Seconds())
	if r.taken > 0 {
		s += fmt.Sprintf(", %.1f s throttled", r.taken.Seconds())
	}
	if r.exposed > 0 {
		s += fmt.Sprintf(", %.1f s exposed, %d faults of %.1f ms (99 %%: %.0f ms)", r.exposed.Seconds(), r.faults, r.fault.Seconds()*1e3, r.most.Seconds()*1e3)
	}
	return s
}

// way is one to move the guest.
type way struct {
	name string
	move func(ctx context.Context, m *measurement) (r round, began time.Time, err error)
}

// part is a guest and the ways in which it is moved.
type part struct {
	guest lab.GuestConfig
	ways  []way
}

var parts = []part{
	{writer("busy", true), []way{
		{"stock auto-converge", stockWay(stock.AutoConverge)},
		{"throttle", scatterWay(lan.WithGroups, "--on-stall", "throttle")},
		{"throttle by QEMU", scatterWay(nil, "--on-stall", "throttle")},
	}},
	{writer("writer", false), []way{
		{"stock post-copy", stockWay(stock.PostCopy)},
		{"post", scatterWay(nil, "--mode", "post")},
		{"stock post-copy after one pass", stockWay(stock.PostCopyAfterPass)},
		{"hybrid", scatterWay(nil, "--mode", "hybrid")},
	}},
}

func stockWay(how stock.Setting) func(context.Context, *measurement) (round, time.Time, error) {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		began = time.Now()
		place := func(int) *lan.Host { return m.lab.Targets[0] }
		result, err := stock.Evacuate(ctx, m.lab, []*lab.Guest{m.guest}, place, how)
		if err != nil {
			return r, began, err
		}
		return round{time: result.Time, bytes: result.SourceBytes}, began, nil
	}
}

func scatterWay(prefix []string, args ...string) func(context.Context, *measurement) (round, time.Time, error) {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		if m.receivers, err = m.deployment.ReceiveAll(ctx, m.lab.Targets); err != nil {
			return r, began, err
		}
		args := append([]string{"--rate", fmt.Sprintf("%.0fmbit", rate/1e6)}, args...)
		result, err := m.deployment.Send(ctx, deploy.Job{Args: args, Prefix: prefix})
		if err == nil && result.Exit != 0 {
			err = fmt.Errorf("send ended with %d: %s", result.Exit, result.Output)
		}
		if err != nil {
			return r, began, err
		}
		if p := result.Report.VMs[0].PostCopy; p != nil {
			r.fault, r.most = time.Duration(p.FaultMS*float64(time.Millisecond)), time.Duration(p.MostMS*float64(time.Millisecond))
			r.faults, r.exposed = p.Faults, time.Duration(p.ExposedS*float64(time.Second))
		}
		taken := time.Duration(result.Report.VMs[0].Throttled * float64(time.Second))
		r.time, r.bytes, r.taken = result.Time, result.SourceBytes, taken
		return r, result.Started, nil
	}
}

// Times around a move in which the guest's work is measured.
const (
	baseline = 4 * time.Second // before, undisturbed
	recovery = 2 * time.Second // after, which belongs to the move
)

// measure moves the guest, looks at it, and brings it home.
func (m *measurement) measure(ctx context.Context, w way) (round, error) {
	if err := pause(ctx, baseline); err != nil {
		return round{}, err
	}
	before := time.Now()
	r, began, err := w.move(ctx, m)
	if err != nil {
		return r, err
	}
	ended := time.Now()
	if err := pause(ctx, recovery); err != nil {
		return r, err
	}
	if _, err := m.deployment.CheckGuests(ctx, []*lab.Guest{m.guest}); err != nil {
		return r, err
	}
	line, over := m.guest.Serial, ended.Add(recovery)
	r.gap = line.LongestPause(began, over).Length
	usual := float64(line.VerifiedBy(before)-line.VerifiedBy(before.Add(-baseline))) / baseline.Seconds()
	done := float64(line.VerifiedBy(over) - line.VerifiedBy(began))
	r.lost = over.Sub(began) - time.Duration(done/usual*float64(time.Second))
	receivers := m.receivers
	m.receivers = nil
	return r, m.deployment.Reset(ctx, receivers)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// What is promised of throttling beside stock QEMU's.
const (
	throttleTime  = 0.40
	throttleBytes = 0.42
	throttleGap   = 300 // ms
	throttleLost  = 2.5 // s
)

// What is promised of VMs that take over before their memory is there, beside stock QEMU's.
const (
	postTime    = 1.1
	postGap     = 500 // ms
	postLost    = 1.2 // s
	hybridBytes = 1.1
	hybridGap   = 300 // ms
	hybridLost  = 0.8 // s
)

// table holds the measurements against the promises.
func (m *measurement) table() *promise.Table {
	t := &promise.Table{Title: "Moving a guest that dirties memory faster than the link carries", Facts: []string{
		"a guest of 512 MiB holds 192 MiB that stay as they are, and rewrites 64 MiB: a word in each of 20,000 pages a second; one target, 300 Mbit/s. Where it is throttled it computes in between without a pause",
		promise.Guests(),
		"medians; the gap is the longest time between two heartbeats of a thread beside that work, work lost what it has verified less than usual, until two seconds after the move",
	}}
	median := make(map[string]round)
	var ways []way
	for _, p := range parts {
		ways = append(ways, p.ways...)
	}
	for _, w := range ways {
		all := m.rounds[w.name]
		r := round{time: promise.Median(all, func(r round) time.Duration { return r.time }), bytes: promise.Median(all, func(r round) int64 { return r.bytes }),
			gap: promise.Median(all, func(r round) time.Duration { return r.gap }), lost: promise.Median(all, func(r round) time.Duration { return r.lost }),
			taken: promise.Median(all, func(r round) time.Duration { return r.taken }), exposed: promise.Median(all, func(r round) time.Duration { return r.exposed }),
			faults: promise.Median(all, func(r round) int64 { return r.faults }), fault: promise.Median(all, func(r round) time.Duration { return r.fault }),
			most: promise.Median(all, func(r round) time.Duration { return r.most })}
		median[w.name] = r
		t.Facts = append(t.Facts, w.name+": "+r.String())
	}
	stock, ours := median["stock auto-converge"], median["throttle"]
	t.AtMost("throttle: time, beside stock auto-converge", "%.2f", ours.time.Seconds()/stock.time.Seconds(), throttleTime)
	t.AtMost("throttle: bytes, beside stock auto-converge", "%.2f", float64(ours.bytes)/float64(stock.bytes), throttleBytes)
	t.AtMost("throttle: gap", "%.0f ms", float64(ours.gap.Milliseconds()), throttleGap)
	t.AtMost("throttle: work lost", "%.1f s", ours.lost.Seconds(), throttleLost)
	stock, ours = median["stock post-copy"], median["post"]
	t.AtMost("post: time, beside stock post-copy", "%.2f", ours.time.Seconds()/stock.time.Seconds(), postTime)
	t.AtMost("post: gap", "%.0f ms", float64(ours.gap.Milliseconds()), postGap)
	t.AtMost("post: work lost", "%.1f s", ours.lost.Seconds(), postLost)
	stock, ours = median["stock post-copy after one pass"], median["hybrid"]
	t.AtMost("hybrid: bytes, beside stock post-copy after one pass", "%.2f", float64(ours.bytes)/float64(stock.bytes), hybridBytes)
	t.AtMost("hybrid: gap", "%.0f ms", float64(ours.gap.Milliseconds()), hybridGap)
	t.AtMost("hybrid: work lost", "%.1f s", ours.lost.Seconds(), hybridLost)
	return t
}
