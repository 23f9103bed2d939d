package move

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
	"github.com/scatter-vm/scatter/scatter/carry"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/standstill"
	"github.com/scatter-vm/scatter/scatter/steer"
	"github.com/scatter-vm/scatter/scatter/system"
)

// converge runs QEMU's migration through the filter to the target. It returns when the source QEMU has closed the
// migration, which it does once it has given the VM away, or when the VM is taken back.
func (e converging) converge(ctx context.Context, v *migrant) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan struct{})
	defer close(ended)
	v.mu.Lock()
	v.stop, v.ended = cancel, ended
	v.mu.Unlock()
	if v.Gone.Load() {
		return fmt.Errorf("vm %s: was given up", v.Name()) // before there was anything to stop
	}

	l := e.Links[v.Host]
	conn, _, err := l.Dial(ctx, control.Hello{Purpose: control.PurposeStream, VM: v.Index})
	if err != nil {
		return err
	}
	defer conn.Close()
	events := v.Subscribe(256) // before anything may stop it
	defer events.Close()
	if err := mirroring(e).catchUp(ctx, v, conn); err != nil {
		return err
	}
	rate := e.RateOfOne()
	if v.leavesOut = postCopying(e).leavesOut(v); v.leavesOut {
		rate = barely // what remains never fits: QEMU is not to switch over before we say so
	}
	if err := v.Hold(ctx, rate, v.throttles(), v.Policy.Prepares()); err != nil {
		return err
	}
	qc, err := v.Migrate(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { qc.Close(); conn.Close() })()
	v.mu.Lock()
	v.migration = qc
	v.mu.Unlock()

	var watching sync.WaitGroup
	defer watching.Wait()
	defer cancel()
	watching.Go(func() { e.watch(ctx, v, events, conn) })
	watching.Go(func() { mirroring(e).keepUp(ctx, v) })
	watching.Go(func() { postCopying(e).startWhenSeen(ctx, v) })
	defer e.exposed.End(v.Index) // which it may have been, or about to be
	if v.Mode == model.ModePost {
		if err := postCopying(e).start(ctx, v); err != nil {
			return err
		}
	}
	err = e.pump(ctx, v, qc, conn)
	switch {
	case err == nil:
		return nil // it took over, and has all of its pages
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.EOF) && v.loaded.Load():
		return conn.Send(control.DataEnd{})
	case errors.Is(err, io.EOF) && v.Proc.Wait(time.Second): // it had sent all: the target is about to have the only copy
		if err := conn.Send(control.DataEnd{}); err != nil {
			return err
		}
		return v.awaitLoaded(ctx)
	case errors.Is(err, io.EOF):
		return e.whyEnded(ctx, v, fmt.Errorf("QEMU closed the migration before the target had loaded it: %w", err))
	}
	return e.whyEnded(ctx, v, err)
}

// frames is what a VM's stream is written to.
func (e *Evacuation) frames(ctx context.Context, v *migrant, conn *control.Conn) (out *carry.FrameWriter, err error) {
	out = &carry.FrameWriter{Ctx: ctx, Conn: conn, Pacer: e.Pacer, Count: func(n int64) { e.meter.streams.Add(n); v.convergeSent.Add(n) }}
	if !e.Cfg.NoCompress {
		out.Pack, err = carry.NewPacker(e.Rate)
	}
	return out, err
}

// pump filters the stream from QEMU into the connection to the target, until QEMU closes it: io.EOF. In post-copy, it returns once the target has all
// pages.
func (e converging) pump(ctx context.Context, v *migrant, qc net.Conn, conn *control.Conn) error {
	out, err := e.frames(ctx, v, conn)
	if err != nil {
		return err
	}
	w := stream.NewWriter(out)
	p := stream.NewParser(&aside{ctx, qc, &e.standstill, v.Index}, stream.Options{Idle: func() error { return errors.Join(w.Flush(), out.Flush()) }})
	f := v.newFilter(e.Evacuation, w, qc)
	f.Passed = func() error { return postCopying(e).awaitTurn(ctx, v) }
	if err := f.Run(p); err != nil {
		return fmt.Errorf("vm %s: migration stream: %w", v.Name(), err)
	}
	if f.Packed {
		return postCopying(e).takeOver(ctx, v, f, p, out, qc)
	}
	if err := mirroring(e).catchUpLate(ctx, v, conn); err != nil {
		return err
	}
	v.tailBegun.Store(true)
	state := &stateReader{v: v}
	tail := e.recordTail(v, p, io.MultiWriter(state, out))
	for {
		// What looks like the end may be a guest's imitation of it, so reading goes on until QEMU closes.
		if _, err := p.Tail(tail); err != nil {
			return fmt.Errorf("vm %s: device state: %w", v.Name(), err)
		}
		v.setAtSwitch(state.State())
		if err := out.Flush(); err != nil {
			return err
		}
	}
}

