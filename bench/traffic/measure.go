package main

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/wait"
	"github.com/scatter-vm/scatter/bench/peer"
	"github.com/scatter-vm/scatter/bench/promise"
)

// Times of a round. The window begins with the evacuation and is the same for all ways, so what it costs the applications can be compared.
const (
	baseline = 4 * time.Second // before, undisturbed
	window   = 40 * time.Second
	patience = time.Minute // for the applications to get what they want before a round
	nearly   = 0.95        // of what they want, when nothing disturbs them
)

// round is one evacuation.
type round struct {
	time  time.Duration
	bytes int64         // on the source's port, those of the guests among them
	app   peer.Count    // in the window
	gap   time.Duration // longest time between two heartbeats of any guest
	lost  time.Duration // work of both guests, in the window or until the evacuation was over
}

func (r round) String() string {
	return fmt.Sprintf("%5.1f s %6.0f MB, applications %5.0f MB (sent %4.0f, received %4.0f), gap %5d ms, %4.1f s of work lost",
		r.time.Seconds(), mega(r.bytes), mega(r.app.Sum()), mega(r.app.FromGuests), mega(r.app.ToGuests), r.gap.Milliseconds(), r.lost.Seconds())
}

func mega(bytes int64) float64 { return float64(bytes) / 1e6 }

// measure empties the source, looks at the guests and their traffic, and brings them home.
func (m *measurement) measure(ctx context.Context, w way) (r round, err error) {
	if m.receivers, err = m.deployment.ReceiveAll(ctx, m.lab.Targets, "--memory", targetMemory); err != nil {
		return r, err
	}
	if err := m.settle(ctx); err != nil {
		return r, err
	}
	began := time.Now()
	if r, err = w.move(ctx, m); err != nil {
		return r, err
	}
	end := began.Add(window)
	over := end // of its work
	if now := time.Now(); now.After(end) {
		over = now
	}
	if err := wait.For(ctx, time.Until(over)+baseline/4); err != nil {
		return r, err
	}
	if _, err := m.deployment.CheckGuests(ctx, m.guests); err != nil {
		return r, err
	}
	r.app = m.peer.Between(began, end)
	for _, g := range m.guests {
		r.gap = max(r.gap, g.Serial.LongestPause(began, over).Length)
		usual := float64(g.Serial.VerifiedBy(began)-g.Serial.VerifiedBy(began.Add(-baseline))) / baseline.Seconds()
		done := float64(g.Serial.VerifiedBy(over) - g.Serial.VerifiedBy(began))
		r.lost += over.Sub(began) - time.Duration(done/usual*float64(time.Second))
	}
	m.show(began, over)
	return r, m.deployment.Reset(ctx, m.receivers)
}

// settle waits until both applications have had what they want for a while.
func (m *measurement) settle(ctx context.Context) error {
	const enough = int64(wants * nearly)
	for until := time.Now().Add(patience); ; {
		if err := wait.For(ctx, baseline); err != nil {
			return err
		}
		now := time.Now()
		c := m.peer.Between(now.Add(-baseline), now)
		if seconds := int64(baseline.Seconds()); c.FromGuests/seconds >= enough && c.ToGuests/seconds >= enough {
			return nil
		}
		if now.After(until) {
			return fmt.Errorf("undisturbed, the applications send %.0f and receive %.0f MB in %v: they want %.0f", mega(c.FromGuests), mega(c.ToGuests), baseline,
				mega(int64(wants*baseline.Seconds())))
		}
	}
}

// show prints what was sent and received in each second, if that is asked for.
func (m *measurement) show(from, to time.Time) {
	if !m.series {
		return
	}
	for at := from; at.Before(to); at = at.Add(time.Second) {
		c := m.peer.Between(at, at.Add(time.Second))
		fmt.Printf("%.0f/%.0f ", mega(c.FromGuests), mega(c.ToGuests))
	}
	fmt.Println("MB sent/received each second")
}

// What is promised of the mode that scatter chooses by itself, beside the better one of those that it chooses from.
const (
	autoTime = 1.02
	autoApp  = 0.98
)

// table holds the measurements against the promises.
func (m *measurement) table() *promise.Table {
	t := &promise.Table{Title: "Emptying a host whose guests load its link", Facts: []string{
		fmt.Sprintf("two guests of 512 MiB, 192 MiB of them incompressible and their own, rewrite 500 of 2048 pages a second; one sends at %.0f %% of the source's link of %.0f Mbit/s, by TCP, "+
			"the other one receives at as much; each goes to a target of its own, with a link like that; scatter is given no rate, and in auto what the links carry, which the cards of the lab do not tell", share*100, rate/1e6),
		promise.Guests(),
		fmt.Sprintf("medians; bytes are those that left the source during the evacuation, the guests' own among them; what arrived for applications is counted by their peer, in %.0f s from the beginning of the evacuation: "+
			"undisturbed, it would be %.0f MB; the gap is the longest time between two heartbeats of a guest, work lost what both have verified less than usual in these %.0f s",
			window.Seconds(), 2*wants*window.Seconds()/1e6, window.Seconds()),
	}}
	median := make(map[string]round)
	for _, w := range ways {
		all := m.rounds[w.name]
		r := round{time: promise.Median(all, func(r round) time.Duration { return r.time }), bytes: promise.Median(all, func(r round) int64 { return r.bytes }),
			gap: promise.Median(all, func(r round) time.Duration { return r.gap }), lost: promise.Median(all, func(r round) time.Duration { return r.lost }),
			app: peer.Count{FromGuests: promise.Median(all, func(r round) int64 { return r.app.FromGuests }), ToGuests: promise.Median(all, func(r round) int64 { return r.app.ToGuests })}}
		median[w.name] = r
		t.Facts = append(t.Facts, w.name+": "+r.String())
	}
	pre, post, auto := median["scatter pre"], median["scatter post"], median["scatter auto"]
	t.AtMost("auto: time, beside the shorter one of pre and post", "%.2f", auto.time.Seconds()/min(pre.time, post.time).Seconds(), autoTime)
	t.AtLeast("auto: bytes of applications, beside the better one of pre and post", "%.2f", float64(auto.app.Sum())/float64(max(pre.app.Sum(), post.app.Sum())), autoApp)
	return t
}
