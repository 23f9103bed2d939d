package multicast

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Priority orders what waits for the link.
type Priority uint8

const (
	// Bulk waits its turn.
	Bulk Priority = iota
	// Urgent overtakes all waiting bulk; not all of it while the rate is being found, which is done with bulk.
	Urgent
	priorities
)

const (
	// DefaultBurst is how many bytes may leave back to back: two full bursts of segmentation offload, half of a shallow
	// switch queue. A sender that is kept from its processor for longer than this takes at the rate loses throughput.
	DefaultBurst = 128 << 10
	// catchUp is how late a timer may be without loss of throughput: credit of this time is kept beyond the burst.
	catchUp = 500 * time.Microsecond
)

// Pacer is the one token bucket for everything that leaves a source: datagrams and TCP streams alike, counted in bytes
// on the wire. Safe for concurrent use.
type Pacer struct {
	origin time.Time
	sent   atomic.Uint64

	mu      sync.Mutex // guards what follows
	bucket  bucket
	charges bucket // half of it
	rate    int64
	spares  int               // so many want a part of the rate left unused
	ceiling int64             // 0 = none
	finds   map[*Sender]int64 // what the path carries, by each Sender that looks for it
	burst   int
	held    time.Duration // since origin: until then bulk waits
	passed  int           // bytes that have overtaken the first of waiting bulk
	waiting [priorities][]*turn
	timer   *time.Timer
}

// turn is a place in the queue.
type turn struct {
	n     int
	naps  bool // who waits looks by itself whether the turn has come
	ready chan struct{}
}

func (t *turn) came() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// NewPacer makes a pacer of rate bytes per second; 0 lets the Sender find the rate by itself. A Sender goes below a given
// rate where the path carries nothing near it. burst is how many bytes may leave back to back after a pause,
// 0 = DefaultBurst; keep it below the shallowest queue on the way.
func NewPacer(rate int64, burst int) *Pacer {
	if burst <= 0 {
		burst = DefaultBurst
	}
	p := &Pacer{origin: time.Now(), burst: burst}
	p.SetRate(rate)
	p.bucket.tokens = p.bucket.depth
	return p
}

// SetRate changes the rate from now on, in bytes per second; 0 = automatic.
func (p *Pacer) SetRate(rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ceiling = max(rate, 0)
	if p.ceiling == 0 {
		rate = StartRate
	}
	p.set(rate)
}

// given is the rate that was given; 0 = none.
func (p *Pacer) given() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ceiling
}

// adjust sets the rate to what the path carries, up to the one that was given. Each Sender finds out what it carries of all that leaves, so the
// least that one of them has found counts.
func (p *Pacer) adjust(by *Sender, rate int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.finds == nil {
		p.finds = make(map[*Sender]int64)
	}
	p.finds[by] = rate
	p.follow()
}

// leave forgets what a Sender has found. The rate stays where nobody else looks for it.
func (p *Pacer) leave(by *Sender) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.finds, by)
	p.follow()
}

// follow sets the rate to what was found; mu is held.
func (p *Pacer) follow() {
	if len(p.finds) == 0 {
		return
	}
	rate := slices.Min(slices.Collect(maps.Values(p.finds)))
	if p.ceiling > 0 {
		rate = min(rate, p.ceiling)
	}
	if rate != p.rate {
		p.set(rate)
	}
}

// sparePart is what is left of the rate where the path's queue is to be empty: what is counted as on the wire is not exactly what is there.
const sparePart = 0.03

// Spare leaves a little of the rate unused until it is ended, for somebody who waits for single packets: at the full rate of a link its queue never
// empties, and each of them waits in it.
func (p *Pacer) Spare() (end func()) {
	count := func(n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.spares += n
		p.set(p.rate)
	}
	count(1)
	return sync.OnceFunc(func() { count(-1) })
}

func (p *Pacer) set(rate int64) {
	p.rate = rate
	if p.spares > 0 {
		rate = max(1, int64((1-sparePart)*float64(rate)))
	}
	now, depth := time.Since(p.origin), float64(p.burst)+float64(rate)*catchUp.Seconds()
	p.bucket.setRate(now, rate, depth)
	p.charges.setRate(now, rate/2, depth/2)
	p.dispatch()
}

// Rate is the present rate in bytes per second, of which some may be spared, and whether it is found automatically.
func (p *Pacer) Rate() (rate int64, auto bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rate, p.ceiling == 0
}

// Hold lets no bulk through for d from now, whatever was said before; 0 ends it. What is urgent passes.
func (p *Pacer) Hold(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = time.Since(p.origin) + d
	p.dispatch()
}

// Sent is the number of bytes that were let through.
func (p *Pacer) Sent() uint64 { return p.sent.Load() }

// Wait returns when n bytes may leave. Larger amounts than the burst are let through when the bucket is full, and paid
// for afterwards. The error is the context's cause, and nothing is taken then.
func (p *Pacer) Wait(ctx context.Context, n int, prio Priority) error {
	return p.wait(ctx, n, prio, nil)
}

// WaitNapping is Wait for a goroutine that has a thread of its own (runtime.LockOSThread): it sleeps in the kernel until its turn, to a tenth of
// a millisecond, where the runtime's timers are late by one. Then less leaves at a time.
func (p *Pacer) WaitNapping(ctx context.Context, n int, prio Priority) error {
	return p.wait(ctx, n, prio, nap)
}

