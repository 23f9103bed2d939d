package main

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/stock"
)

// evacuation is what one run took.
type evacuation struct {
	time   time.Duration
	bytes  int64 // on the source's port
	pause  time.Duration
	report *deploy.Report // nil for stock QEMU
	send   int64          // peak memory of send, in bytes
	recv   int64          // of the hungriest recv
}

// measurement is everything that was measured.
type measurement struct {
	options
	lab        *lab.Lab
	guests     []*lab.Guest
	deployment *deploy.Deployment

	contents []lab.Contents
	stock    []evacuation
	plain    []evacuation // without compression
	zstd     []evacuation // with
	spread   []evacuation // without compression, to many targets
	spreadZ  []evacuation // with
	verified []evacuation // with --verify
	speeds   []speed
}

// all does all measurements.
func (m *measurement) all(ctx context.Context) error {
	for i := range m.runs {
		if err := m.round(ctx, i); err != nil {
			return fmt.Errorf("round %d: %w", i+1, err)
		}
	}
	for i := range m.verifyRuns {
		e, err := m.scatter(ctx, fmt.Sprintf("verified %d/%d", i+1, m.verifyRuns), few, "--verify")
		if err != nil {
			return fmt.Errorf("verified evacuation %d: %w", i+1, err)
		}
		m.verified = append(m.verified, e)
	}
	return m.verify(ctx)
}

// verify waits until all guests have been through their memory once more.
func (m *measurement) verify(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, g := range m.guests {
		group.Go(func() error { return g.AwaitVerified(ctx) })
	}
	return group.Wait()
}

// round measures each kind of evacuation once.
func (m *measurement) round(ctx context.Context, i int) error {
	contents, err := lab.CountContents(ctx, m.guests...)
	if err != nil {
		return err
	}
	m.contents = append(m.contents, contents)
	baseline, err := m.baseline(ctx, fmt.Sprintf("stock %d/%d", i+1, m.runs))
	if err != nil {
		return err
	}
	m.stock = append(m.stock, baseline)
	for _, kind := range m.kinds() {
		e, err := m.scatter(ctx, fmt.Sprintf("%s %d/%d", kind.name, i+1, m.runs), kind.targets, kind.args...)
		if err != nil {
			return err
		}
		*kind.to = append(*kind.to, e)
	}
	return nil
}

// kind is a way to evacuate with scatter, and where the runs go.
type kind struct {
	name    string
	targets int
	args    []string
	to      *[]evacuation
}

func (m *measurement) kinds() []kind {
	all := []kind{
		{"zstd", few, nil, &m.zstd},
		{"plain", few, []string{"--no-compress"}, &m.plain},
		{"zstd, 6 targets", many, nil, &m.spreadZ},
		{"plain, 6 targets", many, []string{"--no-compress"}, &m.spread},
	}
	if m.real {
		return all[:2]
	}
	return all
}

// baseline evacuates with stock QEMU and brings the guests home.
func (m *measurement) baseline(ctx context.Context, name string) (e evacuation, err error) {
	place := func(i int) *lan.Host { return m.lab.Targets[i%few] }
	r, err := stock.Evacuate(ctx, m.lab, m.guests, place, stock.Default)
	if err != nil {
		return e, err
	}
	e = evacuation{time: r.Time, bytes: r.SourceBytes, pause: r.WorstPause()}
	if _, err := m.deployment.CheckGuests(ctx, m.guests); err != nil {
		return e, err
	}
	e.say(name)
	return e, m.deployment.Reset(ctx, nil)
}

// scatter evacuates to some targets, which are just large enough when each gets its share, and brings the guests home.
func (m *measurement) scatter(ctx context.Context, name string, targets int, args ...string) (e evacuation, err error) {
	hosts := m.lab.Targets[:targets]
	share := (len(m.guests) + targets - 1) / targets
	receivers, err := m.deployment.ReceiveAll(ctx, hosts, "--memory", fmt.Sprintf("%dMiB", share*guestMiB+guestMiB/2))
	if err != nil {
		return e, err
	}
	args = append([]string{"--rate", fmt.Sprintf("%dmbit", m.rate/1e6)}, args...)
	r, err := m.deployment.Send(ctx, deploy.Job{Targets: hosts, Args: args})
	if err != nil {
		return e, err
	}
	if r.Exit != 0 {
		return e, fmt.Errorf("%s: send ended with %d: %s", name, r.Exit, r.Output)
	}
	if _, err := m.deployment.CheckGuests(ctx, m.guests); err != nil {
		return e, err
	}
	e = evacuation{time: r.Time, bytes: r.SourceBytes, pause: r.WorstPause(m.guests), report: r.Report, send: r.PeakMemory}
	for _, receiver := range receivers {
		peak, err := receiver.PeakMemory()
		if err != nil {
			return e, err
		}
		e.recv = max(e.recv, peak)
	}
	e.say(name)
	return e, m.deployment.Reset(ctx, receivers)
}

// say prints the run.
func (e evacuation) say(name string) {
	line := fmt.Sprintf("%-20s %6.1f s %7.1f MB, worst pause %5d ms", name, e.time.Seconds(), float64(e.bytes)/1e6, e.pause.Milliseconds())
	if e.report != nil {
		line += fmt.Sprintf("; by its own account %.1f s, %.1f MB; send %d MiB, recv %d MiB", e.report.TotalTime,
			float64(e.report.SourceBytes)/1e6, e.send>>20, e.recv>>20)
	}
	fmt.Println(line)
}
