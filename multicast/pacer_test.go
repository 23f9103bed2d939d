package multicast

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestPacerKeepsTheRate lets many writers of both kinds share a link, some with naps, and compares what left with what may.
func TestPacerKeepsTheRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate, burst = 1_000_000, 10_000
		p := NewPacer(rate, burst)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				r := rand.New(rand.NewPCG(uint64(i), 1))
				nap := []func(time.Duration){nil, nil, time.Sleep}[i%3]
				for range 100 {
					if err := p.wait(t.Context(), 1+r.IntN(20_000), Priority(i%2), nap); err != nil {
						t.Error(err)
					}
					if may := rate*time.Since(start).Seconds() + burst + rate*catchUp.Seconds() + 20_000; float64(p.Sent()) > may {
						t.Errorf("%d bytes sent, %.0f may be", p.Sent(), may)
					}
				}
			})
		}
		wg.Wait()
		if took, want := time.Since(start).Seconds(), float64(p.Sent())/rate; took > want*1.01 {
			t.Errorf("took %.3f s, should take %.3f", took, want)
		}
	})
}

func TestUrgentOvertakesBulk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(1000, 100)
		var order []string
		var mu sync.Mutex
		var wg sync.WaitGroup
		wait := func(name string, n int, prio Priority) {
			wg.Go(func() {
				if err := p.Wait(t.Context(), n, prio); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
		}
		wait("first", 100, Bulk)
		wait("bulk", 100, Bulk)
		wait("bulk", 100, Bulk)
		wait("urgent", 100, Urgent)
		time.Sleep(10 * time.Millisecond)
		wait("small", 1, Bulk) // there are tokens for it, but others were first
		wg.Wait()
		if order[1] != "urgent" || order[4] != "small" {
			t.Errorf("order %v", order)
		}
	})
}

// TestBulkGoesOnWhileTheRateIsFound: whatever is urgent, or leaves at once, bulk gets a part of a rate that only it can find, and none of one that is given.
func TestBulkGoesOnWhileTheRateIsFound(t *testing.T) {
	for rate, least := range map[int64]int{0: 10, StartRate: 0} {
		synctest.Test(t, func(t *testing.T) {
			p := NewPacer(rate, 0)
			ctx, stop := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			bulk := 0
			wg.Go(func() {
				for p.Wait(ctx, 64<<10, Bulk) == nil {
					bulk++
				}
			})
			for range 2 {
				wg.Go(func() {
					for p.Wait(ctx, 16<<10, Urgent) == nil {
					}
				})
			}
			for range 1000 {
				p.Charge(8 << 10) // three times what the rate gives
				time.Sleep(time.Millisecond)
			}
			stop()
			wg.Wait()
			if bulk > least+1 != (rate == 0) {
				t.Errorf("rate %d: %d pieces of bulk left in a second", rate, bulk)
			}
		})
	}
}

func TestPacerGivesUpWithTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(1000, 100)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		for _, nap := range []func(time.Duration){nil, nil, time.Sleep} {
			wg.Go(func() {
				if err := p.wait(ctx, 100_000, Bulk, nap); err != nil && !errors.Is(err, cause) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		cancel(cause)
		wg.Wait()
		if p.Sent() > 100_000 {
			t.Errorf("%d bytes taken by one who went through", p.Sent())
		}
		p.SetRate(1_000_000_000)
		if err := p.Wait(t.Context(), 100, Bulk); err != nil {
			t.Error(err)
		}
	})
}

// TestNapEndsWithTheTurn: who naps leaves when its turn has come, and does not nap until that of the next.
func TestNapEndsWithTheTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(1000, 100)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		_ = p.Wait(ctx, 100, Bulk)
		start := time.Now()
		wg.Go(func() {
			if err := p.wait(ctx, 10, Bulk, time.Sleep); err != nil || time.Since(start) > 11*time.Millisecond {
				t.Errorf("10 bytes left after %v: %v", time.Since(start), err)
			}
		})
		synctest.Wait()
		wg.Go(func() { _ = p.Wait(ctx, 100, Bulk) })
		time.Sleep(50 * time.Millisecond)
		cancel()
		wg.Wait()
	})
}

func BenchmarkPacer(b *testing.B) {
	p := NewPacer(1<<50, 1<<40)
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Wait(b.Context(), 1500, Bulk)
	}
}

// TestHold keeps bulk back, and lets through what is urgent.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPacer(1000, 100)
		start := time.Now()
		took := func(n int, prio Priority, nap func(time.Duration)) time.Duration {
			if err := p.wait(t.Context(), n, prio, nap); err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		p.Hold(time.Second)
		if got := took(50, Urgent, nil); got != 0 {
			t.Errorf("what is urgent waited until %v", got)
		}
		if got := took(0, Bulk, nil); got != time.Second {
			t.Errorf("bulk waited until %v", got)
		}
		p.Hold(time.Hour)
		time.AfterFunc(time.Second, func() { p.Hold(0) })
		if got := took(10, Bulk, time.Sleep); got < 2*time.Second || got > 2*time.Second+longestNap {
			t.Errorf("bulk waited until %v after an early end", got)
		}
	})
}

// TestPacerOfTwoSenders: the least that one of them has found counts, up to the rate that was given, until that one has ended.
func TestPacerOfTwoSenders(t *testing.T) {
	p := NewPacer(0, 0)
	a, b := new(Sender), new(Sender)
	rate := func(want int64) {
		t.Helper()
		if got, _ := p.Rate(); got != want {
			t.Errorf("rate %d, want %d", got, want)
		}
	}
	p.adjust(a, 5e6)
	rate(5e6)
	p.adjust(b, 3e6)
	rate(3e6)
	p.adjust(a, 2e6)
	rate(2e6)
	p.leave(a)
	rate(3e6)
	p.SetRate(1e6)
	p.adjust(b, 3e6)
	rate(1e6)
	p.leave(b)
	rate(1e6)
}

// TestSpare: while anybody wants it, a little less leaves than the rate, which is told as it is.
func TestSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1_000_000
		p := NewPacer(rate, 1000)
		sent := func() uint64 {
			before, end := p.Sent(), time.Now().Add(10*time.Second)
			for time.Now().Before(end) {
				if err := p.Wait(t.Context(), 1000, Bulk); err != nil {
					t.Fatal(err)
				}
			}
			return p.Sent() - before
		}
		all := sent()
		one, other := p.Spare(), p.Spare()
		one()
		one()
		less := sent()
		if got, _ := p.Rate(); got != rate {
			t.Errorf("rate %d", got)
		}
		other()
		if again := sent(); float64(less) > (1-sparePart+0.001)*float64(all) || float64(again) < 0.999*float64(all) {
			t.Errorf("%d bytes, %d while some is spared, and %d afterwards", all, less, again)
		}
	})
}