// aside reads the stream of a VM that lets those go first which stand still.
type aside struct {
	ctx  context.Context
	from io.Reader
	*standstill.Keeper
	vm int
}

func (a *aside) Read(b []byte) (int, error) {
	if err := a.LetPass(a.ctx, a.vm); err != nil {
		return 0, err
	}
	return a.from.Read(b)
}

// stateReader tells a VM its run state at the switch-over before the target can have it.
type stateReader struct {
	stream.RunStateFinder
	v *migrant
}

func (r *stateReader) Write(b []byte) (int, error) {
	n, err := r.RunStateFinder.Write(b)
	if r.State() != "" {
		r.v.setAtSwitch(r.State())
	}
	return n, err
}

// watch follows QEMU's events: it steers the switch-over pass by pass, and says when the VM stops.
func (e converging) watch(ctx context.Context, v *migrant, events *qemu.Subscription, conn *control.Conn) {
	s := e.steering(v)
	if v.throttles() {
		defer e.unthrottle(ctx, v)
	}
	began := time.Now()
	guard := time.NewTicker(time.Second)
	defer guard.Stop()
	hang := hangGuard{since: time.Now()}
	for {
		select {
		case <-ctx.Done():
			e.lateStop(v, events)
			return
		case <-guard.C:
			if hang.hangs(time.Now(), v.isStopped() && !v.loaded.Load(), v.convergeSent.Load()) {
				e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: fmt.Errorf("vm %s: its switch-over hangs: next to nothing was sent for %v and target %s has not loaded it",
					v.Name(), switchOverSilence, e.HostName(v.Host))})
			}
		case ev, ok := <-events.C:
			if !ok {
				return
			}
			switch ev.Event {
			case "STOP":
				e.stopSeen(ctx, v, ev)
			case "MIGRATION":
				if status, _ := ev.Data["status"].(string); status != string(qemu.MigrationPreSwitchover) {
					continue
				}
				if err := mirroring(e).finish(ctx, v, conn); err != nil && ctx.Err() == nil {
					e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: err})
				}
			case "MIGRATION_PASS":
				if err := e.pass(ctx, v, &s, time.Since(began)); err != nil && ctx.Err() == nil {
					e.Post(handover.Event{Kind: handover.EvFailed, VM: v.Index, Err: err})
				}
			}
		}
	}
}

// steering is that of a VM of which nothing was observed yet.
func (e converging) steering(v *migrant) steer.Steering {
	s := steer.Steering{Rate: max(1, e.RateOfOne()), Limit: e.Cfg.Downtime, Writes: e.Dirtied(v.Index), PostCopy: v.Policy.PostCopy, Hybrid: v.Mode == model.ModeHybrid || v.hurried.Load()}
	if v.throttles() {
		s.MostThrottle = v.Policy.Throttle
	}
	return s
}

// switchOverSilence is how long a stopped VM may wait while next to nothing is sent, before it is taken back.
const (
	switchOverSilence = 20 * time.Second
	nextToNothing     = 1 << 20 // bytes
)

// hangGuard finds out that a VM stands still and its target does not take it.
type hangGuard struct {
	since time.Time // when there was progress
	sent  int64     // by then
}

func (g *hangGuard) hangs(now time.Time, stands bool, sent int64) bool {
	if !stands || sent-g.sent >= nextToNothing {
		g.since, g.sent = now, sent
	}
	return now.Sub(g.since) >= switchOverSilence
}

// lateStop looks whether the VM's stop is among the events that were not yet read: a query that QEMU answers late
// holds them up.
func (e converging) lateStop(v *migrant, events *qemu.Subscription) {
	for {
		select {
		case ev, ok := <-events.C:
			if !ok {
				return
			}
			if ev.Event == "STOP" {
				e.vmStopped(v, eventTime(ev)) // converge has ended: it was the switch-over's
			}
		default:
			return
		}
	}
}

// stopSeen: only QEMU's own stop is the switch-over, or ours that forces it. A manager that pauses the VM meanwhile does not end its migration.
func (e converging) stopSeen(ctx context.Context, v *migrant, ev qemu.Event) {
	status, err := v.Status(ctx)
	if err == nil && status.Status != "finish-migrate" && status.Status != "postmigrate" && !v.standing().ByUs {
		return
	}
	e.vmStopped(v, eventTime(ev))
}

