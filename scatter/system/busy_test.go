package system

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRunnable(t *testing.T) {
	for s, want := range map[string]int{"0.20 0.18 0.12 3/80 11206\n": 3, "9.1 8.2 7.3 120/400 7": 120, "": 0, "1 2 3": 0, "1 2 3 x/4 5": 0} {
		if got := runnable(s); got != want {
			t.Errorf("%q: %d, want %d", s, got, want)
		}
	}
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil || runnable(string(b)) < 1 {
		t.Errorf("here: %q, %v: we run, at least", b, err)
	}
}

var errOver = errors.New("over")

// TestFairTimeout: it ends with its cause, by its parent, or by whoever has asked for it.
func TestFairTimeout(t *testing.T) {
	ctx, cancel := WithFairTimeout(t.Context(), time.Millisecond, time.Hour, errOver)
	defer cancel()
	<-ctx.Done()
	if err := context.Cause(ctx); err != errOver {
		t.Errorf("over: %v", err)
	}
	ctx, cancel = WithFairTimeout(t.Context(), time.Hour, time.Millisecond, errOver)
	defer cancel()
	<-ctx.Done()
	if err := context.Cause(ctx); err != errOver {
		t.Errorf("over at last: %v", err)
	}
	parent, stop := context.WithCancelCause(t.Context())
	ctx, cancel = WithFairTimeout(parent, time.Hour, time.Hour, errOver)
	stop(errors.New("stop"))
	if <-ctx.Done(); context.Cause(ctx).Error() != "stop" {
		t.Errorf("stopped: %v", context.Cause(ctx))
	}
	cancel()
	ctx, cancel = WithFairTimeout(t.Context(), time.Hour, time.Hour, errOver)
	if cancel(); !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("not needed any more: %v", ctx.Err())
	}
}

// TestBusyHostIsSlow: a thread gets less of a processor where many want one.
func TestBusyHostIsSlow(t *testing.T) {
	many := 8 * runtime.NumCPU()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(many + 2))
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range many {
		wg.Go(func() {
			for !stop.Load() {
			}
		})
	}
	least := 1.0
	for range 200 {
		least = min(least, processorShare())
		time.Sleep(5 * time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()
	if least > 0.25 {
		t.Errorf("with %d threads on %d processors, one gets %.2f of one at least", many, runtime.NumCPU(), least)
	}
}
