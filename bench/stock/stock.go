// Package stock evacuates a lab's source with nothing but QEMU's own TCP migration: the baseline that scatter is measured
// against. All guests are migrated at once over the same links, with QEMU's defaults (300 ms of down-time), except that
// the speed is limited by the link alone.
package stock

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// firstPort is where the first guest's new QEMU listens; the others follow.
const firstPort = 4900

// Place says where guest number i goes.
type Place func(i int) *lan.Host

// RoundRobin deals the guests to the targets in turn.
func RoundRobin(l *lab.Lab) Place {
	return func(i int) *lan.Host { return l.Targets[i%len(l.Targets)] }
}

// Move is what happened to one guest.
type Move struct {
	Guest *lab.Guest
	Host  *lan.Host
	Time  time.Duration // from the order until QEMU on the source called it done
	Pause serial.Pause  // as seen from outside
	QEMU  witness.MigrationInfo
}

// Result is what an evacuation took.
type Result struct {
	Time        time.Duration // from the first order until the last guest ran on its target
	SourceBytes int64         // on the source's port
	Moves       []Move
}

// WorstPause returns the longest pause of any guest.
func (r *Result) WorstPause() (worst time.Duration) {
	for _, m := range r.Moves {
		worst = max(worst, m.Pause.Length)
	}
	return worst
}

// Setting changes how QEMUs migrate.
type Setting struct {
	source, both []string // migration capabilities
	passes       int64    // over its memory, after which a VM takes over without the rest; negative: never
}

var (
	// Default is QEMU's own: pre-copy.
	Default = Setting{passes: -1}
	// AutoConverge has QEMU throttle a guest that dirties memory faster than the link carries: by 20 % first, then by 10 % more each time.
	AutoConverge = Setting{source: []string{"auto-converge"}, passes: -1}
	// PostCopy has a guest take over at once.
	PostCopy = Setting{both: []string{"postcopy-ram", "postcopy-preempt"}}
	// PostCopyAfterPass has a guest take over once its memory was sent for the first time.
	PostCopyAfterPass = Setting{both: []string{"postcopy-ram", "postcopy-preempt"}, passes: 1}
)

// prepare sets the capabilities, and lets the target listen.
func (s Setting) prepare(ctx context.Context, m *move) error {
	for _, set := range []struct {
		on    *witness.Monitor
		names []string
	}{{m.source, s.source}, {m.source, s.both}, {m.target, s.both}} {
		var caps []any
		for _, name := range set.names {
			caps = append(caps, map[string]any{"capability": name, "state": true})
		}
		if len(caps) == 0 {
			continue
		}
		if err := set.on.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": caps}, nil); err != nil {
			return err
		}
	}
	return m.target.Do(ctx, "migrate-incoming", map[string]string{"uri": m.uri}, nil)
}

// takeOver has a VM take over when it is time, once.
func (s Setting) takeOver(source *witness.Monitor) func(context.Context, witness.MigrationInfo) error {
	done := s.passes < 0
	return func(ctx context.Context, now witness.MigrationInfo) error {
		if done || now.Status != "active" || now.RAM.Syncs <= s.passes {
			return nil
		}
		done = true
		return source.Do(ctx, "migrate-start-postcopy", nil, nil)
	}
}

// Evacuate migrates all guests on the source. The QEMUs on the source are gone when it returns.
func Evacuate(ctx context.Context, l *lab.Lab, guests []*lab.Guest, place Place, how Setting) (*Result, error) {
	moves := make([]*move, len(guests))
	for i, g := range guests {
		h := place(i)
		m, err := prepare(ctx, g, h, netip.AddrPortFrom(h.Addr, uint16(firstPort+i)))
		if err != nil {
			return nil, fmt.Errorf("stock: guest %s to %s: %w", g.Name, h.Name, err)
		}
		defer m.close()
		if err := how.prepare(ctx, m); err != nil {
			return nil, fmt.Errorf("stock: guest %s: %w", g.Name, err)
		}
		moves[i] = m
	}
	before, err := l.Source.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	if err := runAll(ctx, moves, how); err != nil {
		return nil, fmt.Errorf("stock: %w", err)
	}
	end := time.Now()
	after, err := l.Source.Traffic(ctx)
	if err != nil {
		return nil, err
	}
	return collect(ctx, moves, start, end, after.SentBytes-before.SentBytes)
}

func runAll(ctx context.Context, moves []*move, how Setting) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, m := range moves {
		group.Go(func() error { return m.run(ctx, how) })
	}
	return group.Wait()
}

// collect waits for the heartbeats that end the pauses, and ends the empty QEMUs on the source.
func collect(ctx context.Context, moves []*move, start, end time.Time, bytes int64) (*Result, error) {
	r := &Result{Time: end.Sub(start), SourceBytes: bytes}
	for _, m := range moves {
		if err := m.source.Quit(ctx, m.sourcePID); err != nil {
			return nil, err
		}
		if err := m.Guest.Serial.AwaitBeat(ctx, m.Host); err != nil {
			return nil, err
		}
		m.Pause = m.Guest.Serial.LongestPause(start, time.Now())
		r.Moves = append(r.Moves, m.Move)
	}
	return r, nil
}

// move is a migration that has been prepared.
type move struct {
	Move
	uri       string
	source    *witness.Monitor
	sourcePID witness.Process
	target    *witness.Monitor
}

// prepare starts the QEMU on the target and connects to both monitors.
func prepare(ctx context.Context, g *lab.Guest, h *lan.Host, at netip.AddrPort) (*move, error) {
	m := &move{Move: Move{Guest: g, Host: h}, uri: "tcp:" + at.String(), sourcePID: witness.Process(g.PID())}
	var err error
	if m.target, err = g.Receive(ctx, h, "defer"); err != nil {
		return nil, err
	}
	if m.source, err = g.Monitor(ctx); err != nil {
		return nil, errors.Join(err, m.target.Close())
	}
	return m, m.source.Do(ctx, "migrate-set-parameters", map[string]any{"max-bandwidth": 0}, nil)
}

func (m *move) close() {
	m.source.Close()
	m.target.Close()
}

// run migrates the guest and waits until it runs on the target.
func (m *move) run(ctx context.Context, how Setting) (err error) {
	start := time.Now()
	if m.QEMU, err = m.source.Migrate(ctx, m.uri, how.takeOver(m.source)); err != nil {
		return fmt.Errorf("guest %s: %w", m.Guest.Name, err)
	}
	m.Time = time.Since(start)
	return m.target.AwaitStatus(ctx, "running")
}