// eventTime is when QEMU sent an event.
func eventTime(ev qemu.Event) time.Time {
	return time.Unix(ev.Timestamp.Seconds, ev.Timestamp.Microseconds*1000)
}

// pass is called when QEMU begins another pass over the dirty pages.
func (e converging) pass(ctx context.Context, v *migrant, s *steer.Steering, at time.Duration) error {
	info, err := v.QueryMigrate(ctx)
	if err != nil || info.RAM == nil {
		return err
	}
	throttled := v.Brake().Taken(info)
	v.mu.Lock()
	f := v.filter
	v.passes = int(info.RAM.DirtySyncCount)
	v.throttled.set(time.Now(), throttled)
	v.mu.Unlock()
	if f == nil || f.Later != nil { // which goes on by itself
		return nil
	}
	s.Hybrid = s.Hybrid || v.hurried.Load()
	remaining := info.RAM.Remaining + mirroring(e).behind(v)
	order := s.Step(steer.Observation{At: at, Remaining: remaining, Processed: f.Processed.Load(), Sent: f.Sent.Load(), Throttled: throttled})
	e.Log.Debug("pass", "vm", v.Name(), "at_s", at.Seconds(), "remaining", info.RAM.Remaining, "pause", s.Predicted, "taken", throttled, "share", s.Throttle, "order", order)
	switch order {
	case steer.SwitchOver:
		e.standstill.Begin(v.Index)
		return v.LetSwitch(ctx, info.RAM.Remaining, s.Limit, s.Rate)
	case steer.Throttle:
		if err := e.throttle(ctx, v, s.Throttle, info); err != nil && ctx.Err() == nil {
			e.Tell(model.Event{Type: "warning", VM: v.Name(), Message: fmt.Sprintf("vm %s cannot be throttled: %v", v.Name(), err)})
			s.MostThrottle = 0
		}
	case steer.PostCopy:
		return postCopying(e).start(ctx, v)
	case steer.GiveUp:
		e.Post(handover.Event{Kind: handover.EvStalled, VM: v.Index, Err: &model.StallError{VM: v.Name(), Predicted: s.Predicted, Limit: e.Cfg.Downtime}})
	}
	return nil
}

// throttles tells whether the VM may be throttled where it would not converge otherwise.
func (v *migrant) throttles() bool { return v.Policy.Throttle > 0 && !v.Mode.TakesOver() }

// throttle takes a share of the VM's processor time from now on, and counts what is taken.
func (e converging) throttle(ctx context.Context, v *migrant, share float64, now qemu.MigrationInfo) error {
	v.mu.Lock()
	first := share > 0 && !v.throttled.on
	v.throttled.on = share > 0
	v.mu.Unlock()
	if first {
		e.Tell(model.Event{Type: "warning", VM: v.Name(), Message: fmt.Sprintf("vm %s dirties memory faster than the link can carry: up to %.0f %% of its processors' time is taken until it has moved",
			v.Name(), 100*v.Policy.Throttle)})
	}
	e.Log.Info("throttled", "vm", v.Name(), "share", share)
	err := v.Brake().Take(ctx, share)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.throttled.set(time.Now(), v.Brake().Taken(now))
	return err
}

// unthrottle gives the VM all of its processor time back, if any was taken.
func (e converging) unthrottle(ctx context.Context, v *migrant) {
	v.mu.Lock()
	had := v.throttled.on
	v.mu.Unlock()
	if !had {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askFor)
	defer cancel()
	if err := e.throttle(ctx, v, 0, qemu.MigrationInfo{}); err != nil && v.Proc.Alive() {
		e.Log.Warn("its processors may still be throttled", "vm", v.Name(), "err", err)
	}
}

// taken counts processor time that is taken from a VM.
type taken struct {
	share float64 // from since on
	since time.Time
	sum   time.Duration // before that
	on    bool          // it is to be given back yet
}

func (t *taken) set(now time.Time, share float64) {
	t.sum += time.Duration(t.share * float64(now.Sub(t.since)))
	t.share, t.since = share, now
}

// whyEnded finds out why a VM's migration stream ended, by the words of whoever ended it: the source's QEMU where that closed it; else the
// target, which tells by its control connection and so ends ctx.
func (e converging) whyEnded(ctx context.Context, v *migrant, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return v.WhyClosed(ctx, err)
	}
	if system.Pause(ctx, system.LastWords) != nil {
		return context.Cause(ctx)
	}
	return err
}