// Charge takes n bytes that leave at once: whoever waits, does so for longer. While the rate is being found they may be more than that, so that half of
// it is left to others.
func (p *Pacer) Charge(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Since(p.origin)
	p.bucket.fill(now)
	p.charges.fill(now)
	if beyond := n - int(max(0, p.charges.tokens)); p.ceiling == 0 && beyond > 0 {
		p.bucket.tokens += float64(beyond)
		p.charges.take(n - beyond)
	} else {
		p.charges.take(n)
	}
	p.take(n, Urgent)
}

// wait is Wait. Who has a thread of its own can nap in between: the runtime's timers, and the goroutines that they wake, wait for processors
// where these are scarce.
func (p *Pacer) wait(ctx context.Context, n int, prio Priority, nap func(time.Duration)) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	t := p.enter(n, prio, nap != nil)
	if t == nil {
		return nil
	}
	for nap != nil && ctx.Err() == nil {
		next := p.untilNext() // of whoever waits, when the turn has come
		if t.came() {
			break
		}
		nap(min(next, longestNap))
	}
	select {
	case <-t.ready:
		return nil
	case <-ctx.Done():
		return p.abandon(ctx, t, prio)
	}
}

// longestNap bounds how long an end of the context goes unnoticed, and a higher rate.
const longestNap = 5 * time.Millisecond

// untilNext lets through what may leave now, and gives the time until more may.
func (p *Pacer) untilNext() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dispatch()
}

// enter takes the tokens at once, or takes a turn.
func (p *Pacer) enter(n int, prio Priority, naps bool) *turn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Since(p.origin); p.first(prio, now) && p.until(now, n, prio) <= 0 {
		p.take(n, prio)
		return nil
	}
	t := &turn{n: n, naps: naps, ready: make(chan struct{})}
	p.waiting[prio] = append(p.waiting[prio], t)
	p.dispatch()
	return t
}

// first tells whether nothing waits that goes before what has this priority.
func (p *Pacer) first(prio Priority, now time.Duration) bool {
	next, any := p.next(now)
	return !any || prio == Urgent && next == Bulk && !p.bulkIsDue(now)
}

// next is the priority of whoever is next, if anybody waits.
func (p *Pacer) next(now time.Duration) (prio Priority, any bool) {
	bulk, urgent := len(p.waiting[Bulk]) > 0, len(p.waiting[Urgent]) > 0
	if bulk && (!urgent || p.bulkIsDue(now)) {
		return Bulk, true
	}
	return Urgent, urgent
}

// bulkIsDue tells whether waiting bulk is not to be overtaken any more: a rate is found with bulk.
func (p *Pacer) bulkIsDue(now time.Duration) bool {
	return p.ceiling == 0 && p.passed >= p.burst && p.held <= now
}

// dispatch lets through what may leave now, sets the timer for the next where nobody naps until then, and gives the time
// until then; 0 = nobody waits.
func (p *Pacer) dispatch() (next time.Duration) {
	now := time.Since(p.origin)
	for {
		prio, any := p.next(now)
		if !any {
			return 0
		}
		t := p.waiting[prio][0]
		if next = p.until(now, t.n, prio); next > 0 {
			if !t.naps {
				p.wake(next)
			}
			return next
		}
		p.waiting[prio] = p.waiting[prio][1:]
		p.take(t.n, prio)
		close(t.ready)
	}
}

// until is the time until n bytes may leave if nobody else takes any; at most 0 = now.
func (p *Pacer) until(now time.Duration, n int, prio Priority) time.Duration {
	wait := p.bucket.until(now, n)
	if prio == Bulk {
		wait = max(wait, p.held-now)
	}
	return wait
}

func (p *Pacer) take(n int, prio Priority) {
	p.bucket.take(n)
	p.sent.Add(uint64(n))
	if prio == Bulk || len(p.waiting[Bulk]) == 0 {
		p.passed = 0
	} else {
		p.passed += n
	}
}

func (p *Pacer) wake(after time.Duration) {
	if p.timer != nil {
		p.timer.Reset(after)
		return
	}
	p.timer = time.AfterFunc(after, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.dispatch()
	})
}

// abandon leaves the queue. A turn that has come meanwhile is given back.
func (p *Pacer) abandon(ctx context.Context, t *turn, prio Priority) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, other := range p.waiting[prio] {
		if other == t {
			p.waiting[prio] = append(p.waiting[prio][:i:i], p.waiting[prio][i+1:]...)
			p.dispatch()
			return context.Cause(ctx)
		}
	}
	p.bucket.tokens += float64(t.n)
	p.sent.Add(^uint64(t.n - 1))
	p.dispatch()
	return context.Cause(ctx)
}

// bucket is the arithmetic of the pacer; time is passed in.
type bucket struct {
	rate   float64 // tokens per second
	depth  float64
	tokens float64 // may be negative: paid for afterwards
	last   time.Duration
}

func (b *bucket) setRate(now time.Duration, rate int64, depth float64) {
	b.fill(now)
	b.rate, b.depth = float64(rate), depth
	b.tokens = min(b.tokens, depth)
}

func (b *bucket) fill(now time.Duration) {
	if now > b.last {
		b.tokens = min(b.depth, b.tokens+b.rate*(now-b.last).Seconds())
		b.last = now
	}
}

// need is how many tokens must be there for n to leave.
func (b *bucket) need(n int) float64 { return min(float64(n), b.depth) }

// take takes n tokens, which are there.
func (b *bucket) take(n int) { b.tokens -= float64(n) }

// until is the time until n tokens are there.
func (b *bucket) until(now time.Duration, n int) time.Duration {
	b.fill(now)
	lacks := b.need(n) - b.tokens
	if lacks <= 0 {
		return 0
	}
	return time.Duration(lacks/b.rate*float64(time.Second)) + time.Nanosecond
}
