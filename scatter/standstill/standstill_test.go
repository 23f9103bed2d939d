package standstill

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/scatter-vm/scatter/multicast"
)

// TestStandstill keeps bulk back for as long as a VM stands still and makes its first steps, but not for longer than a bound.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Keeper{Pacer: multicast.NewPacer(1<<40, 0)}
		start := time.Now()
		waits := func(want time.Duration) {
			t.Helper()
			if err := s.Pacer.Wait(t.Context(), 0, multicast.Bulk); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got != want {
				t.Errorf("bulk waited until %v, want %v", got, want)
			}
		}
		s.End(1) // runs, and was never stopped
		waits(0)

		s.Begin(1)
		time.Sleep(50 * time.Millisecond)
		s.End(1)
		waits(50*time.Millisecond + FirstSteps)

		time.Sleep(10*time.Second - time.Since(start))
		s.Begin(1)
		time.Sleep(100 * time.Millisecond)
		s.Begin(2)
		s.End(1) // 2 stands still for longer than it may keep bulk
		waits(10*time.Second + 100*time.Millisecond + longestStandstill)
	})
}

// TestStandstillLeavesTime: VMs that stop one after another keep bulk back for no more than their part of the time.
func TestStandstillLeavesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Keeper{Pacer: multicast.NewPacer(1<<40, 0)}
		start := time.Now()
		var held time.Duration
		for vm := range 500 {
			s.Begin(vm)
			from := time.Now()
			if err := s.Pacer.Wait(t.Context(), 0, multicast.Bulk); err != nil {
				t.Fatal(err)
			}
			held += time.Since(from)
			time.Sleep(10 * time.Millisecond)
		}
		took := time.Since(start)
		if most := took/standstillPart + longestStandstill + FirstSteps; held > most || held < most/2 {
			t.Errorf("bulk was kept back for %v of %v, may be for %v", held, took, most)
		}
	})
}

// TestLetPass: a VM lets those go first that stand still, unless it is about to do so itself.
func TestLetPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Keeper{Pacer: multicast.NewPacer(1<<40, 0)}
		start := time.Now()
		s.Begin(1)
		for _, c := range []struct {
			vm   int
			want time.Duration
		}{{1, 0}, {2, longestStandstill}} {
			if err := s.LetPass(t.Context(), c.vm); err != nil {
				t.Fatal(err)
			}
			if got := time.Since(start); got < c.want || got > c.want+standstillLook {
				t.Errorf("VM %d went on after %v, want %v", c.vm, got, c.want)
			}
		}
		s.Begin(1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if s.LetPass(ctx, 2) == nil {
			t.Error("goes on although its context has ended")
		}
	})
}
